//! Removes what nobody needs any more: files that no object names, uploads that nobody goes on with, and bytes that
//! nothing is made of.
//!
//! The store decides what that is, and what it says is durable before anything is removed; see its `blobs` for why
//! bytes that somebody uploads at the same moment are safe.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use pilvi_base::TaskGroup;
use pilvi_base::secret::random_bytes;
use pilvi_model::{
    Asker, BackendId, Blob, Error, ObjectId, Provider, RequestId, Result, Timestamp,
};
use pilvi_store::Backend;
use pilvi_store::backend::{Author, Written};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::caller::Caller;
use crate::{Eds, Parts};

/// What is removed in one transaction.
const BATCH: u32 = 200;
/// How many batches of one kind one round does for a backend. What is left waits for the next.
const ROUNDS_MAX: usize = 500;
/// How long the server runs before the first round, and how often the next ones follow.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Every so many rounds, what is kept is compared with what is known.
const SEARCH_EVERY: u32 = 24;
/// Bytes that were just let go may be wanted again: whoever replaces a file may put the old one back.
const BLOBS_REST: Duration = Duration::from_secs(10 * 60);
/// Bytes that were stored and not counted yet may still become a file.
const UNCOUNTED_REST: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest time that an administrator may name.
pub(crate) const HOURS_MAX: u64 = 24 * 366;

/// How old something must be to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Since no object names the file.
    pub orphans: Duration,
    /// Since the last piece of an upload came.
    pub uploads: Duration,
    /// Since nothing is made of the bytes.
    pub blobs: Duration,
}

impl Ages {
    pub fn new(orphans: Duration) -> Self {
        Self {
            orphans,
            uploads: orphans,
            blobs: BLOBS_REST,
        }
    }
}

impl Default for Ages {
    fn default() -> Self {
        Self::new(Duration::from_secs(24 * 60 * 60))
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub files: u64,
    pub uploads: u64,
    pub blobs: u64,
    pub bytes: u64,
}

impl AddAssign for Collected {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.uploads += other.uploads;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// Runs the rounds. Cloning gives another handle.
#[derive(Clone)]
pub struct Collector {
    eds: Arc<Parts>,
    tasks: TaskGroup,
}

impl Collector {
    pub(crate) fn new(eds: Arc<Parts>, tasks: TaskGroup) -> Self {
        Self { eds, tasks }
    }

    /// Makes rounds until the task group stops.
    pub fn start(&self) {
        let collector = self.clone();
        self.tasks.spawn("file collector", async move {
            let mut wait = FIRST_AFTER;
            let mut round = 0_u32;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = collector.tasks.stopping() => return,
                }
                // The first round too: a crash may have left something.
                collector.round(round.is_multiple_of(SEARCH_EVERY)).await;
                round = round.wrapping_add(1);
                wait = EVERY;
            }
        });
    }

    /// Looks after every backend that has files. One that fails waits for the next round.
    async fn round(&self, search: bool) {
        let backends = match self.eds.store.backends_with_files().await {
            Ok(backends) => backends,
            Err(error) => {
                tracing::warn!(%error, "cannot read which backends have files; the next round collects");
                return;
            }
        };
        for id in backends {
            let collected = tokio::select! {
                collected = self.look_after(id, search) => collected,
                () = self.tasks.stopping() => return,
            };
            match collected {
                Ok(collected) if collected == Collected::default() => {}
                Ok(collected) => tracing::info!(
                    backend = %id,
                    files = collected.files,
                    uploads = collected.uploads,
                    blobs = collected.blobs,
                    bytes = collected.bytes,
                    "files that nobody needs were removed"
                ),
                Err(error) => {
                    tracing::warn!(%error, backend = %id, "files that nobody needs stay until the next round");
                }
            }
        }
    }

    async fn look_after(&self, id: BackendId, search: bool) -> Result<Collected> {
        let text = id.to_string();
        if self
            .eds
            .directory
            .find(Provider::Eds, &text)
            .await?
            .is_none()
        {
            return Ok(Collected::default());
        }
        self.eds.collect(id, self.eds.collecting.ages, search).await
    }
}

impl Eds {
    /// What an administrator wants removed now. `olderThanHours` says how long nobody must have needed it.
    pub(crate) async fn collect_files(&self, caller: &Caller, body: Value) -> Result<Collected> {
        caller.require_admin()?;
        let ages = match body.get("olderThanHours") {
            None | Some(Value::Null) => self.0.collecting.ages,
            Some(hours) => {
                let hours = hours.as_u64().filter(|hours| *hours <= HOURS_MAX);
                let hours = hours.ok_or_else(|| {
                    let message = format!("must be a whole number of hours, at most {HOURS_MAX}");
                    Error::invalid("olderThanHours", message)
                })?;
                let age = Duration::from_secs(hours * 60 * 60);
                Ages {
                    orphans: age,
                    uploads: age,
                    blobs: age.min(BLOBS_REST),
                }
            }
        };
        self.0.collect(caller.backend.id, ages, true).await
    }
}

impl Parts {
    /// Removes what nobody needs in one backend. `search`: also looks for bytes that nobody ever counted, which means
    /// looking at all that are kept.
    async fn collect(&self, id: BackendId, ages: Ages, search: bool) -> Result<Collected> {
        let _alone = self.collecting.alone.lock().await;
        let backend = self.store.backend(id);
        let mut collected = Collected::default();
        collected += self.collect_orphans(&backend, ages).await?;
        self.drop_spent_uploads(&backend).await?;
        if search {
            self.note_uncounted(&backend).await?;
            collected.uploads += self.drop_unknown_uploads(&backend).await?;
        }
        collected += self.remove_blobs(&backend, ages).await?;
        Ok(collected)
    }

