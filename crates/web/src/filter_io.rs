//! The head filter between a socket and hyper.
//!
//! hyper reads from here what looks like a perfect client: canonical heads, bodies of exactly their length, and a
//! clean end of the stream when something else than a request comes next. This side keeps the time, too: how long
//! a client may rest, take over a head, pause in a body, or leave a reply unread.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::Limits;
use crate::apps::Apps;
use crate::chunked::{Broken, ChunkedReader};
use crate::head::{Fault, Framing, HALF_SENT, Head, HeadFilter, TOO_SLOW, UpgradeHead};

/// How much of a chunked body is read from the socket at once.
const READ_BYTES: usize = 16 << 10;
/// How much is read at once where a head is to come. It is kept in as much room as it needs: most are shorter, and
/// thousands of clients may come at once.
const HEAD_READ_BYTES: usize = 4 << 10;

/// A socket whose requests have passed the head filter.
pub(crate) struct FilterIo<S> {
    stream: S,
    limits: Limits,
    filter: HeadFilter,
    /// Read from the socket and not looked at yet.
    inbox: BytesMut,
    /// Ready for hyper.
    outbox: BytesMut,
    phase: Phase,
    /// Whether the client has finished sending.
    ended: bool,
    wait: Option<(Wait, Instant)>,
    read_timer: Timer,
    write_timer: Timer,
    /// When the client must have taken more of a reply; set while it takes nothing.
    write_deadline: Option<Instant>,
}

/// Where in the stream of requests the reader is.
enum Phase {
    /// Before a head; `first` is the first of the connection.
    Head {
        first: bool,
    },
    /// In a body with so many bytes to come.
    Length(u64),
    Chunked(ChunkedReader),
    /// In a body whose framing is broken. hyper is told once it has taken what came before.
    Broken,
    /// An upgrade was found; hyper sees the end of the stream.
    Upgrade(UpgradeHead),
    /// A request for an event stream was found, likewise.
    EventStream(UpgradeHead),
    /// A head for an app was found, likewise. It is still in the inbox.
    App,
    /// Nothing more is read: the client is done, too slow or was refused.
    Over,
}

/// What the client is being waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    FirstByte,
    NextRequest,
    RestOfHead,
    Body,
}

