//! Blobs: the bytes of files, kept under their SHA-256 in a local folder or in a bucket that speaks the S3 protocol.
//!
//! Every blob belongs to one backend. Two tenants that upload the same bytes hold two blobs: nothing that one of them
//! does can be noticed by the other. Who may see what, and how many files refer to a blob, is not known here; whoever
//! deletes one makes sure that nobody needs it.
//!
//! What [`Staging::finish`], [`Chunk::finish`] and [`Blobs::join`] have returned is durable. What was under way when
//! the server was killed is swept when it starts again, except the chunks of an upload, which can be continued.
//!
//! Start reading at [`Blobs`]; the two places are `folder` and `bucket`.

mod bucket;
mod draft;
mod error;
mod flow;
mod folder;
mod pool;
mod read;
mod wire;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use pilvi_base::disk::Reserve;
use pilvi_model::{BackendId, Error as DomainError, ObjectId, Result, Timestamp};

pub use bucket::S3Settings;
pub use pilvi_model::{Blob, Digest};
pub use read::BlobStream;

use bucket::Bucket;
use draft::{Draft, Drafts};
use error::Error;
use flow::{Flow, Sink, blocking};
use folder::{Folder, Taken};
use pool::Pool;

/// An upload in chunks is called like what it is to become.
pub type UploadId = ObjectId;

/// The blobs of all backends. Cloning gives another handle on the same place.
#[derive(Clone, Debug)]
pub struct Blobs {
    place: Place,
    drafts: Arc<Drafts>,
    pool: Arc<Pool>,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

/// Whether a bucket can be used. The error says what is wrong with it, and its cause what the bucket said.
pub async fn probe_bucket(settings: &S3Settings) -> Result<()> {
    Ok(Bucket::open(settings)?.probe().await?)
}

/// A blob and when it was written last. Writing the same bytes again counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub blob: Blob,
    pub written_at: Timestamp,
}

/// What a backend's blobs are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub blobs: u64,
    pub bytes: u64,
}

impl Blobs {
    /// Blobs in a folder, which is made when it is missing. Removes what a server that was killed left under way.
    pub async fn folder(path: &Path, reserve: Reserve) -> Result<Self> {
        let root = path.to_owned();
        let opened = blocking(move || {
            let drafts = Drafts::open(root.join("drafts"), reserve)?;
            Ok((Folder::open(root)?, drafts))
        });
        let (folder, drafts) = opened.await?;
        Ok(Self {
            place: Place::Folder(folder),
            drafts: Arc::new(drafts),
            pool: Arc::default(),
        })
    }

    /// Blobs in a bucket. What is on its way there is gathered in the folder `drafts`, where what a server that was
    /// killed left under way is removed. Nothing is asked of the bucket: see [`Blobs::probe`].
    pub async fn s3(settings: &S3Settings, drafts: &Path, reserve: Reserve) -> Result<Self> {
        let bucket = Bucket::open(settings)?;
        let folder = drafts.to_owned();
        let drafts = blocking(move || Drafts::open(folder, reserve)).await?;
        Ok(Self {
            place: Place::Bucket(bucket),
            drafts: Arc::new(drafts),
            pool: Arc::default(),
        })
    }

    /// Whether the place can be used at all. The error says what is wrong with it.
    pub async fn probe(&self) -> Result<()> {
        match &self.place {
            Place::Folder(_) => Ok(self.drafts.make_sure_of(0)?),
            Place::Bucket(bucket) => Ok(bucket.probe().await?),
        }
    }

    /// Begins a new blob. Refused when the disk is nearly full.
    pub async fn stage(&self, backend: BackendId) -> Result<Staging> {
        self.drafts.make_sure_of(0)?;
        Ok(Staging {
            blobs: self.clone(),
            backend,
            flow: Flow::into(Draft::new(Arc::clone(&self.drafts))),
        })
    }

