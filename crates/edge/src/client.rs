//! The client's side of a connection.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::spare;
use crate::timer::Timer;

/// How much is read where a head is to come. Most are shorter.
pub(crate) const HEAD_READ_BYTES: usize = 4 << 10;
/// How much of a body is read at once.
pub(crate) const BODY_READ_BYTES: usize = 64 << 10;

/// A client's socket and what has been read from it.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    /// Read and not used yet.
    pub(crate) inbox: BytesMut,
    /// The client has finished sending.
    pub(crate) ended: bool,
    pub(crate) timer: Timer,
    /// Written into the stream, which may still hold some of it (TLS).
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S, inbox: BytesMut) -> Self {
        Self {
            stream,
            inbox,
            ended: false,
            timer: Timer::default(),
            unflushed: false,
        }
    }

    /// Nothing more will be asked.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.inbox.is_empty()
    }

    /// Reads into the inbox: how many bytes, 0 at the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(poll_read_into(&mut self.stream, &mut self.inbox, room, cx));
        self.ended = matches!(read, Ok(0));
        Poll::Ready(read)
    }

    /// Writes all of `bytes`, from `written` on.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        while *written < bytes.len() {
            let sent = Pin::new(&mut self.stream).poll_write(cx, &bytes[*written..]);
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => *written += sent,
            }
            self.unflushed = true;
        }
        self.poll_flush(cx)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads what there is, up to `room` bytes, behind what `buffer` holds.
pub(crate) fn poll_read_into(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() == 0 {
        *buffer = spare::take();
    }
    buffer.reserve(room);
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// Moves the first `len` bytes of `from` behind those of `to`, without copying when all of one becomes all of the
/// other.
pub(crate) fn shift(from: &mut BytesMut, len: usize, to: &mut BytesMut) {
    if to.is_empty() && len == from.len() {
        std::mem::swap(from, to);
        from.clear();
    } else {
        to.extend_from_slice(&from[..len]);
        from.advance(len);
    }
}
