//! After an upgrade: bytes in both directions, whatever they mean.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Client, poll_read_into};
use crate::spare;

const READ_BYTES: usize = 16 << 10;

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fall {
    /// Both sides have said all they wanted, or one has gone.
    Closed,
    /// Nothing was said for too long.
    Idle,
    /// The router stops.
    Stopped,
}

/// Two sockets that hear each other.
pub(crate) struct Tunnel<'c, S> {
    client: &'c mut Client<S>,
    upstream: TcpStream,
    up: Pipe,
    down: Pipe,
    idle_timeout: Duration,
    deadline: Option<Instant>,
    /// Bytes to the client.
    pub(crate) bytes: u64,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Read and not written yet, from `written` on. Nothing is held while nothing is said.
    buffer: BytesMut,
    written: usize,
    /// The side that is read has finished.
    ended: bool,
    /// The other one knows.
    closed: bool,
}

impl<'c, S: AsyncRead + AsyncWrite + Unpin> Tunnel<'c, S> {
    pub(crate) fn new(
        client: &'c mut Client<S>,
        upstream: TcpStream,
        idle_timeout: Duration,
    ) -> Self {
        let mut up = Pipe::default();
        std::mem::swap(&mut up.buffer, &mut client.inbox);
        Self {
            up,
            down: Pipe::default(),
            client,
            upstream,
            idle_timeout,
            deadline: None,
            bytes: 0,
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Fall> {
        if self.client.ended {
            self.up.ended = true;
        }
        let up = self
            .up
            .poll(cx, &mut self.client.stream, &mut self.upstream);
        let down = self
            .down
            .poll(cx, &mut self.upstream, &mut self.client.stream);
        let (Ok(up), Ok(down)) = (up, down) else {
            return Poll::Ready(Fall::Closed);
        };
        self.bytes += down;
        if self.up.closed && self.down.closed {
            return Poll::Ready(Fall::Closed);
        }
        if stopping.poll(cx).is_ready() {
            return Poll::Ready(Fall::Stopped);
        }
        let deadline = match self.deadline {
            Some(deadline) if up + down == 0 => deadline,
            _ => Instant::now() + self.idle_timeout,
        };
        self.deadline = Some(deadline);
        ready!(self.client.timer.poll_passed(cx, deadline));
        Poll::Ready(Fall::Idle)
    }
}

impl Pipe {
    /// Moves what can be moved: how many bytes were read or written.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<u64> {
        let mut moved = 0;
        loop {
            while self.written < self.buffer.len() {
                match Pin::new(&mut *to).poll_write(cx, &self.buffer[self.written..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(written)) => {
                        self.written += written;
                        moved += written as u64;
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(moved),
                }
            }
            self.buffer.clear();
            self.written = 0;
            // Under TLS some of it may wait inside.
            match Pin::new(&mut *to).poll_flush(cx) {
                Poll::Ready(done) => done?,
                Poll::Pending => return Ok(moved),
            }
            if self.ended {
                if !self.closed
                    && let Poll::Ready(done) = Pin::new(&mut *to).poll_shutdown(cx)
                {
                    self.closed = true;
                    done?;
                }
                return Ok(moved);
            }
            match poll_read_into(from, &mut self.buffer, READ_BYTES, cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    spare::give(&mut self.buffer);
                    return Ok(moved);
                }
            }
        }
    }
}
