//! Reading a blob in pieces.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use crate::bucket::Opened;
use crate::pool::{BLOCK_BYTES, Block, Pool};

/// The bytes of a blob, or of a part of one.
pub struct BlobStream {
    blob_bytes: u64,
    range: Range<u64>,
    source: Source,
}

enum Source {
    File(FileSource),
    Bucket(BoxStream<'static, object_store::Result<Bytes>>),
}

impl BlobStream {
    pub(crate) fn of_file(file: File, blob_bytes: u64, range: Range<u64>, pool: Arc<Pool>) -> Self {
        let end = range.end.min(blob_bytes);
        let start = range.start.min(end);
        Self {
            blob_bytes,
            range: start..end,
            source: Source::File(FileSource {
                file: Arc::new(file),
                rest: start..end,
                reading: None,
                pool,
            }),
        }
    }

    pub(crate) fn of_bucket(opened: Opened) -> Self {
        Self {
            blob_bytes: opened.blob_bytes,
            range: opened.range,
            source: Source::Bucket(opened.pieces),
        }
    }

    /// How many bytes the whole blob has.
    pub fn blob_bytes(&self) -> u64 {
        self.blob_bytes
    }

    /// Which of them this stream gives.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl Stream for BlobStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.source {
            Source::File(file) => file.poll_next(context),
            Source::Bucket(pieces) => {
                let piece = ready!(pieces.poll_next_unpin(context));
                Poll::Ready(piece.map(|piece| piece.map_err(io::Error::other)))
            }
        }
    }
}

/// One block is read, and in memory, at a time. Nothing is read ahead: a reader that waits costs no more than that.
struct FileSource {
    file: Arc<File>,
    pool: Arc<Pool>,
    rest: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileSource {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let read = match &mut self.reading {
            Some(reading) => {
                let ended = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                ended.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            }
            None if self.rest.is_empty() => return Poll::Ready(None),
            None => {
                let length = usize::try_from(self.rest.end - self.rest.start);
                let length = length.unwrap_or(usize::MAX).min(BLOCK_BYTES);
                match read_cached(&self.file, self.rest.start, self.pool.take(), length) {
                    Ok(read) => read,
                    Err(block) => {
                        let (file, start) = (Arc::clone(&self.file), self.rest.start);
                        let read = move || read_at(&file, start, block, length);
                        self.reading = Some(tokio::task::spawn_blocking(read));
                        return self.poll_next(context);
                    }
                }
            }
        };
        Poll::Ready(Some(
            read.inspect(|bytes| {
                self.rest.start += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            })
            .inspect_err(|_| self.rest = 0..0),
        ))
    }
}

/// What the system has in memory, if it has any of it: no other thread is needed for that. The block comes back when it
/// would have to wait.
fn read_cached(
    file: &File,
    start: u64,
    mut block: Block,
    length: usize,
) -> Result<io::Result<Bytes>, Block> {
    let into = &mut [io::IoSliceMut::new(&mut block.bytes[..length])];
    match rustix::io::preadv2(file, into, start, ReadWriteFlags::NOWAIT) {
        Ok(0)
        | Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            Err(block)
        }
        Ok(read) => Ok(Ok(block.first(read))),
        Err(error) => Ok(Err(error.into())),
    }
}

fn read_at(file: &File, start: u64, mut block: Block, length: usize) -> io::Result<Bytes> {
    let mut filled = 0;
    while filled < length {
        let at = start + u64::try_from(filled).unwrap_or(u64::MAX);
        match file.read_at(&mut block.bytes[filled..length], at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than it was when it was opened",
        ));
    }
    Ok(block.first(filled))
}