    /// Opens a blob for reading, or a part of it: what of `range` lies behind its end is left out.
    pub async fn open(
        &self,
        backend: BackendId,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<BlobStream> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, digest) = (folder.clone(), *digest);
                let opened = blocking(move || folder.open_blob(backend, &digest)).await?;
                Ok(BlobStream::of_file(
                    opened.0,
                    opened.1,
                    range,
                    Arc::clone(&self.pool),
                ))
            }
            Place::Bucket(bucket) => {
                let opened = bucket.open_blob(backend, digest, range).await?;
                Ok(BlobStream::of_bucket(opened))
            }
        }
    }

    /// A whole blob in memory, refused when it has more than `bytes_max` bytes.
    pub async fn read(&self, backend: BackendId, digest: &Digest, bytes_max: u64) -> Result<Bytes> {
        let mut stream = self.open(backend, digest, 0..u64::MAX).await?;
        let found = stream.blob_bytes();
        if found > bytes_max {
            return Err(Error::TooLarge {
                name: digest.to_string(),
                found,
                max: bytes_max,
            }
            .into());
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(found).unwrap_or_default());
        while let Some(piece) = stream.next().await {
            whole.extend_from_slice(&piece.map_err(Error::io("read", digest.to_string()))?);
        }
        Ok(whole.freeze())
    }

    pub async fn exists(&self, backend: BackendId, digest: &Digest) -> Result<bool> {
        Ok(self.size(backend, digest).await?.is_some())
    }

    /// How many bytes a blob has; none when there is no such blob.
    pub async fn size(&self, backend: BackendId, digest: &Digest) -> Result<Option<u64>> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, digest) = (folder.clone(), *digest);
                Ok(blocking(move || folder.size(backend, &digest)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.size(backend, digest).await?),
        }
    }

    /// Deletes a blob; harmless when there is none. Who reads it at the moment reads it to its end, from a folder.
    pub async fn delete(&self, backend: BackendId, digest: &Digest) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, digest) = (folder.clone(), *digest);
                Ok(blocking(move || folder.delete(backend, &digest)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.delete(backend, digest).await?),
        }
    }

    /// Deletes all blobs and uploads of a backend; harmless when there are none.
    pub async fn delete_backend(&self, backend: BackendId) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.delete_backend(backend)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.delete_backend(backend).await?),
        }
    }

    /// The backends that have blobs or uploads.
    pub async fn backends(&self) -> Result<Vec<BackendId>> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.backends()).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.backends().await?),
        }
    }

    /// The blobs of a backend, in the order of their digests.
    pub fn list(&self, backend: BackendId) -> BoxStream<'static, Result<Listed>> {
        match &self.place {
            Place::Folder(folder) => list_folder(folder.clone(), backend),
            Place::Bucket(bucket) => bucket.list(backend).map_err(DomainError::from).boxed(),
        }
    }

    /// Counts the blobs of a backend. It looks at each of them.
    pub async fn usage(&self, backend: BackendId) -> Result<Usage> {
        self.list(backend)
            .try_fold(Usage::default(), |usage, listed| {
                std::future::ready(Ok(Usage {
                    blobs: usage.blobs + 1,
                    bytes: usage.bytes.saturating_add(listed.blob.bytes),
                }))
            })
            .await
    }

    /// Makes a file of a blob, for whoever copies a backend. It may be a second name of ours: it must not be changed.
    pub async fn lay_out(&self, backend: BackendId, digest: &Digest, to: &Path) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, digest, to) = (folder.clone(), *digest, to.to_owned());
                Ok(blocking(move || folder.lay_out(backend, &digest, &to)).await?)
            }
            Place::Bucket(_) => {
                let pieces = self.open(backend, digest, 0..u64::MAX).await?;
                Ok(write_out(pieces, to).await?)
            }
        }
    }

    /// Makes a blob of a file, which may be gone after that. Refused when its bytes are others than `blob` says.
    pub async fn take_in(&self, backend: BackendId, from: &Path, blob: Blob) -> Result<()> {
        if let Place::Folder(folder) = &self.place {
            let (folder, from) = (folder.clone(), from.to_owned());
            let taken = {
                let from = from.clone();
                blocking(move || folder.take_in(backend, &from, &blob)).await?
            };
            match taken {
                Taken::Moved => return Ok(()),
                Taken::Other => return Err(Error::Misnamed { path: from }.into()),
                Taken::Elsewhere => {}
            }
        }
        let mut staging = self.stage(backend).await?;
        let opened = {
            let from = from.to_owned();
            blocking(move || {
                let file = File::open(&from).map_err(Error::io("open", &from))?;
                let bytes = file.metadata().map_err(Error::io("look at", &from))?.len();
                Ok((file, bytes))
            })
            .await?
        };
        let mut pieces =
            BlobStream::of_file(opened.0, opened.1, 0..u64::MAX, Arc::clone(&self.pool));
        while let Some(piece) = pieces.next().await {
            staging
                .write(piece.map_err(Error::io("read", from))?)
                .await?;
        }
        staging.finish_as(blob, from).await
    }

    /// Gives all blobs of one backend to another one, too.
    pub async fn share(&self, from: BackendId, with: BackendId) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.share(from, with)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.share(from, with).await?),
        }
    }

    /// Takes the next chunk of an upload, which is there after `start` bytes of it. Chunks follow one another; one
    /// that was not acknowledged is sent again from the same `start`.
    pub async fn chunk(&self, backend: BackendId, upload: UploadId, start: u64) -> Result<Chunk> {
        self.drafts.make_sure_of(0)?;
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                let part = blocking(move || folder.part(backend, upload, start)).await?;
                let drafts = Arc::clone(&self.drafts);
                Ok(Chunk {
                    start,
                    way: Way::Folder(Flow::into(PartSink { part, drafts })),
                })
            }
            Place::Bucket(bucket) => Ok(Chunk {
                start,
                way: Way::Bucket(Box::new(ToBucket {
                    bucket: bucket.clone(),
                    backend,
                    upload,
                    flow: Flow::into(Draft::new(Arc::clone(&self.drafts))),
                })),
            }),
        }
    }

    /// A chunk that is in memory already. Gives the number of bytes that the upload has with it.
    pub async fn put_part(
        &self,
        backend: BackendId,
        upload: UploadId,
        start: u64,
        bytes: Bytes,
    ) -> Result<u64> {
        let mut chunk = self.chunk(backend, upload, start).await?;
        chunk.write(bytes).await?;
        chunk.finish().await
    }

    /// Makes the first `bytes` bytes of an upload a blob. Asked again, for example after a crash, it gives the same
    /// answer, until [`Blobs::drop_upload`].
    pub async fn join(&self, backend: BackendId, upload: UploadId, bytes: u64) -> Result<Blob> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.join(backend, upload, bytes)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.join(backend, upload, bytes, &self.drafts).await?),
        }
    }

    /// Forgets an upload and its chunks, not the blob that it became. Harmless when there is none.
    pub async fn drop_upload(&self, backend: BackendId, upload: UploadId) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.drop_upload(backend, upload)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.drop_upload(backend, upload).await?),
        }
    }

    /// The uploads of a backend that were neither dropped nor deleted with it.
    pub async fn uploads(&self, backend: BackendId) -> Result<Vec<UploadId>> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.uploads(backend)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.uploads(backend).await?),
        }
    }

    /// How many bytes of an upload are there, acknowledged or not.
    pub async fn upload_size(&self, backend: BackendId, upload: UploadId) -> Result<u64> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                Ok(blocking(move || folder.upload_size(backend, upload)).await?)
            }
            Place::Bucket(bucket) => Ok(bucket.upload_size(backend, upload).await?),
        }
    }
}

