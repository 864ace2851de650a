//! Where the files of apps are. Everything of an app lies below one folder, and nothing else does.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilvi_model::{AppId, Error, Result};
use pilvi_store::platform::App;

/// The first user id of apps, far above those of people and below those that systems hand out by themselves.
const UID_BASE: u32 = 200_000;

/// The folders of all apps. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Folders {
    root: Arc<PathBuf>,
}

impl Folders {
    /// Folders below `root`, which is made when it is missing. Nobody else can look into it.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_private(root)?;
        Ok(Self {
            root: Arc::new(root.canonicalize()?),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn of(&self, app: &AppId) -> PathBuf {
        self.root.join(app.as_str())
    }

    /// What builds keep for the next build.
    pub fn cache(&self, app: &AppId) -> PathBuf {
        self.of(app).join("cache")
    }

    /// Slugs, packed and unpacked.
    pub fn slugs(&self, app: &AppId) -> PathBuf {
        self.of(app).join("slugs")
    }

    /// The gzip tar of a slug.
    pub fn tarball(&self, app: &AppId, slug: i64) -> PathBuf {
        self.slugs(app).join(format!("{slug}.tgz"))
    }

    /// The files of a slug, as its processes see them at `/app`.
    pub fn tree(&self, app: &AppId, slug: i64) -> PathBuf {
        self.slugs(app).join(slug.to_string())
    }

    /// Makes what every app has.
    pub(crate) fn make(&self, app: &AppId) -> Result<()> {
        [self.of(app), self.cache(app), self.slugs(app)]
            .iter()
            .try_for_each(|folder| make_private(folder))
            .map_err(Error::internal)
    }

    /// Removes all files of an app.
    pub(crate) async fn remove(&self, app: &AppId) -> Result<()> {
        remove_tree(self.of(app)).await
    }

    /// The apps that have a folder.
    pub(crate) fn list(&self) -> io::Result<Vec<AppId>> {
        let names = std::fs::read_dir(&*self.root)?;
        let apps = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(apps.collect())
    }
}

/// The user on the host that stands behind an app's processes when Pilvi runs as root.
pub fn host_uid(app: &App) -> u32 {
    UID_BASE.saturating_add(app.number)
}

/// Removes a folder or file with all that is in it; none there is fine.
pub(crate) async fn remove_tree(path: PathBuf) -> Result<()> {
    // Its shape is the work of programs that nobody knows.
    let removed = tokio::task::spawn_blocking(move || pilvi_runtime::remove_tree(&path));
    removed
        .await
        .map_err(Error::internal)?
        .map_err(Error::internal)
}

fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
