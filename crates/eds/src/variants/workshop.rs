//! Makes what the store says is to be made.
//!
//! As many workers as it was given take backends in turn, and of each the variants of one file at a time, so that a
//! tenant with a thousand photographs does not keep another one's waiting. Decoding takes place on threads of its own,
//! within a budget of memory that all workers share. What panics there fails the file it was about and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use pilvi_base::TaskGroup;
use pilvi_model::variant::Recipe;
use pilvi_model::{BackendId, Error, Kind, Provider, Result, Timestamp};
use pilvi_store::Backend;
use pilvi_store::backend::{Author, Image, VariantJob, VariantOutcome, Written};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinError;

use super::picture::{Header, Limits, Made, Picture, Unfit};
use super::queue::Turn;
use crate::Parts;

/// How long to wait before something is tried again that could not be tried: the files or the data did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(20);
/// The unit in which memory is shared out.
const MIB: u64 = 1 << 20;
/// How much of a file is looked at before all of it is read.
const FIRST_BYTES: u64 = 64;

/// What making variants may use.
#[derive(Clone, Copy, Debug)]
pub struct Workspace {
    /// Images that are worked on at a time.
    pub workers: u32,
    /// What one image may cost. Its `memory` is what all together may cost.
    pub limits: Limits,
}

impl Workspace {
    /// For a machine with so many processors: half of them, and four at most.
    pub fn new(processors: u32, memory: u64) -> Self {
        Self {
            workers: (processors / 2).clamp(1, 4),
            limits: Limits {
                bytes: 64 * MIB,
                pixels: 50_000_000,
                memory,
            },
        }
    }
}

/// Makes variants. Cloning gives another handle.
#[derive(Clone)]
pub struct Workshop(Arc<Inner>);

struct Inner {
    eds: Arc<Parts>,
    tasks: TaskGroup,
    workspace: Workspace,
    /// Mebibytes that decoded images may take.
    memory: Semaphore,
}

/// How a turn for a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There is more to do at once.
    More,
    /// There is nothing to do any more, or not yet.
    Rest(Option<Timestamp>),
}

impl Workshop {
    pub(crate) fn new(eds: Arc<Parts>, workspace: Workspace, tasks: TaskGroup) -> Self {
        let memory = Semaphore::new(permits(workspace.limits.memory) as usize);
        Self(Arc::new(Inner {
            eds,
            tasks,
            workspace,
            memory,
        }))
    }

    /// Takes up what a previous run left, then follows the writes, until the task group stops.
    pub fn start(&self) {
        let resume = self.clone();
        self.0
            .tasks
            .spawn("variants resume", async move { resume.resume().await });
        for _ in 0..self.0.workspace.workers {
            let workshop = self.clone();
            self.0.tasks.spawn("variants worker", async move {
                loop {
                    tokio::select! {
                        () = workshop.0.tasks.stopping() => return,
                        turn = workshop.0.eds.variants.next() => workshop.attend(turn).await,
                    }
                }
            });
        }
    }

