//! The I/O of one connected socket: a task that moves bytes between the stream, the session and the outbox.
//!
//! One task waits for all of it at once: the peer's bytes, room to write, news in the outbox, the next
//! deadline. It reads into the stack and holds a write buffer only while something is on its way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::hub::Seat;
use crate::limits::Limits;
use crate::outbox::Farewell;
use crate::session::{End, Session};

/// What is read in one go. Clients have little to say.
const READ_BYTES: usize = 2048;

/// The slices of one vectored write.
const SLICES: usize = 64;

/// A socket after its handshake.
pub(crate) struct Connection<S> {
    stream: S,
    session: Session,
    /// Its place in the hub; a socket that is turned away has none.
    seat: Option<Seat>,
    limits: Arc<Limits>,
    /// Frames on their way, in order.
    batch: VecDeque<Bytes>,
    /// Part of the first frame has been written, so it cannot be dropped any more.
    mid_frame: bool,
    /// Something was written since the last flush.
    unflushed: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A socket that receives what its seat is sent. `read_ahead` is what came behind the handshake.
    pub(crate) fn seated(stream: S, read_ahead: &[u8], seat: Seat, limits: Arc<Limits>) -> Self {
        let mut connection = Self::new(stream, limits);
        connection.seat = Some(seat);
        connection.session.receive(read_ahead, now());
        connection
    }

    /// A socket that is told to go. Old clients have no answer to a refused handshake, so the refusal
    /// comes after it (`mws.md` §6).
    pub(crate) fn turned_away(stream: S, farewell: Farewell, limits: Arc<Limits>) -> Self {
        let mut connection = Self::new(stream, limits);
        connection.session.leave(farewell, now());
        connection
    }

    fn new(stream: S, limits: Arc<Limits>) -> Self {
        let session = Session::new(&limits, now());
        let timer = Box::pin(sleep_until(session.deadline().into()));
        Self {
            stream,
            session,
            seat: None,
            limits,
            batch: VecDeque::new(),
            mid_frame: false,
            unflushed: false,
            timer,
        }
    }

    /// Serves the socket until it ends, and says how it did.
    #[expect(
        clippy::manual_async_fn,
        reason = "the state of an async fn would hold the connection twice"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = End> {
        async move {
            let end = poll_fn(|cx| self.poll_end(cx)).await;
            self.seat = None;
            if end.is_orderly() {
                let until = self.session.deadline().into();
                // Whatever comes of it: the peer was told all there is to tell.
                let _ = timeout_at(until, self.hang_up(end)).await;
            }
            end
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            self.heed_farewell(cx);
            let read = self.poll_read(cx);
            let written = self.poll_write(cx);
            match (self.session.end(), written) {
                (Some(end), _) if !end.is_orderly() => return Poll::Ready(end),
                (Some(end), Poll::Ready(Ok(()))) => return Poll::Ready(end),
                (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Lost),
                (_, _) if read.is_ready() => return Poll::Ready(End::Lost),
                (_, _) => {}
            }
            ready!(self.poll_timer(cx));
        }
    }

    /// Looks whether somebody wants this socket to end, and asks to be woken by news for it.
    fn heed_farewell(&mut self, cx: &Context<'_>) {
        let Some(seat) = &self.seat else {
            return;
        };
        let Some(farewell) = seat.outbox().poll_farewell(cx) else {
            return;
        };
        self.session.leave(farewell, now());
        if farewell == Farewell::SLOW_READER {
            // What the peer did not read in time is lost as a whole, not up to some message.
            self.batch.truncate(usize::from(self.mid_frame));
        }
    }

    /// Reads whatever there is. Ready: the peer is gone.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.session.receive(buffer.filled(), now());
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Writes whatever there is. Ready: all of it has left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.batch.is_empty() {
                self.refill();
            }
            if self.batch.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.batch.iter().zip(&mut slices);
            let count = filled
                .map(|(frame, slice)| *slice = IoSlice::new(frame))
                .count();
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
    }

    /// Gathers what is to be sent next: control frames first, then messages, at last our close frame.
    fn refill(&mut self) {
        while let Some(frame) = self.session.next_control() {
            self.batch.push_back(frame);
        }
        if self.session.sends_messages()
            && let Some(seat) = &self.seat
        {
            seat.outbox().take_batch(
                &mut self.batch,
                self.limits.batch_messages_max,
                self.limits.batch_bytes_max,
            );
        }
        if self.batch.is_empty()
            && let Some(frame) = self.session.next_when_drained()
        {
            self.batch.push_back(frame);
        }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.batch.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.mid_frame |= written > 0;
                return;
            }
            written -= first.len();
            self.batch.pop_front();
            self.mid_frame = false;
        }
        // An idle socket keeps no buffer.
        self.batch = VecDeque::new();
    }

    /// Ready: a deadline has passed and its work is to be looked at.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::from_std(self.session.deadline());
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        ready!(self.timer.as_mut().poll(cx));
        self.session.elapse(now());
        Poll::Ready(())
    }

    /// Ends the connection so that the last frame arrives: a peer that still sends would otherwise have its
    /// unread bytes answered with a reset, which can overtake that frame.
    async fn hang_up(&mut self, end: End) -> io::Result<()> {
        self.stream.shutdown().await?;
        if end == End::Broken {
            poll_fn(|cx| self.poll_read(cx)).await;
        }
        Ok(())
    }
}

/// The runtime's clock, which a test can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