/// Writes what comes to a file that is made for it.
async fn write_out(mut pieces: BlobStream, to: &Path) -> error::Result<()> {
    let path = to.to_owned();
    let file = blocking(move || {
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map_err(Error::io("make", &path))
    });
    let mut flow = Flow::into(PlainFile(file.await?));
    while let Some(piece) = pieces.next().await {
        flow.write(piece.map_err(Error::io("read", to))?).await?;
    }
    let (mut file, rest) = flow.finish().await?;
    blocking(move || file.take(&rest)).await
}

struct PlainFile(File);

impl Sink for PlainFile {
    fn take(&mut self, pieces: &[Bytes]) -> error::Result<()> {
        draft::write_all(&mut self.0, pieces).map_err(Error::io("write", "a file of a copy"))
    }
}

fn list_folder(folder: Folder, backend: BackendId) -> BoxStream<'static, Result<Listed>> {
    let shelves = async move { blocking(move || folder.shelves(backend)).await };
    futures_util::stream::once(shelves)
        .map_ok(|shelves| futures_util::stream::iter(shelves.into_iter().map(Ok::<_, Error>)))
        .try_flatten()
        .and_then(|shelf| blocking(move || Folder::list(&shelf)))
        .map_ok(|found| futures_util::stream::iter(found.into_iter().map(Ok::<_, Error>)))
        .try_flatten()
        .map_err(DomainError::from)
        .boxed()
}

