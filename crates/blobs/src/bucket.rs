//! Blobs in a bucket that speaks the S3 protocol: `<prefix>/<backend>/<2 hex>/<sha256>`, and the chunks of uploads
//! that are not whole under `<prefix>/<backend>/uploads/<upload>/<start>`.
//!
//! A blob is called after its bytes, which are known when all of them are there. So they are gathered in a file of
//! our own first, unless they are few, and sent from there under their name: in the bucket is nothing that is not
//! whole.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
};
use pilvi_base::Secret;
use pilvi_model::{BackendId, Blob, Digest, Timestamp};

use crate::draft::{Draft, Drafts};
use crate::error::{Error, Result};
use crate::flow::{Flow, blocking};
use crate::{Listed, UploadId};

const UPLOADS: &str = "uploads";
/// What is sent at once, and in memory. A bucket takes at most ten thousand parts, which is eighty gigabytes.
const PART_BYTES: u64 = 8 << 20;
/// A bucket that does not answer is not waited for any longer than a client waits.
const RETRIES_MAX: usize = 2;
const RETRY_TIME_MAX: Duration = Duration::from_secs(8);

/// Where a bucket is, and who we are there.
#[derive(Clone, Debug)]
pub struct S3Settings {
    pub bucket: String,
    /// What the names of our objects begin with; empty: nothing.
    pub prefix: String,
    /// The address of the service; `None`: Amazon's own for the region.
    pub endpoint: Option<String>,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// For keys that are lent for some time.
    pub session_token: Option<Secret>,
}

#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Path,
    name: Arc<str>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