/// What comes next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Request,
    Upgrade,
    EventStream,
    App,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FilterIo<S> {
    pub(crate) fn new(stream: S, limits: Limits) -> Self {
        Self {
            filter: HeadFilter::new(&limits),
            stream,
            limits,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            phase: Phase::Head { first: true },
            ended: false,
            wait: None,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            write_deadline: None,
        }
    }

    /// Leaves requests for apps to the router.
    pub(crate) fn except(mut self, apps: Option<Apps>) -> Self {
        self.filter = self.filter.except(apps);
        self
    }

    /// Goes on with a connection of which `read` has been read. It is not the first request.
    pub(crate) fn resuming(mut self, read: BytesMut) -> Self {
        self.inbox = read;
        self.filter.keep_next();
        self.phase = Phase::Head { first: false };
        self
    }

    /// Waits until it is clear what comes next.
    pub(crate) async fn next(&mut self) -> Next {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether the stream stopped at something that is not for hyper.
    pub(crate) fn stopped(&self) -> bool {
        matches!(
            self.phase,
            Phase::Upgrade(_) | Phase::EventStream(_) | Phase::App
        )
    }

    /// The socket, the head of the upgrade or event stream it stopped at, and what was read behind it.
    pub(crate) fn into_upgrade(self) -> Option<(S, UpgradeHead, Bytes)> {
        match self.phase {
            Phase::Upgrade(head) | Phase::EventStream(head) => {
                Some((self.stream, head, self.inbox.freeze()))
            }
            _ => None,
        }
    }

    /// The socket, and what was read from it and is for an app.
    pub(crate) fn into_app(self) -> (S, BytesMut) {
        (self.stream, self.inbox)
    }

    /// The socket, and whether the client may still be sending.
    pub(crate) fn into_stream(self) -> (S, bool) {
        (self.stream, !self.ended)
    }

    /// Finds the next head, or learns that there is none.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if !self.outbox.is_empty() {
                return Poll::Ready(Next::Request);
            }
            let first = match self.phase {
                Phase::Head { first } => first,
                Phase::Upgrade(_) => return Poll::Ready(Next::Upgrade),
                Phase::EventStream(_) => return Poll::Ready(Next::EventStream),
                Phase::App => return Poll::Ready(Next::App),
                // A body that hyper left unread makes the connection useless.
                Phase::Length(_) | Phase::Chunked(_) | Phase::Broken | Phase::Over => {
                    return Poll::Ready(Next::End);
                }
            };
            match self.filter.next(&mut self.inbox) {
                Some(Ok(head)) => self.take_head(head),
                Some(Err(fault)) => self.refuse(fault),
                None => ready!(self.poll_more_of_head(cx, first)),
            }
        }
    }

    fn take_head(&mut self, head: Head) {
        self.wait = None;
        match head {
            Head::Request { canonical, framing } => {
                self.outbox = canonical;
                self.phase = match framing {
                    Framing::Length(0) => Phase::Head { first: false },
                    Framing::Length(length) => Phase::Length(length),
                    Framing::Chunked => Phase::Chunked(ChunkedReader::new()),
                };
            }
            Head::Upgrade(head) => self.phase = Phase::Upgrade(head),
            Head::EventStream(head) => self.phase = Phase::EventStream(head),
            Head::App => self.phase = Phase::App,
        }
    }

    /// Sends a head in place of the one that is wrong, so that the refusal takes the usual way out.
    fn refuse(&mut self, fault: Fault) {
        self.outbox = fault.as_head(&self.inbox);
        self.inbox.clear();
        self.phase = Phase::Over;
    }

    fn poll_more_of_head(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<()> {
        let (wait, limit) = match (self.inbox.is_empty(), first) {
            (false, _) => (Wait::RestOfHead, self.limits.head_timeout),
            (true, true) => (Wait::FirstByte, self.limits.head_timeout),
            (true, false) => (Wait::NextRequest, self.limits.idle_timeout),
        };
        match self.poll_fill(cx) {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                if self.inbox.is_empty() {
                    self.phase = Phase::Over;
                } else {
                    self.refuse(HALF_SENT);
                }
                Poll::Ready(())
            }
            Poll::Ready(Ok(_)) => Poll::Ready(()),
            Poll::Pending => {
                ready!(self.poll_waited(cx, wait, limit));
                if wait == Wait::RestOfHead {
                    self.refuse(TOO_SLOW);
                } else {
                    self.phase = Phase::Over;
                }
                Poll::Ready(())
            }
        }
    }

    /// Reads from the socket into the inbox: how many bytes, 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = match self.phase {
            Phase::Head { .. } => self.poll_read_head(cx),
            _ => {
                self.inbox.reserve(READ_BYTES);
                pin!(self.stream.read_buf(&mut self.inbox)).poll(cx)
            }
        };
        if self.inbox.is_empty() && read.is_pending() {
            // A resting connection holds no buffer.
            self.inbox = BytesMut::new();
        }
        let read = ready!(read);
        self.ended = !matches!(read, Ok(read) if read > 0);
        Poll::Ready(read)
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = [MaybeUninit::uninit(); HEAD_READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.inbox.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Ready once `wait` has lasted for `limit`.
    fn poll_waited(&mut self, cx: &mut Context<'_>, wait: Wait, limit: Duration) -> Poll<()> {
        let deadline = match self.wait {
            Some((since, deadline)) if since == wait => deadline,
            _ => {
                let deadline = Instant::now() + limit;
                self.wait = Some((wait, deadline));
                deadline
            }
        };
        self.read_timer.poll_passed(cx, deadline)
    }

    /// Moves more of the current body from the inbox towards hyper. `false` when the inbox has nothing for it.
    fn take_body(&mut self, into: &mut ReadBufCursor<'_>) -> bool {
        match &mut self.phase {
            Phase::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let here = here.min(self.inbox.len()).min(into.remaining());
                into.put_slice(&self.inbox[..here]);
                self.inbox.advance(here);
                *left -= here as u64;
                if *left == 0 {
                    self.phase = Phase::Head { first: false };
                }
                here > 0
            }
            Phase::Chunked(reader) => {
                match reader.advance(&mut self.inbox, &mut self.outbox) {
                    Ok(()) if reader.is_done() => self.phase = Phase::Head { first: false },
                    Ok(()) => {}
                    Err(Broken) => self.phase = Phase::Broken,
                }
                !self.outbox.is_empty()
            }
            Phase::Head { .. }
            | Phase::Broken
            | Phase::Upgrade(_)
            | Phase::EventStream(_)
            | Phase::App
            | Phase::Over => false,
        }
    }

    fn drain_outbox(&mut self, into: &mut ReadBufCursor<'_>) {
        let here = self.outbox.len().min(into.remaining());
        into.put_slice(&self.outbox[..here]);
        self.outbox.advance(here);
        if self.outbox.is_empty() {
            self.outbox = BytesMut::new();
        }
    }

    fn in_body(&self) -> bool {
        matches!(
            self.phase,
            Phase::Length(_) | Phase::Chunked(_) | Phase::Broken
        )
    }

    /// Gives hyper what there is: a head with the body bytes behind it, or more of a body. Never bytes of two
    /// requests, so that an upgrade between them is still ours.
    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        if self.outbox.is_empty() && !self.in_body() && ready!(self.poll_next(cx)) != Next::Request
        {
            return Poll::Ready(Ok(()));
        }
        loop {
            self.drain_outbox(&mut into);
            if into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.take_body(&mut into) {
                self.wait = None;
                continue;
            }
            if into.remaining() < room {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.phase, Phase::Broken) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Broken)));
            }
            if let Phase::Length(left) = self.phase {
                let read = self.poll_pass(cx, into, left);
                return self.poll_body_waited(cx, read).map_ok(drop);
            }
            let read = self.poll_fill(cx);
            // hyper finds by itself that the body is too short.
            if ready!(self.poll_body_waited(cx, read))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Lets the socket fill hyper's own buffer with what is left of a body, so that no byte of a large one is copied on
    /// the way. How many bytes, 0 at the end.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let mut body = TokioIo::new((&mut self.stream).take(left));
        let read = hyper::rt::Read::poll_read(Pin::new(&mut body), cx, into);
        let left_now = body.inner().limit();
        if let Err(error) = ready!(read) {
            self.ended = true;
            return Poll::Ready(Err(error));
        }
        self.ended = left_now == left;
        self.wait = None;
        self.phase = match left_now {
            0 => Phase::Head { first: false },
            left => Phase::Length(left),
        };
        // No buffer is larger than what a `usize` counts.
        Poll::Ready(Ok(usize::try_from(left - left_now).unwrap_or(usize::MAX)))
    }

    /// Passes on the outcome of a read in a body, or ends the wait for a client that pauses for too long.
    fn poll_body_waited(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if read.is_ready() {
            return read;
        }
        ready!(self.poll_waited(cx, Wait::Body, self.limits.body_stall_timeout));
        self.phase = Phase::Over;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Passes on the outcome of a write, or ends a wait for a client that reads nothing.
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_deadline = None;
            return outcome;
        }
        let limit = self.limits.write_stall_timeout;
        let deadline = *self
            .write_deadline
            .get_or_insert_with(|| Instant::now() + limit);
        ready!(self.write_timer.poll_passed(cx, deadline));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for FilterIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_give(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for FilterIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.poll_written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.poll_written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_written(cx, outcome)
    }

    /// Only flushes: when hyper has finished, the socket may still be needed for an upgrade.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// A timer that is cheap to move: it wakes at the earliest deadline it was given and only then looks whether that
