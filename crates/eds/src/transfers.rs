//! All of a backend on its way out of a server and into one: exports and imports.
//!
//! An export is written from a copy that stands still while it is sent. An import comes in pieces like a file, is
//! checked as a whole, is built in a file that nobody sees, and takes the place of the backend in one step: whatever
//! interrupts it, the backend is what it was or what came. The format is `pilvi_backup::export`'s, its lines are in
//! `lines`.

mod build;
mod export;
mod imports;
mod lines;
mod order;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pilvi_backup::export::ExportBounds;
use pilvi_base::disk::{Reserve, Space};
use pilvi_base::turnstile::{Shares, Turnstile};
use pilvi_model::{BackendId, Error, Result};

use imports::Imports;
pub(crate) use imports::{BYTES_MAX as IMPORT_BYTES_MAX, Shown as ShownImport, is_chunk};

/// Exports and imports that are carried out at the same time; each reads or writes as fast as the disk lets it. A
/// backend has one of these places.
const AT_ONCE: usize = 2;
const WAITING_EACH: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where exports are laid out, and where imports are kept until they are carried out.
#[derive(Debug)]
pub struct Transfers {
    folder: PathBuf,
    space: Space,
    rooms: Turnstile<BackendId>,
    imports: Imports,
}

impl Transfers {
    /// `folder` is on the disk that holds the data, and ours alone; it is made when it is missing. What an earlier run
    /// left of exports is cleared away, and imports are found again.
    pub fn open(folder: PathBuf, reserve: Reserve) -> std::io::Result<Self> {
        pilvi_backup::Staging::clear(&folder)?;
        Ok(Self {
            imports: Imports::open(folder.join("imports"))?,
            space: Space::new(reserve),
            rooms: Turnstile::new(Shares {
                at_once: AT_ONCE,
                each: 1,
                waiting: WAITING_EACH,
                patience: PATIENCE,
            }),
            folder,
        })
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        match self.space.lacks(&self.folder.join("x"), bytes) {
            false => Ok(()),
            true => Err(disk_full()),
        }
    }

    async fn room(&self, backend: BackendId) -> Result<pilvi_base::turnstile::Turn<BackendId>> {
        self.rooms.enter(&backend).await.map_err(|_| {
            Error::unavailable(format!(
                "this backend, or {AT_ONCE} others, are being exported or imported already; try again when that is done"
            ))
        })
    }
}

fn disk_full() -> Error {
    Error::unavailable(
        "the server's disk is too full for this; try again later, or ask the server's operator to make room",
    )
}

/// What an export that somebody brings may hold.
fn bounds() -> ExportBounds {
    ExportBounds::default()
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

fn of_the_disk(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            disk_full().caused_by(error)
        }
        _ => Error::internal(error),
    }
}

/// What is wrong with an archive is said to whoever brought it.
fn of_the_archive(error: pilvi_backup::Error) -> Error {
    match error {
        pilvi_backup::Error::DiskLow { .. } => disk_full().caused_by(error),
        pilvi_backup::Error::TooLarge(_) => Error::too_large(error.to_string()),
        other if other.is_about_the_archive() => Error::bad_request(other.to_string()),
        other => Error::internal(other),
    }
}

/// Makes a folder that only we can look into.
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