impl Bucket {
    pub(crate) fn open(settings: &S3Settings) -> Result<Self> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(settings.secret_access_key.expose())
            .with_http_connector(crate::wire::Wires)
            .with_retry(RetryConfig {
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_TIME_MAX,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &settings.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token.expose());
        }
        let name: Arc<str> = format!("s3://{}/{}", settings.bucket, settings.prefix).into();
        let store = builder.build().map_err(Error::remote("open", &*name))?;
        Ok(Self {
            store: Arc::new(store),
            prefix: Path::from(settings.prefix.as_str()),
            name,
        })
    }

    /// Asks for what need not be there: whether the bucket answers, takes our keys, and exists.
    pub(crate) async fn probe(&self) -> Result<()> {
        let path = self.prefix.clone().join("probe");
        match self.store.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::remote("look into", &*self.name)(error)),
        }
        match self.store.list(Some(&path)).next().await.transpose() {
            Ok(_) => Ok(()),
            // What a bucket says goes into the words of an error and nowhere else.
            Err(error) if in_words(&error).contains("NoSuchBucket") => {
                Err(Error::NoBucket(self.name.to_string()))
            }
            Err(error) => Err(Error::remote("list", &*self.name)(error)),
        }
    }

    fn below(&self, backend: BackendId) -> Path {
        self.prefix.clone().join(backend.to_string())
    }

    fn blob_path(&self, backend: BackendId, digest: &Digest) -> Path {
        let name = digest.to_string();
        self.below(backend).join(&name[..2]).join(name)
    }

    fn upload_path(&self, backend: BackendId, upload: UploadId) -> Path {
        self.below(backend).join(UPLOADS).join(upload.to_string())
    }

    pub(crate) async fn open_blob(
        &self,
        backend: BackendId,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Opened> {
        let path = self.blob_path(backend, digest);
        let fail = || Error::remote("read", path.as_ref());
        if range.is_empty() {
            let meta = self.store.head(&path).await.map_err(fail())?;
            return Ok(Opened::nothing(meta.size));
        }
        let wanted = match (range.start, range.end) {
            (0, u64::MAX) => None,
            (start, u64::MAX) => Some(GetRange::Offset(start)),
            _ => Some(GetRange::Bounded(range.clone())),
        };
        let options = GetOptions {
            range: wanted,
            ..GetOptions::default()
        };
        let found = match self.store.get_opts(&path, options).await {
            Ok(found) => found,
            Err(error) => {
                // A range that begins behind the end is none to a bucket, and an empty one to us.
                let meta = self.store.head(&path).await.map_err(fail())?;
                return match range.start >= meta.size {
                    true => Ok(Opened::nothing(meta.size)),
                    false => Err(fail()(error)),
                };
            }
        };
        Ok(Opened {
            blob_bytes: found.meta.size,
            range: found.range.clone(),
            pieces: found.into_stream(),
        })
    }

    pub(crate) async fn size(&self, backend: BackendId, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(backend, digest);
        match self.store.head(&path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::remote("look at", path.as_ref())(error)),
        }
    }

    pub(crate) async fn delete(&self, backend: BackendId, digest: &Digest) -> Result<()> {
        self.delete_path(&self.blob_path(backend, digest)).await
    }

    async fn delete_path(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::remote("delete", path.as_ref())(error)),
        }
    }

    pub(crate) async fn delete_backend(&self, backend: BackendId) -> Result<()> {
        self.delete_below(&self.below(backend)).await
    }

    async fn delete_below(&self, folder: &Path) -> Result<()> {
        let found = self.store.list(Some(folder)).map_ok(|meta| meta.location);
        let mut gone = self.store.delete_stream(found.boxed());
        while let Some(deleted) = gone.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(Error::remote("delete", folder.as_ref())(error)),
            }
        }
        Ok(())
    }

    pub(crate) async fn backends(&self) -> Result<Vec<BackendId>> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await;
        let listed = listed.map_err(Error::remote("list", &*self.name))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    pub(crate) fn list(&self, backend: BackendId) -> BoxStream<'static, Result<Listed>> {
        let name = Arc::clone(&self.name);
        let listing = self.store.list(Some(&self.below(backend)));
        listing
            .map_err(move |error| Error::remote("list", &*name)(error))
            .try_filter_map(|meta| std::future::ready(Ok(listed(&meta))))
            .boxed()
    }

    /// Gives all blobs of one backend to another one, too.
    pub(crate) async fn share(&self, from: BackendId, with: BackendId) -> Result<()> {
        let mut blobs = self.list(from);
        while let Some(Listed { blob, .. }) = blobs.next().await.transpose()? {
            let path = self.blob_path(from, &blob.digest);
            let to = self.blob_path(with, &blob.digest);
            let copied = self.store.copy(&path, &to).await;
            copied.map_err(Error::remote("copy", path.as_ref()))?;
        }
        Ok(())
    }

    /// Sends what was gathered under its own name.
    pub(crate) async fn keep(
        &self,
        backend: BackendId,
        mut draft: Draft,
        rest: Vec<Bytes>,
    ) -> Result<Blob> {
        if draft.is_unwritten() {
            draft.add(&rest);
            let blob = draft.name();
            let path = self.blob_path(backend, &blob.digest);
            self.put(&path, rest).await?;
            return Ok(blob);
        }
        let (mut draft, file) = written(draft, rest).await?;
        let blob = draft.name();
        let path = self.blob_path(backend, &blob.digest);
        self.send(&path, file, blob.bytes).await?;
        Ok(blob)
    }

    /// Sends what was gathered as a chunk of an upload.
    pub(crate) async fn keep_part(
        &self,
        backend: BackendId,
        upload: UploadId,
        start: u64,
        mut draft: Draft,
        rest: Vec<Bytes>,
    ) -> Result<u64> {
        let path = self
            .upload_path(backend, upload)
            .join(format!("{start:016x}"));
        if draft.is_unwritten() {
            draft.add(&rest);
            let end = start + draft.name().bytes;
            self.put(&path, rest).await?;
            return Ok(end);
        }
        let (mut draft, file) = written(draft, rest).await?;
        let bytes = draft.name().bytes;
        self.send(&path, file, bytes).await?;
        Ok(start + bytes)
    }

    async fn put(&self, path: &Path, pieces: Vec<Bytes>) -> Result<()> {
        let sent = self.store.put(path, PutPayload::from_iter(pieces)).await;
        sent.map(drop)
            .map_err(Error::remote("write", path.as_ref()))
    }

    /// Sends a file, in parts when it is large.
    async fn send(&self, path: &Path, file: File, bytes: u64) -> Result<()> {
        let file = Arc::new(file);
        if bytes <= PART_BYTES {
            let all = read_part(file, 0..bytes).await?;
            return self.put(path, vec![all]).await;
        }
        let fail = || Error::remote("write", path.as_ref());
        let mut upload = self.store.put_multipart(path).await.map_err(fail())?;
        let sent = send_parts(&mut *upload, &file, bytes).await;
        let outcome = match sent {
            Ok(()) => upload.complete().await.map(drop).map_err(fail()),
            Err(Failed::Here(error)) => Err(error),
            Err(Failed::There(error)) => Err(fail()(error)),
        };
        if outcome.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, %path, "the parts of an upload could not be taken back; a rule of the bucket should \
                remove them after a while");
        }
        outcome
    }

    /// Puts the chunks of an upload together. Each of them begins where the one before it ended; what else is there was
    /// never acknowledged.
    pub(crate) async fn join(
        &self,
        backend: BackendId,
        upload: UploadId,
        bytes: u64,
        drafts: &Arc<Drafts>,
    ) -> Result<Blob> {
        let mut flow = Flow::into(Draft::new(Arc::clone(drafts)));
        let parts = self.parts(backend, upload).await?;
        let mut at = 0;
        while at < bytes {
            let part = parts.iter().find(|(start, _)| *start == at);
            let Some((_, meta)) = part.filter(|(_, meta)| meta.size > 0) else {
                return Err(Error::Short {
                    found: at,
                    wanted: bytes,
                });
            };
            let wanted = meta.size.min(bytes - at);
            let options = GetOptions {
                range: Some(GetRange::Bounded(0..wanted)),
                ..GetOptions::default()
            };
            let fail = || Error::remote("read", meta.location.as_ref());
            let found = self.store.get_opts(&meta.location, options).await;
            let mut pieces = found.map_err(fail())?.into_stream();
            while let Some(piece) = pieces.next().await {
                flow.write(piece.map_err(fail())?).await?;
            }
            at += wanted;
        }
        let (draft, rest) = flow.finish().await?;
        self.keep(backend, draft, rest).await
    }

    /// The chunks of an upload by where they begin.
    async fn parts(&self, backend: BackendId, upload: UploadId) -> Result<Vec<(u64, ObjectMeta)>> {
        let folder = self.upload_path(backend, upload);
        let found: Vec<_> = self
            .store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(Error::remote("list", folder.as_ref()))?;
        let start = |meta: &ObjectMeta| u64::from_str_radix(meta.location.filename()?, 16).ok();
        let mut parts: Vec<_> = found
            .into_iter()
            .filter_map(|meta| Some((start(&meta)?, meta)))
            .collect();
        parts.sort_by_key(|(start, _)| *start);
        Ok(parts)
    }

    pub(crate) async fn drop_upload(&self, backend: BackendId, upload: UploadId) -> Result<()> {
        self.delete_below(&self.upload_path(backend, upload)).await
    }

    pub(crate) async fn upload_size(&self, backend: BackendId, upload: UploadId) -> Result<u64> {
        let parts = self.parts(backend, upload).await?;
        Ok(parts
            .iter()
            .fold(0, |at, (start, meta)| match *start == at {
                true => at + meta.size,
                false => at,
            }))
    }

    pub(crate) async fn uploads(&self, backend: BackendId) -> Result<Vec<UploadId>> {
        let folder = self.below(backend).join(UPLOADS);
        let listed = self.store.list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(Error::remote("list", folder.as_ref()))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }
}