    /// Gives each backend that has files a turn. Where the data cannot be read, it looks again later: nobody else
    /// would.
    async fn resume(&self) {
        loop {
            match self.0.eds.store.backends_with_files().await {
                Ok(backends) => {
                    return backends
                        .into_iter()
                        .for_each(|backend| self.0.eds.variants.wake(backend));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read which backends have files; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                        () = self.0.tasks.stopping() => return,
                    }
                }
            }
        }
    }

    /// Does one piece of work for a backend and lets the next one have its turn.
    async fn attend(&self, turn: Turn) {
        let backend = turn.backend;
        let progress = match self.work(backend).await {
            Ok(progress) => progress,
            Err(error) if matches!(self.exists(backend).await, Ok(false)) => {
                tracing::debug!(%error, %backend, "the backend is gone, and its variants with it");
                Progress::Rest(None)
            }
            Err(error) => {
                tracing::warn!(%error, %backend, "could not make variants; trying again");
                Progress::Rest(Some(self.later()))
            }
        };
        match progress {
            Progress::More => self.0.eds.variants.wake(backend),
            Progress::Rest(None) => {}
            Progress::Rest(Some(at)) => self.wake_at(backend, at),
        }
    }

    async fn work(&self, id: BackendId) -> Result<Progress> {
        if !self.exists(id).await? {
            return Ok(Progress::Rest(None));
        }
        let backend = self.0.eds.store.backend(id);
        let (written, more) = backend.revise_variants(self.author()).await?;
        self.announce(id, &written);
        let Some(taken) = backend.take_variants(self.author()).await? else {
            return match more {
                true => Ok(Progress::More),
                false => Ok(Progress::Rest(backend.next_variants_at().await?)),
            };
        };
        self.announce(id, taken.written.as_slice());
        if let Some(job) = taken.job {
            self.carry_out(&backend, job).await?;
        }
        Ok(Progress::More)
    }

    /// Makes the variants of a file, and writes down how that went.
    async fn carry_out(&self, backend: &Backend, job: VariantJob) -> Result<()> {
        let era = backend.blob_era().await;
        let made = tokio::select! {
            made = self.make_all(backend, &job) => made,
            // That it was not finished is not the file's fault.
            () = self.0.tasks.stopping() => Err(Error::unavailable("the server is shutting down")),
        };
        let outcomes = era.and_then(|era| {
            let outcome = |made| match made {
                Ok(image) => VariantOutcome::Made(image, era),
                Err(Unfit(reason)) => VariantOutcome::Unfit(reason),
            };
            made.map(|made| made.into_iter().map(outcome).collect::<Vec<_>>())
        });
        let settled = match outcomes {
            Ok(outcomes) => self.settle(backend, &job, outcomes).await,
            Err(error) => Err(error),
        };
        let Err(error) = settled else {
            return Ok(());
        };
        // Also what was made from bytes whose twins were being removed at this moment.
        tracing::info!(%error, backend = %backend.id, file = %job.file, "variants have to wait");
        let later = VariantOutcome::Later(self.later());
        let outcomes = vec![later; job.variants.len()];
        self.settle(backend, &job, outcomes).await
    }

    async fn settle(
        &self,
        backend: &Backend,
        job: &VariantJob,
        outcomes: Vec<VariantOutcome>,
    ) -> Result<()> {
        let variants = job.variants.iter().cloned().zip(outcomes);
        let outcomes = variants.map(|((name, recipe), outcome)| (name, recipe, outcome));
        let settled = backend.settle_variants(job.file, outcomes.collect(), self.author());
        self.announce(backend.id, settled.await?.as_slice());
        Ok(())
    }

    /// One result for each variant of the job. Fails when the bytes cannot be read or written at the moment.
    async fn make_all(
        &self,
        backend: &Backend,
        job: &VariantJob,
    ) -> Result<Vec<Result<Image, Unfit>>> {
        let (picture, _memory) = match self.picture(backend.id, job).await? {
            Ok(picture) => picture,
            Err(unfit) => return Ok(vec![Err(unfit); job.variants.len()]),
        };
        let picture = Arc::new(picture);
        let mut images = Vec::with_capacity(job.variants.len());
        for (_, recipe) in &job.variants {
            images.push(match make(&picture, *recipe).await {
                Ok(made) => Ok(self.keep(backend.id, made).await?),
                Err(unfit) => Err(unfit),
            });
        }
        Ok(images)
    }

    /// The decoded image that a file is, and the memory that was set aside for it.
    async fn picture(
        &self,
        backend: BackendId,
        job: &VariantJob,
    ) -> Result<Result<(Picture, SemaphorePermit<'_>), Unfit>> {
        let limits = self.0.workspace.limits;
        let bytes = match self.read(backend, job, &limits).await? {
            Ok(bytes) => bytes,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let header = {
            let bytes = bytes.clone();
            on_a_thread(move || Header::read(&bytes, &limits)).await
        };
        let header = match header {
            Ok(header) => header,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let largest = job
            .variants
            .iter()
            .map(|(_, recipe)| recipe.pixels() * BYTES_PER_PIXEL);
        let needed = permits(header.memory() + largest.max().unwrap_or(0));
        // More than there is can be asked for by the largest variants of the largest images.
        let needed = needed.min(permits(limits.memory));
        let memory = self
            .0
            .memory
            .acquire_many(needed)
            .await
            .map_err(Error::internal)?;
        let picture = on_a_thread(move || header.decode(&bytes)).await;
        Ok(picture.map(|picture| (picture, memory)))
    }

    /// The bytes of a file that may be an image.
    async fn read(
        &self,
        backend: BackendId,
        job: &VariantJob,
        limits: &Limits,
    ) -> Result<Result<Bytes, Unfit>> {
        let blobs = &self.0.eds.blobs;
        let mut first = Vec::new();
        let mut start = match blobs.open(backend, &job.blob.digest, 0..FIRST_BYTES).await {
            Err(error) if error.kind == Kind::NotFound => {
                return Ok(Err(Unfit("The bytes of this file are lost.".to_owned())));
            }
            start => start?,
        };
        while let Some(piece) = start.next().await {
            first.extend_from_slice(&piece.map_err(Error::internal)?);
        }
        if let Err(unfit) = Header::check(&first, job.blob.bytes, limits) {
            return Ok(Err(unfit));
        }
        let bytes = blobs.read(backend, &job.blob.digest, limits.bytes);
        Ok(Ok(bytes.await?))
    }

    async fn keep(&self, backend: BackendId, made: Made) -> Result<Image> {
        let mut staging = self.0.eds.blobs.stage(backend).await?;
        staging.write(made.bytes.into()).await?;
        Ok(Image {
            blob: staging.finish().await?,
            content_type: made.content_type.to_owned(),
            width: made.width,
            height: made.height,
        })
    }

    fn author(&self) -> Author {
        self.0.eds.system_author()
    }

    fn announce(&self, backend: BackendId, written: &[Written]) {
        for webhook in written.iter().flat_map(|written| &written.webhooks) {
            self.0.eds.wakes.wake(backend, *webhook);
        }
    }

    /// Whether there still is such a backend: the file of one that was removed fails as a broken one does.
    async fn exists(&self, backend: BackendId) -> Result<bool> {
        let id = backend.to_string();
        Ok(self
            .0
            .eds
            .directory
            .find(Provider::Eds, &id)
            .await?
            .is_some())
    }

    fn later(&self) -> Timestamp {
        let wait = u64::try_from(RETRY_AFTER.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.now().as_millis() + wait)
    }

    fn now(&self) -> Timestamp {
        self.0.eds.clock.now().into()
    }

    /// Gives a backend another turn at this time; there is one such task for a backend at most.
    fn wake_at(&self, backend: BackendId, at: Timestamp) {
        let wait = Duration::from_millis(at.as_millis().saturating_sub(self.now().as_millis()));
        let (wakes, tasks) = (self.0.eds.variants.clone(), self.0.tasks.clone());
        if !wakes.doze(backend) {
            return;
        }
        self.0.tasks.spawn("variants wait", async move {
            tokio::select! {
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
                () = tasks.stopping() => {}
            }
            wakes.rouse(backend);
        });
    }
}

/// What a variant takes for each of its pixels: the image, a turned copy, and what it is written as.
const BYTES_PER_PIXEL: u64 = 12;

/// How many permits so many bytes take.
fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX)
}

async fn make(picture: &Arc<Picture>, recipe: Recipe) -> Result<Made, Unfit> {
    let picture = Arc::clone(picture);
    on_a_thread(move || picture.make(recipe)).await
}

/// Runs what takes long and reads what strangers wrote.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unfit> + Send + 'static,
) -> Result<T, Unfit> {
    let ended: Result<_, JoinError> = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| {
        Err(Unfit(
            "The image could not be read: it breaks the program that reads it.".to_owned(),
        ))
    })
}
