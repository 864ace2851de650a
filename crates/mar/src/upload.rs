//! Bytes that come in over the network and end as a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use pilvi_base::Turnstile;
use pilvi_base::secret::random_hex;
use pilvi_base::turnstile::{Shares, Turn};
use pilvi_model::{AccountId, Error, Result};
use tokio::time::{Instant, timeout};

/// Uploads at the same time, over all apps: each may fill a disk with one slug. However many apps an account has, it
/// leaves half of them to others.
const UPLOADS: Shares = Shares {
    at_once: 8,
    each: 4,
    waiting: 32,
    patience: Duration::from_secs(30),
};

/// How long one may take: a slow line needs minutes for a large slug, and nobody may keep the place for ever.
const RECEIVED_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A line that is slower than this over a while gives its place to others.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
const MEASURED_OVER: Duration = Duration::from_secs(30);

/// The right to be one of those who upload, until it is dropped.
pub(crate) type Room = Turn<AccountId>;

/// Those who upload. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Rooms(Turnstile<AccountId>);

impl Default for Rooms {
    fn default() -> Self {
        Self(Turnstile::new(UPLOADS))
    }
}

impl Rooms {
    /// Waits a little for an account's turn to upload.
    pub(crate) async fn enter(&self, account: AccountId) -> Result<Room> {
        let room = self.0.enter(&account).await;
        room.map_err(|_| {
            Error::unavailable("too many slugs are being uploaded; try again in a moment")
        })
    }
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
        // Nothing is there when it was kept.
        let removed = pilvi_runtime::remove_tree(&self.path);
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

/// The pieces of a body, as long as they keep coming.
struct Pieces {
    body: Body,
    /// How long was waited for them since it was measured last, and what came.
    waited: Duration,
    came: u64,
}

impl Pieces {
    fn of(body: Body) -> Self {
        Self {
            body,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// `None`: that was all.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.waited >= MEASURED_OVER {
                self.measure()?;
            }
            let asked_at = Instant::now();
            let frame = timeout(MEASURED_OVER - self.waited, self.body.frame()).await;
            self.waited += asked_at.elapsed();
            let frame = match frame {
                Err(_) => continue,
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame,
            };
            let frame = frame
                .map_err(|_| Error::bad_request("the upload ended before its end; try again"))?;
            if let Ok(bytes) = frame.into_data() {
                self.came += bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
    }

    fn measure(&mut self) -> Result<()> {
        if self.came < BYTES_PER_SECOND_MIN * self.waited.as_secs() {
            return Err(Error::bad_request(format!(
                "the upload was slower than {} KB a second and was ended; try again over a faster line",
                BYTES_PER_SECOND_MIN >> 10
            )));
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
        Ok(())
    }
}

async fn write_down(folder: &Path, body: Body, bytes_max: u64) -> Result<Draft> {
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
    let mut pieces = Pieces::of(body);
    while let Some(bytes) = pieces.next().await? {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A second lies between two pieces.
    fn trickle(pieces: usize, bytes: usize) -> Body {
        let pieces = futures_util::stream::unfold(0, move |number| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (number < pieces).then(|| (Ok::<_, Infallible>(vec![0; bytes]), number + 1))
        });
        Body::from_stream(pieces)
    }

    async fn taken(body: Body) -> Result<u64> {
        let mut pieces = Pieces::of(body);
        let mut length = 0;
        while let Some(bytes) = pieces.next().await? {
            length += bytes.len() as u64;
        }
        Ok(length)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_is_good_enough_until_it_is_too_slow() {
        assert_eq!(taken(trickle(100, 17 << 10)).await.unwrap(), 1_740_800);
        assert_eq!(taken(trickle(20, 1)).await.unwrap(), 20);
        let silent =
            Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, Infallible>>());
        for slow in [trickle(100, 15 << 10), trickle(31, 1), silent] {
            let began = Instant::now();
            let error = taken(slow).await.unwrap_err();
            assert!(error.message.contains("faster line"), "{error:?}");
            assert!(began.elapsed() < Duration::from_secs(35));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_early_does_not_pay_for_silence() {
        let first = futures_util::stream::iter([Ok::<_, Infallible>(vec![0; 1 << 20])]);
        let body = Body::from_stream(futures_util::StreamExt::chain(
            first,
            futures_util::stream::pending(),
        ));
        let began = Instant::now();
        taken(body).await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
