//! From source to slug: unpack, detect, compile, release, pack (`mar.md` §4).
//!
//! One sandbox is started for a build, and every step is a program in it. A step is plain data; the workshop runs it,
//! carries its output to the pusher's [`Voice`], and ends it when the build has used up what it may or nobody waits for
//! it any more. Nothing of a project is ever read or written outside the sandbox, except as bytes through pipes: its
//! files may be links to anywhere.

mod compile;
mod detect;
mod disk;
mod limits;
mod outcome;
mod packs;
mod release;
mod scratch;
mod slug;
mod source;
mod tame;
mod voice;
mod workshop;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilvi_model::AppId;
use pilvi_model::app::{ProcessTypes, StackName};
use pilvi_runtime::{Runtime, StackRoot};
use tokio::fs;
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use disk::KeptFree;
pub(crate) use disk::bytes_below;
pub use limits::BuildLimits;
pub use outcome::{Cause, Failed, Step};
pub use packs::Packs;
pub use pilvi_runtime::remove_tree;
pub use slug::human_size;
pub use voice::Voice;

use scratch::Scratch;
use workshop::Workshop;

/// Builds slugs. Cloning gives another handle.
#[derive(Clone)]
pub struct Pipeline {
    runtime: Runtime,
    packs: Packs,
    limits: BuildLimits,
    /// Builds that may run at the same time.
    slots: Arc<Semaphore>,
}

/// A project as an uncompressed tar.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// For whom to build, and with what.
pub struct BuildOrder {
    pub app: AppId,
    /// The uid on the host that the build runs as, when Pilvi runs as root.
    pub uid: u32,
    pub stack_name: StackName,
    pub stack: StackRoot,
    pub commit: Option<String>,
    /// The app's config vars.
    pub vars: BTreeMap<String, String>,
    /// The app's build cache. Made when it is not there.
    pub cache: PathBuf,
    /// A folder for this build alone, on the file system on which slugs are kept. It must not exist.
    pub scratch: PathBuf,
    /// Cancelled when nobody waits for the slug any more.
    pub abandoned: CancellationToken,
}

/// A slug that lies in the scratch folder of its build until it is moved to its place. Dropping it removes what is
/// still there.
pub struct Built {
    /// The files that processes see, owned by the app's uid.
    pub folder: PathBuf,
    /// The same as a gzip tar, on the disk for good.
    pub tarball: PathBuf,
    pub tarball_bytes: u64,
    /// Of the Procfile and, where it has none, of the buildpack.
    pub process_types: ProcessTypes,
    /// What the buildpack proposes for config vars; the app's own win.
    pub default_vars: BTreeMap<String, String>,
    scratch: Scratch,
}

impl Built {
    /// Moves the slug to its place, which must be on the same file system.
    pub async fn move_to(self, folder: &Path, tarball: &Path) -> io::Result<()> {
        fs::rename(&self.folder, folder).await?;
        fs::rename(&self.tarball, tarball).await?;
        // The names must outlive a loss of power as the contents of the tarball do.
        if let Some(parent) = tarball.parent() {
            fs::File::open(parent).await?.sync_all().await?;
        }
        self.scratch.remove().await;
        Ok(())
    }
}

impl Pipeline {
    pub fn new(runtime: Runtime, packs: Packs, limits: BuildLimits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.builds_max));
        Self {
            runtime,
            packs,
            limits,
            slots,
        }
    }

    /// Bytes of a build's output that its pusher is shown.
    pub fn shown_max(&self) -> u64 {
        self.limits.shown_bytes
    }

    /// Builds a slug, and tells the pusher how it goes. A build that fails leaves nothing but its cache.
    pub async fn build(
        &self,
        order: BuildOrder,
        source: Source,
        voice: &mut Voice,
    ) -> Result<Built, Failed> {
        let _slot = self.slot(&order.abandoned, voice).await?;
        let scratch = Scratch::make(&order.scratch, &order.cache, order.uid)?;
        let mut workshop =
            Workshop::open(&self.runtime, &self.packs, &self.limits, &scratch, &order).await?;
        let outcome = in_workshop(&mut workshop, source, &scratch, &order.vars, voice).await;
        // Nothing of the build may run, and so change files, once somebody looks at them from outside.
        let out_of_memory = workshop.close().await;
        if scratch
            .bound_cache(&order.cache, self.limits.cache_bytes)
            .await
        {
            voice
                .line(&format!(
                    "The build cache held more than {} and was emptied.",
                    human_size(self.limits.cache_bytes)
                ))
                .await;
        }
        match outcome {
            Ok(made) => Ok(made.into_built(scratch)),
            Err(failed) => {
                scratch.remove().await;
                Err(failed.knowing(out_of_memory))
            }
        }
    }

    async fn slot(
        &self,
        abandoned: &CancellationToken,
        voice: &mut Voice,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, Failed> {
        let failed = |cause| Failed::new(Step::Begin, cause);
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        voice
            .line("Other builds are running. This one begins when one of them has ended.")
            .await;
        tokio::select! {
            slot = self.slots.clone().acquire_owned() => slot.map_err(|_| failed(Cause::Abandoned)),
            () = abandoned.cancelled() => Err(failed(Cause::Abandoned)),
        }
    }
}

/// The steps of a build, in their order.
async fn in_workshop(
    workshop: &mut Workshop,
    source: Source,
    scratch: &Scratch,
    vars: &BTreeMap<String, String>,
    voice: &mut Voice,
) -> Result<slug::Made, Failed> {
    source::unpack(workshop, source, vars, voice).await?;
    let pack = detect::choose(workshop, vars, voice).await?;
    compile::run(workshop, &pack, voice).await?;
    let release = release::read(workshop, &pack, voice).await?;
    release.tell(&pack, voice).await;
    let tarball = slug::pack(workshop, scratch, &release, voice).await?;
    Ok(slug::Made { release, tarball })
}