/// What comes out of a bucket.
pub(crate) struct Opened {
    pub(crate) blob_bytes: u64,
    pub(crate) range: Range<u64>,
    pub(crate) pieces: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Opened {
    fn nothing(blob_bytes: u64) -> Self {
        Self {
            blob_bytes,
            range: blob_bytes..blob_bytes,
            pieces: futures_util::stream::empty().boxed(),
        }
    }
}

/// An error with all that led to it.
fn in_words(error: &object_store::Error) -> String {
    let mut words = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        next = cause.source();
    }
    words
}

/// A blob, if this is one and not a chunk of an upload.
fn listed(meta: &ObjectMeta) -> Option<Listed> {
    let digest = meta.location.filename()?.parse().ok()?;
    let millis = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or_default();
    Some(Listed {
        blob: Blob {
            digest,
            bytes: meta.size,
        },
        written_at: Timestamp::from_millis(millis),
    })
}

/// Writes the rest of a draft to its file.
async fn written(draft: Draft, rest: Vec<Bytes>) -> Result<(Draft, File)> {
    blocking(move || draft.written(&rest)).await
}

enum Failed {
    Here(Error),
    There(object_store::Error),
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    file: &Arc<File>,
    bytes: u64,
) -> Result<(), Failed> {
    let mut at = 0;
    while at < bytes {
        let end = (at + PART_BYTES).min(bytes);
        let part = read_part(Arc::clone(file), at..end);
        let part = part.await.map_err(Failed::Here)?;
        let sent = upload.put_part(part.into()).await;
        sent.map_err(Failed::There)?;
        at = end;
    }
    Ok(())
}

async fn read_part(file: Arc<File>, range: Range<u64>) -> Result<Bytes> {
    blocking(move || {
        let length = usize::try_from(range.end - range.start).unwrap_or_default();
        let mut part = vec![0; length];
        let read = file.read_exact_at(&mut part, range.start);
        read.map_err(Error::io("read", "a draft"))?;
        Ok(part.into())
    })
    .await
}
