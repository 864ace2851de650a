//! SQL: what Pilvi keeps, in SQLite files of one data folder.
//!
//! `pilvi.db` holds the platform (persons, accounts, tokens, instances); every EDS backend has a file of its own
//! under `eds/`, so that copying, restoring, moving or deleting a tenant is a file operation. Methods are named
//! after what the caller wants and open and close their own transactions; no SQL and no dialect leaves this crate.
//!
//! Read [`pool`] for how writes share a commit, [`backend`] for objects and their outbox, [`query`] for how a
//! filter becomes SQL.

pub mod backend;
mod error;
#[cfg(test)]
mod faults_tests;
mod followers;
mod indexer;
mod migrate;
pub mod platform;
pub mod pool;
pub mod query;
pub mod snapshot;
mod space;
mod writer;

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilvi_model::{BackendId, Timestamp};
use tokio::sync::watch;

pub use backend::Backend;
pub use error::{Error, Result};
pub use pool::{Database, Limits, Pool, Reserve, WriteCounts};

/// The data folder. Cloning gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Arc<Folder>,
    pub(crate) platform: Database,
    pub(crate) known_holders: Arc<platform::KnownHolders>,
    pub(crate) known_roles: Arc<platform::KnownRoles>,
}

struct Folder {
    path: PathBuf,
    pool: Pool,
    /// Held as long as the store lives: two servers on one folder would not see each other's caches.
    _lock: File,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folder").field(&self.path).finish()
    }
}

impl Store {
    /// Opens the data folder, making what is missing, and brings `pilvi.db` to the newest format.
    pub async fn open(path: &Path, limits: Limits) -> Result<Self> {
        let backends = path.join("eds");
        make_private_folder(&backends)?;
        let lock = lock(path)?;
        let pool = Pool::start(limits)?;
        // Opening and migrating happens with the first write. Only that one makes the file: were it deleted under a
        // running server, a new and empty one would be the worst of answers.
        let file = path.join("pilvi.db");
        make_private_file(&file)?;
        pool.database(file.clone(), &platform::SCHEMA, true)
            .write_when_low(|_| Ok(()))
            .await?;
        let platform = pool.database(file, &platform::SCHEMA, false);
        Ok(Self {
            folder: Arc::new(Folder {
                path: path.to_owned(),
                pool,
                _lock: lock,
            }),
            platform,
            known_holders: Arc::default(),
            known_roles: Arc::default(),
        })
    }

    /// How many operations shared how many commits so far.
    pub fn write_counts(&self) -> WriteCounts {
        self.folder.pool.write_counts()
    }

    /// The objects of one backend. Making the handle touches nothing.
    pub fn backend(&self, id: BackendId) -> Backend {
        Backend::new(
            id,
            self.folder
                .pool
                .database(self.backend_path(id), &backend::SCHEMA, false),
        )
    }

    /// Tells after each commit to the file of a backend which row of its outbox is the newest, and ends when the
    /// backend is deleted. Whatever was committed before is told by nobody: follow first, then read.
    pub fn changes(&self, id: BackendId) -> watch::Receiver<u64> {
        self.folder.pool.followers().follow(&self.backend_path(id))
    }

    /// Closes the files of the platform and of these backends, so that each is whole without files beside it. They are
    /// opened again when they are used.
    pub async fn settle(&self, backends: &[BackendId]) -> pilvi_model::Result<()> {
        for backend in backends {
            self.backend(*backend).close().await?;
        }
        self.platform.close().await
    }

    /// Makes the file of a new backend; harmless when it is there already.
    pub async fn create_backend(&self, id: BackendId) -> pilvi_model::Result<()> {
        self.folder
            .pool
            .database(self.backend_path(id), &backend::SCHEMA, true)
            .write(|_| Ok(()))
            .await
    }

    /// The same, for a backend in which only whoever creates something may use it until they share it.
    pub async fn create_private_backend(
        &self,
        id: BackendId,
        now: Timestamp,
    ) -> pilvi_model::Result<()> {
        self.folder
            .pool
            .database(self.backend_path(id), &backend::SCHEMA, true)
            .write(move |connection| backend::make_private(connection, now))
            .await
    }

    /// Deletes everything a backend holds; harmless when there is nothing.
    pub async fn delete_backend(&self, id: BackendId) -> pilvi_model::Result<()> {
        let path = self.backend_path(id);
        self.backend(id).close().await?;
        self.folder.pool.caps().forget(&path);
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io {
                        step: "delete",
                        path: name.into(),
                        source,
                    }
                    .into());
                }
                _ => {}
            }
        }
        self.folder.pool.followers().dismiss(&path);
        Ok(())
    }

    fn backend_path(&self, id: BackendId) -> PathBuf {
        self.folder.path.join("eds").join(format!("{id}.db"))
    }
}

/// Makes a folder that nobody else can look into, whoever may look into the data folder.
fn make_private_folder(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| Error::Io {
        step: "make the folder",
        path: path.to_owned(),
        source,
    })
}

/// Makes an empty file unless there is one. SQLite gives the files beside it the same mode.
fn make_private_file(path: &Path) -> Result<()> {
    let opened = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    opened.map(drop).map_err(|source| Error::Io {
        step: "make the file",
        path: path.to_owned(),
        source,
    })
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let fail = |step| {
        let path = path.clone();
        move |source| Error::Io { step, path, source }
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(fail("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(fail("lock")(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn nobody_else_reads_the_data_whatever_folder_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(folder.path(), Limits::default()).await.unwrap();
        store
            .create_backend(BackendId::from_bytes([1; 12]))
            .await
            .unwrap();
        for (name, mode) in [("eds", 0o700), ("pilvi.db", 0o600), ("pilvi.db-wal", 0o600)] {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
        }
    }
}
