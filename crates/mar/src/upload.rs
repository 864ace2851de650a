//! Bytes that come in over the network and end as a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use pilvi_base::secret::random_hex;
use pilvi_model::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Uploads at the same time, over all apps: each may fill a disk with one slug.
const UPLOADS_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one may take: a slow line needs minutes for a large slug, and nobody may keep the place for ever.
const RECEIVED_WITHIN: Duration = Duration::from_secs(30 * 60);

static ROOM: Semaphore = Semaphore::const_new(UPLOADS_MAX);

/// Waits a little for the turn to upload.
pub(crate) async fn room() -> Result<SemaphorePermit<'static>> {
    let busy = || Error::unavailable("too many slugs are being uploaded; try again in a moment");
    let room = tokio::time::timeout(PATIENCE, ROOM.acquire()).await;
    room.map_err(|_| busy())?.map_err(|_| busy())
}

/// A file or folder that is not whole yet, and disappears unless it is kept.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// A name in a folder that nothing has.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(format!("draft-{}", random_hex::<8>())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what was written survive a loss of power, under its own name; returns its length.
    pub(crate) fn keep_as(self, name: &Path) -> Result<u64> {
        let keep = || {
            let file = File::open(&self.path)?;
            file.sync_all()?;
            let length = file.metadata()?.len();
            std::fs::rename(&self.path, name)?;
            if let Some(folder) = name.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(length)
        };
        keep().map_err(of_the_disk)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let removed = match std::fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&self.path),
            Ok(_) => std::fs::remove_file(&self.path),
            // It was kept.
            Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "a draft could not be removed");
        }
    }
}

/// Writes a body into a draft in `folder`, piece by piece.
pub(crate) async fn receive(folder: &Path, body: Body, bytes_max: u64) -> Result<Draft> {
    let received = tokio::time::timeout(RECEIVED_WITHIN, write_down(folder, body, bytes_max));
    received
        .await
        .map_err(|_| Error::bad_request("the upload took too long; try again over a faster line"))?
}

async fn write_down(folder: &Path, mut body: Body, bytes_max: u64) -> Result<Draft> {
    let draft = Draft::new(folder);
    let path = draft.path().to_owned();
    let mut file = on_a_thread(move || {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        file.map_err(of_the_disk)
    })
    .await?;
    let mut length = 0u64;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Error::bad_request("the upload ended before its end; try again"))?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        length += bytes.len() as u64;
        if length > bytes_max {
            return Err(Error::too_large(format!(
                "the slug is larger than the {bytes_max} bytes that a slug may have"
            )));
        }
        file = on_a_thread(move || {
            file.write_all(&bytes).map_err(of_the_disk)?;
            Ok(file)
        })
        .await?;
    }
    Ok(draft)
}

/// Runs what waits for the disk where it holds up nobody.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

/// A full disk is nobody's fault and may pass.
pub(crate) fn of_the_disk(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::unavailable(
            "the server's disk is full; try again later, or ask the server's operator to make room",
        )
        .caused_by(error),
        _ => Error::internal(error),
    }
}