    async fn collect_orphans(&self, backend: &Backend, ages: Ages) -> Result<Collected> {
        let (unlinked, touched) = (self.before(ages.orphans), self.before(ages.uploads));
        let mut collected = Collected::default();
        for _ in 0..ROUNDS_MAX {
            let found = backend.find_orphans(unlinked, touched, BATCH).await?;
            if found.is_empty() {
                break;
            }
            let all = backend.collect_orphans(found, unlinked, touched, self.system_author());
            let all = all.await?;
            if all.is_empty() {
                break;
            }
            for webhook in all.iter().flat_map(|written| &written.webhooks) {
                self.wakes.wake(backend.id, *webhook);
            }
            let whole = |written: &&Written| written.object.text.contains(r#""status":"complete""#);
            let files = all.iter().filter(whole).count();
            collected.files += files as u64;
            collected.uploads += (all.len() - files) as u64;
        }
        Ok(collected)
    }

    /// What is left of uploads that became files, or were collected.
    async fn drop_spent_uploads(&self, backend: &Backend) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let spent = backend.find_spent_uploads(BATCH).await?;
            if spent.is_empty() {
                break;
            }
            for upload in &spent {
                self.blobs.drop_upload(backend.id, *upload).await?;
            }
            backend.forget_spent_uploads(spent).await?;
        }
        Ok(())
    }

    /// Uploads of files that are not there: a backend that was restored knows nothing of those that came after it.
    async fn drop_unknown_uploads(&self, backend: &Backend) -> Result<u64> {
        let mut dropped = 0;
        let uploads = self.blobs.uploads(backend.id).await?;
        for some in uploads.chunks(BATCH as usize) {
            let unfinished = backend.received_of(some.to_vec()).await?;
            let is_unfinished = |upload: &ObjectId| unfinished.iter().any(|(id, _)| id == upload);
            for upload in some.iter().filter(|upload| !is_unfinished(upload)) {
                self.blobs.drop_upload(backend.id, *upload).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Writes down bytes that were stored by somebody who then was stopped, so that they are removed like others.
    async fn note_uncounted(&self, backend: &Backend) -> Result<()> {
        let before = self.before(UNCOUNTED_REST);
        let mut chunks = self.blobs.list(backend.id).ready_chunks(BATCH as usize);
        while let Some(listed) = chunks.next().await {
            let listed = listed.into_iter().collect::<Result<Vec<_>>>()?;
            let old: Vec<Blob> = listed
                .into_iter()
                .filter(|listed| listed.written_at < before)
                .map(|listed| listed.blob)
                .collect();
            let digests = old.iter().map(|blob| blob.digest).collect();
            let unknown = backend.unknown_blobs(digests).await?;
            let unknown = old
                .into_iter()
                .filter(|blob| unknown.contains(&blob.digest));
            let unknown: Vec<Blob> = unknown.collect();
            if !unknown.is_empty() {
                backend.note_blobs(unknown, self.clock.now().into()).await?;
            }
        }
        Ok(())
    }

    async fn remove_blobs(&self, backend: &Backend, ages: Ages) -> Result<Collected> {
        let mut collected = Collected::default();
        for _ in 0..ROUNDS_MAX {
            let doomed = backend.doom_blobs(self.before(ages.blobs), BATCH).await?;
            if doomed.is_empty() {
                break;
            }
            for digest in &doomed {
                let bytes = self.blobs.size(backend.id, digest).await?;
                self.blobs.delete(backend.id, digest).await?;
                collected.blobs += 1;
                collected.bytes += bytes.unwrap_or(0);
            }
            backend.bury_blobs(doomed, self.clock.now().into()).await?;
        }
        Ok(collected)
    }

    /// The moment that lies so far back. What happened at this very moment lies before it, so that nothing has to rest
    /// when it need not.
    fn before(&self, age: Duration) -> Timestamp {
        let now: Timestamp = self.clock.now().into();
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis((now.as_millis() + 1).saturating_sub(age))
    }

    /// The server writes, and so it may.
    pub(crate) fn system_author(&self) -> Author {
        Author {
            asker: Asker::Admin,
            request: RequestId::from_bytes(random_bytes()),
            at: self.clock.now().into(),
        }
    }
}

/// What collecting keeps in mind.
#[derive(Debug, Default)]
pub(crate) struct Collecting {
    ages: Ages,
    /// Two at a time would do the same.
    alone: Mutex<()>,
    /// The backends of which it is written down that they have files. A plain mutex: held for a look-up.
    noted: std::sync::Mutex<HashSet<BackendId>>,
}

impl Collecting {
    pub(crate) fn new(ages: Ages) -> Self {
        Self {
            ages,
            ..Self::default()
        }
    }

    /// As long as this is held nothing is collected.
    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.alone.lock().await
    }
}

impl Eds {
    /// Writes down that a backend has files, before it has its first: from then on somebody looks after them.
    pub(crate) async fn note_files(&self, backend: BackendId) -> Result<()> {
        let noted = || {
            let noted = self.0.collecting.noted.lock();
            noted.unwrap_or_else(PoisonError::into_inner)
        };
        if noted().contains(&backend) {
            return Ok(());
        }
        self.0.store.note_files_of(backend).await?;
        noted().insert(backend);
        Ok(())
    }
}