/// has been put off.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll_passed(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    const PAUSE: Duration = Duration::from_secs(3600);

    fn filtered(room: usize) -> (DuplexStream, FilterIo<DuplexStream>) {
        let (client, server) = duplex(room);
        (client, FilterIo::new(server, Limits::default()))
    }

    /// What hyper would read next, at most 64 bytes at once.
    async fn read(io: &mut FilterIo<DuplexStream>) -> io::Result<String> {
        let mut room = [0; 64];
        let mut buffer = hyper::rt::ReadBuf::new(&mut room);
        std::future::poll_fn(|cx| {
            hyper::rt::Read::poll_read(Pin::new(&mut *io), cx, buffer.unfilled())
        })
        .await?;
        Ok(String::from_utf8(buffer.filled().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn one_read_never_holds_bytes_of_two_requests() {
        let (mut client, mut io) = filtered(1024);
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let upgrade =
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        client
            .write_all([post, get, upgrade, "ahead"].concat().as_bytes())
            .await
            .unwrap();
        assert_eq!(io.next().await, Next::Request);
        assert_eq!(read(&mut io).await.unwrap(), post);
        assert_eq!(read(&mut io).await.unwrap(), get);
        assert_eq!(read(&mut io).await.unwrap(), "");
        assert!(io.stopped());
        assert_eq!(io.next().await, Next::Upgrade);
        let (_, head, read_ahead) = io.into_upgrade().unwrap();
        assert_eq!(
            (head.target.as_str(), &read_ahead[..]),
            ("/", b"ahead".as_slice())
        );
    }

    #[tokio::test]
    async fn a_body_that_comes_later_ends_where_the_next_request_begins() {
        let (mut client, mut io) = filtered(1024);
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n";
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read(&mut io).await.unwrap(), head);
        let rest = ["x".repeat(100), get.to_owned()].concat();
        client.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(read(&mut io).await.unwrap(), "x".repeat(64));
        assert_eq!(read(&mut io).await.unwrap(), "x".repeat(36));
        assert_eq!(read(&mut io).await.unwrap(), get);
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read(&mut io).await.unwrap(), head);
        client.write_all(b"x").await.unwrap();
        drop(client);
        assert_eq!(read(&mut io).await.unwrap(), "x");
        assert_eq!(read(&mut io).await.unwrap(), "");
        assert_eq!(read(&mut io).await.unwrap(), "", "the end stays the end");
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_limit() {
        let limits = Limits::default();
        let (_client, mut io) = filtered(1024);
        let started = Instant::now();
        assert_eq!(io.next().await, Next::End);
        assert_eq!(started.elapsed(), limits.head_timeout);

        let (mut client, mut io) = filtered(1024);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        read(&mut io).await.unwrap();
        let started = Instant::now();
        assert_eq!(io.next().await, Next::End);
        assert_eq!(started.elapsed(), limits.idle_timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_refused_at_its_limit() {
        let (mut client, mut io) = filtered(1024);
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(b"G").await.is_err() {
                    break;
                }
            }
        };
        let started = Instant::now();
        tokio::select! {
            next = io.next() => assert_eq!(next, Next::Request),
            () = trickle => {}
        }
        // The limit counts from the first byte, which came after a second.
        assert_eq!(started.elapsed(), Duration::from_secs(11));
        assert!(
            read(&mut io)
                .await
                .unwrap()
                .starts_with("GET / HTTP/1.1\r\n")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_pause_but_not_for_long() {
        let (mut client, mut io) = filtered(1024);
        client
            .write_all(b"PUT / HTTP/1.0\r\nContent-Length: 3\r\n\r\n")
            .await
            .unwrap();
        read(&mut io).await.unwrap();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(read(&mut io).await.unwrap(), "x");
        }
        let error = read(&mut io).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (_client, mut io) = filtered(16);
        let mut written = 0;
        let error = loop {
            let write = std::future::poll_fn(|cx| {
                hyper::rt::Write::poll_write(Pin::new(&mut io), cx, &[0; 16])
            });
            match tokio::time::timeout(PAUSE, write).await.unwrap() {
                Ok(more) => written += more,
                Err(error) => break error,
            }
        };
        assert_eq!((written, error.kind()), (16, io::ErrorKind::TimedOut));
    }
}
