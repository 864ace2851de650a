//! A file on its way to a server.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::progress::Progress;

const PIECE_BYTES: usize = 128 << 10;

/// A file, sent piece by piece. Reading a local file takes no time worth another thread.
pub(crate) struct FileBody {
    pub(crate) file: File,
    pub(crate) progress: Progress,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE_BYTES];
        Poll::Ready(match self.file.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                self.progress.add(count as u64);
                Some(Ok(Frame::data(piece.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }
}