/// A blob that is being written. It holds about a megabyte of memory at most; dropped, everything is gone.
pub struct Staging {
    blobs: Blobs,
    backend: BackendId,
    flow: Flow<Draft>,
}

impl Staging {
    /// Adds bytes; waits while the disk is slower than whoever sends.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        Ok(self.flow.write(bytes).await?)
    }

    /// Makes it a blob. It is durable when this returns.
    pub async fn finish(self) -> Result<Blob> {
        let (mut draft, rest) = self.flow.finish().await?;
        let backend = self.backend;
        match self.blobs.place {
            Place::Folder(folder) => Ok(blocking(move || {
                draft.take(&rest)?;
                draft.keep(|blob| folder.blob_path(backend, &blob.digest))
            })
            .await?),
            Place::Bucket(bucket) => Ok(bucket.keep(backend, draft, rest).await?),
        }
    }
}

impl Staging {
    /// The same, if its bytes are what `blob` says.
    async fn finish_as(self, blob: Blob, from: &Path) -> Result<()> {
        let backend = self.backend;
        let blobs = self.blobs.clone();
        match self.finish().await {
            Ok(found) if found == blob => Ok(()),
            Ok(found) => {
                blobs.delete(backend, &found.digest).await?;
                let path = from.to_owned();
                Err(Error::Misnamed { path }.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// A chunk of an upload that is being written. Dropped, it was never sent.
pub struct Chunk {
    start: u64,
    way: Way,
}

enum Way {
    Folder(Flow<PartSink>),
    Bucket(Box<ToBucket>),
}

struct ToBucket {
    bucket: Bucket,
    backend: BackendId,
    upload: UploadId,
    flow: Flow<Draft>,
}

impl Chunk {
    /// Where in the file it begins.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Adds bytes; waits while the disk is slower than whoever sends.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.way {
            Way::Folder(flow) => Ok(flow.write(bytes).await?),
            Way::Bucket(to) => Ok(to.flow.write(bytes).await?),
        }
    }

    /// Makes the chunk durable. Gives the number of bytes that the upload has with it.
    pub async fn finish(self) -> Result<u64> {
        match self.way {
            Way::Folder(flow) => {
                let (mut sink, rest) = flow.finish().await?;
                Ok(blocking(move || {
                    sink.take(&rest)?;
                    sink.part.sync()
                })
                .await?)
            }
            Way::Bucket(to) => {
                let (draft, rest) = to.flow.finish().await?;
                let kept = to
                    .bucket
                    .keep_part(to.backend, to.upload, self.start, draft, rest);
                Ok(kept.await?)
            }
        }
    }
}

struct PartSink {
    part: folder::Part,
    drafts: Arc<Drafts>,
}

impl Sink for PartSink {
    fn take(&mut self, pieces: &[Bytes]) -> error::Result<()> {
        self.drafts
            .make_sure_of(pieces.iter().map(Bytes::len).sum())?;
        self.part.take(pieces)
    }
}
