//! The bytes of files on their way into a backup and out of one, and how many of them there are.
//!
//! In a backup, the bytes of a file are a file below `files`, named by its digest in base64url: in hex the names would
//! be too long for an archive.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pilvi_base::secret::random_bytes;
use pilvi_core::Usage;
use pilvi_model::{Asker, BackendId, Blob, Digest, Error, Kind, RequestId, Result, Timestamp};
use pilvi_store::Backend;
use pilvi_store::backend::Author;
use pilvi_store::snapshot;

use crate::Eds;

/// The folder of a backup that holds the bytes of files.
const FILES: &str = "files";
/// Blobs that are asked for at once.
const PAGE: u32 = 1000;
/// Files that are not whole and go at once.
const BATCH: u32 = 100;

/// The name of a blob in a backup.
fn name_of(digest: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

impl Eds {
    /// Lays out the bytes of all files that a copy of a backend's database names. Says how many were removed since the
    /// copy was made: one without them is of no use.
    pub(crate) async fn lay_out_files(
        &self,
        backend: BackendId,
        copy: PathBuf,
        folder: &Path,
    ) -> Result<Vec<Digest>> {
        let used = on_a_thread(move || Ok(snapshot::used_blobs_in(&copy)?)).await?;
        let files = folder.join(FILES);
        if !used.is_empty() {
            let files = files.clone();
            on_a_thread(move || make_folder(&files)).await?;
        }
        let mut gone = Vec::new();
        for Blob { digest, .. } in used {
            let to = files.join(name_of(&digest));
            // Laid out before, with a copy that was made before this one.
            if to.exists() {
                continue;
            }
            match self.0.blobs.lay_out(backend, &digest, &to).await {
                Ok(()) => {}
                Err(error) if error.kind == Kind::NotFound => gone.push(digest),
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// Takes in the bytes of all files that a backend names, from where [`Eds::lay_out_files`] laid them out. What is
    /// not there is said in sentences.
    pub(crate) async fn take_in_files(
        &self,
        backend: &Backend,
        folder: &Path,
    ) -> Result<Vec<String>> {
        let (mut after, mut missing) = (None, 0_u64);
        loop {
            let page = backend.page_used_blobs(after, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.digest);
            for blob in page {
                let path = folder.join(FILES).join(name_of(&blob.digest));
                match self.0.blobs.take_in(backend.id, &path, blob).await {
                    Ok(()) => {}
                    Err(error) if error.kind == Kind::NotFound => missing += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        let unfinished = remove_unfinished_files(backend, self.now()).await?;
        let mut sentences = Vec::new();
        if missing > 0 {
            sentences.push(format!(
                "The bytes of {missing} files are not in the archive; downloading them fails. Upload them again."
            ));
        }
        sentences.extend(unfinished_in_words(unfinished));
        Ok(sentences)
    }

    /// What a backend takes: its database, and the bytes of its files. From here on the latter count against what it
    /// may take.
    pub(crate) async fn measure(&self, backend: BackendId) -> Result<Usage> {
        let store = &self.0.store;
        let mut bytes = store.backend_bytes(backend).await?;
        // Most backends have no files, and need not be opened for that.
        if bytes > 0 && store.has_files(backend).await? {
            let beside = store.backend(backend).bytes_beside().await?;
            store.note_bytes_beside(backend, beside);
            bytes = bytes.saturating_add(beside);
        }
        Ok(Usage {
            storage_bytes: Some(bytes),
            ..Usage::default()
        })
    }
}

/// Removes the files that are not whole from a backend that was restored, and says how many. What came of them stayed
/// where it was, so nobody can go on with them.
pub async fn remove_unfinished_files(backend: &Backend, now: Timestamp) -> Result<u64> {
    let mut removed = 0;
    loop {
        let ids = backend.find_unfinished_files(BATCH).await?;
        if ids.is_empty() {
            return Ok(removed);
        }
        let author = Author {
            asker: Asker::Admin,
            request: RequestId::from_bytes(random_bytes()),
            at: now,
        };
        let (none, all) = (Timestamp::from_millis(0), Timestamp::from_millis(u64::MAX));
        let gone = backend.collect_orphans(ids, none, all, author).await?;
        if gone.is_empty() {
            return Err(Error::internal("unfinished files stay where they are"));
        }
        removed += gone.len() as u64;
    }
}

/// What somebody hears of them.
pub fn unfinished_in_words(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} uploads were under way when the backup was made; they were left out. Upload them again."
        )
    })
}

/// The digest of the blob that a file of a backup holds, by its path below the folder of its instance.
pub fn digest_of(path: &str) -> Option<Digest> {
    let name = path.strip_prefix(FILES)?.strip_prefix('/')?;
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

fn make_folder(path: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::internal(error)),
        _ => Ok(()),
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_in_a_backup_is_found_by_its_name() {
        let digest = Digest::from_bytes([0xfb; 32]);
        let path = format!("{FILES}/{}", name_of(&digest));
        assert_eq!(digest_of(&path), Some(digest));
        // As an archive of the whole server names it.
        let whole = format!("instances/{}/{path}", "0".repeat(24));
        assert!(whole.len() <= 100, "{whole}");
        for wrong in [
            "files",
            "files/",
            "files/x",
            "file/x",
            "backend.db",
            &path[1..],
        ] {
            assert_eq!(digest_of(wrong), None, "{wrong}");
        }
    }
}
