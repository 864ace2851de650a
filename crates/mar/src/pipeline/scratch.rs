//! The folders of one build on the host.

use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use pilvi_runtime::remove_tree;

use super::disk::{Measure, measure};
use super::outcome::{Failed, Step};

/// The folders of one build. Programs see the inner ones and never what lies around them, so what is found at these
/// paths is always what was made here. Removed at the end, with what is still in them.
pub(super) struct Scratch {
    folder: PathBuf,
    removed: bool,
}

impl Scratch {
    pub(super) fn make(folder: &Path, cache: &Path, uid: u32) -> Result<Self, Failed> {
        Self::try_make(folder, cache, uid).map_err(Failed::machine(Step::Begin))
    }

    fn try_make(folder: &Path, cache: &Path, uid: u32) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        make_folder(folder, None)?;
        let scratch = Self {
            folder: folder.to_owned(),
            removed: false,
        };
        let owner = owner(uid);
        for inner in [
            scratch.home(),
            scratch.build(),
            scratch.temporary(),
            scratch.custom(),
            scratch.slimmed(),
        ] {
            make_folder(&inner, owner)?;
        }
        // The places of the other folders inside of `/tmp`.
        for place in ["build", "cache", "buildpacks", "env", "slug"] {
            make_folder(&scratch.temporary().join(place), owner)?;
        }
        if let Err(error) = make_folder(cache, owner)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        // It may have been made by somebody else, for somebody else.
        if let Some(owner) = owner {
            chown(cache, Some(owner), Some(owner))?;
        }
        Ok(scratch)
    }

    /// `/app` while building.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("app")
    }

    /// `/tmp/build`.
    pub(super) fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    /// `/tmp`.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// `/tmp/buildpacks/custom`.
    pub(super) fn custom(&self) -> PathBuf {
        self.folder.join("custom")
    }

    /// `/tmp/slug`: the build without what `.slugignore` names.
    pub(super) fn slimmed(&self) -> PathBuf {
        self.folder.join("slug")
    }

    pub(super) fn tarball(&self) -> PathBuf {
        self.folder.join("slug.tgz")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Empties a cache that holds more than it may; says whether it did.
    pub(super) async fn bound_cache(&self, cache: &Path, bytes_max: u64) -> bool {
        let cache = cache.to_owned();
        let bounded = tokio::task::spawn_blocking(move || {
            let enough = Measure {
                bytes: bytes_max,
                files: u64::MAX,
            };
            let is_over = measure(&cache, enough).bytes > bytes_max;
            if is_over && let Err(error) = remove_tree(&cache) {
                tracing::warn!(%error, cache = %cache.display(), "a build cache could not be emptied");
            }
            is_over
        });
        bounded.await.unwrap_or(false)
    }

    pub(super) async fn remove(mut self) {
        self.removed = true;
        let folder = self.folder.clone();
        // A thread that panicked has told so itself.
        let _ = tokio::task::spawn_blocking(move || remove_or_tell(&folder)).await;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only reached where a build is given up in the middle of things.
        if !self.removed {
            remove_or_tell(&self.folder);
        }
    }
}

fn remove_or_tell(folder: &Path) {
    if let Err(error) = remove_tree(folder) {
        tracing::warn!(%error, folder = %folder.display(), "what a build left could not be removed");
    }
}

/// Whose the folders are: the app's, which only root can give away.
fn owner(uid: u32) -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(uid)
}

fn make_folder(folder: &Path, owner: Option<u32>) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o755).create(folder)?;
    match owner {
        Some(owner) => chown(folder, Some(owner), Some(owner)),
        None => Ok(()),
    }
}
