//! One request and its response: both bodies on their way, at the pace of whoever reads slower.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::Code;
use crate::client::{BODY_READ_BYTES, Client, poll_read_into, shift};
use crate::framing::{BodyReader, Broken, Framing, Span};
use crate::head::{Asked, HEADERS_MAX, ResponseHead, To, Version};
use crate::reach::Link;
use crate::spare;
use crate::trouble::Trouble;

/// How much is read where a response is to begin: most fit as a whole.
const RESPONSE_READ_BYTES: usize = 32 << 10;
/// How much of the requests to come is read while one is answered.
const READ_AHEAD_BYTES: usize = 16 << 10;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has the whole response.
    Done {
        /// How long the connection to the app may rest; `None` when it is of no use any more.
        upstream_rests: Option<Duration>,
        client_stays: bool,
    },
    /// Both sides speak something else now.
    Upgraded,
    /// The connection had been closed before the request reached anybody. Another one will do.
    Stale,
    /// The client is to be told.
    Failed(Trouble),
    /// The response broke off, and there is no way to say so but to break off too.
    Cut(Code),
    /// The client went away.
    Gone,
}

/// What the exchange has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) asked: Asked,
    /// Whether the client's connection may be used again.
    pub(crate) keep_alive: bool,
    pub(crate) timeout: Duration,
    pub(crate) head_max_bytes: usize,
    pub(crate) pool_idle_timeout: Duration,
}

pub(crate) struct Exchange<'c, S> {
    rules: Rules,
    client: &'c mut Client<S>,
    link: &'c mut Link,
    /// For the app, from `sent` on. Begins with the request's head, and is kept as long as it may be sent again.
    out: &'c mut BytesMut,
    sent: usize,
    request: Request,
    /// How far the request's body has come.
    reader: &'c mut BodyReader,
    /// For the client, from `told` on.
    back: &'c mut BytesMut,
    told: usize,
    phase: Phase,
    /// All of the request sent so far is still in `out`.
    whole: bool,
    /// Something has come from the app.
    heard: bool,
    /// What the client was told, 0 until then.
    pub(crate) status: u16,
    /// Bytes that went to the client.
    pub(crate) bytes: u64,
    /// Grows with every byte that is read or written.
    moved: u64,
    deadline: Option<Instant>,
}

/// Where the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Sending,
    Sent,
    /// The app takes no more of it. It may have answered nevertheless.
    Refused,
}

/// Where the response is.
enum Phase {
    Head,
    Body {
        reader: BodyReader,
        passing: Passing,
        client_stays: bool,
        upstream_rests: Option<Duration>,
    },
    /// All of it is in `back`.
    Over(End),
}

/// What becomes of the framing of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    AsItIs,
    /// For clients that know no chunks.
    OutOfChunks,
    /// For clients that would have to take the end of the connection for the end of the response.
    IntoChunks,
}

impl<'c, S: AsyncRead + AsyncWrite + Unpin> Exchange<'c, S> {
    /// `out` holds the request's head, and what `reader` has taken of its body if it was sent in vain before; what
    /// else has come is in the client's inbox.
    pub(crate) fn new(
        rules: Rules,
        client: &'c mut Client<S>,
        link: &'c mut Link,
        reader: &'c mut BodyReader,
        out: &'c mut BytesMut,
        back: &'c mut BytesMut,
    ) -> Self {
        Self {
            request: Request::Sending,
            reader,
            rules,
            client,
            link,
            out,
            sent: 0,
            back,
            told: 0,
            phase: Phase::Head,
            whole: true,
            heard: false,
            status: 0,
            bytes: 0,
            moved: 0,
            deadline: None,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let before = self.moved;
        if let Poll::Ready(end) = self.poll_request(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_response(cx) {
            return Poll::Ready(end);
        }
        let deadline = match self.deadline {
            Some(deadline) if self.moved == before => deadline,
            _ => Instant::now() + self.rules.timeout,
        };
        self.deadline = Some(deadline);
        self.rest();
        ready!(self.client.timer.poll_passed(cx, deadline));
        // Whoever is waited for is to blame.
        let trouble = match self.request == Request::Sending && self.sent == self.out.len() {
            true => Trouble::STALLED,
            false => Trouble::TIMEOUT,
        };
        Poll::Ready(self.failed(trouble, Code::H15))
    }

    /// Whether the client has sent all of its request.
    pub(crate) fn is_request_over(&self) -> bool {
        self.request == Request::Sent
    }

    /// While nothing comes, what is held is the request, and that only as long as it may be sent again.
    fn rest(&mut self) {
        let unneeded = self.heard && self.sent == self.out.len();
        if unneeded {
            self.out.clear();
            self.sent = 0;
            self.whole = false;
        }
        for buffer in [
            &mut self.client.inbox,
            &mut self.link.inbox,
            &mut *self.back,
            &mut *self.out,
        ] {
            if buffer.is_empty() {
                spare::give(buffer);
            }
        }
    }

    /// Sends the request as far as it goes. Ready only when there is no point in going on.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.request != Request::Sending {
                return self.poll_watch(cx);
            }
            if self.take_body().is_err() {
                return Poll::Ready(self.failed(Trouble::BROKEN_BODY, Code::H27));
            }
            while self.sent < self.out.len() {
                let rest = &self.out[self.sent..];
                match ready!(Pin::new(&mut self.link.stream).poll_write(cx, rest)) {
                    Ok(sent) if sent > 0 => {
                        self.sent += sent;
                        self.moved += sent as u64;
                    }
                    _ => {
                        self.request = Request::Refused;
                        return Poll::Pending;
                    }
                }
            }
            if self.reader.is_done() {
                self.request = Request::Sent;
            } else {
                // What the inbox still holds is half a line.
                match ready!(self.client.poll_fill(cx, BODY_READ_BYTES)) {
                    Ok(read) if read > 0 => self.moved += read as u64,
                    _ => return Poll::Ready(End::Gone),
                }
            }
        }
    }

    /// Moves what has come of the body behind the head, if that has not been sent yet, so that both go out at once;
    /// or else into its place.
    fn take_body(&mut self) -> Result<(), Broken> {
        if self.sent > 0 && self.sent < self.out.len() {
            return Ok(());
        }
        let taken = self.reader.advance(&self.client.inbox)?;
        if taken > 0 {
            if self.sent > 0 {
                self.out.clear();
                self.sent = 0;
                self.whole = false;
            }
            shift(&mut self.client.inbox, taken, self.out);
        }
        Ok(())
    }

    /// Learns that the client has gone, and reads what it asks next. A client that has only finished sending still
    /// gets its answer.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while !self.client.ended && self.client.inbox.len() < READ_AHEAD_BYTES {
            match ready!(self.client.poll_fill(cx, READ_AHEAD_BYTES)) {
                Ok(read) => self.moved += read as u64,
                Err(_) => return Poll::Ready(End::Gone),
            }
        }
        Poll::Pending
    }

    /// Brings the response to the client, as far as it goes.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            loop {
                match self.digest() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(end) => return Poll::Ready(end),
                }
            }
            if !self.back.is_empty() {
                let before = self.told;
                let sent = self.client.poll_send(cx, self.back, &mut self.told);
                self.moved += (self.told - before) as u64;
                self.bytes += (self.told - before) as u64;
                if ready!(sent).is_err() {
                    return Poll::Ready(End::Gone);
                }
                self.back.clear();
                self.told = 0;
                continue;
            }
            if let Phase::Over(end) = self.phase {
                return Poll::Ready(end);
            }
            let room = match &self.phase {
                Phase::Body { reader, .. } if reader.expected() > RESPONSE_READ_BYTES as u64 => {
                    BODY_READ_BYTES
                }
                _ => RESPONSE_READ_BYTES,
            };
            let link = &mut *self.link;
            match ready!(poll_read_into(&mut link.stream, &mut link.inbox, room, cx)) {
                Ok(read) if read > 0 => self.moved += read as u64,
                ended => {
                    if let Some(end) = self.upstream_ended(ended.is_ok()) {
                        return Poll::Ready(end);
                    }
                }
            }
        }
    }

    /// Turns what came from the app into what the client gets. `false` when more has to come, or to go, first.
    fn digest(&mut self) -> Result<bool, End> {
        if self.told > 0 {
            return Ok(false);
        }
        match self.phase {
            Phase::Head => self.digest_head(),
            Phase::Body { .. } => self.digest_body(),
            Phase::Over(_) => Ok(false),
        }
    }

    fn digest_head(&mut self) -> Result<bool, End> {
        if self.link.inbox.is_empty() {
            return Ok(false);
        }
        self.heard = true;
        let asked = self.rules.asked;
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let head = match ResponseHead::parse(&self.link.inbox, &mut slots, &asked) {
            Ok(Some(head)) => head,
            Ok(None) if self.link.inbox.len() <= self.rules.head_max_bytes => return Ok(false),
            _ => return Err(End::Failed(Trouble::MISFIT)),
        };
        if head.is_interim() {
            if asked.version == Version::Http11 {
                let to = To {
                    version: asked.version,
                    keep_alive: true,
                    chunked: false,
                };
                head.write(self.back, to);
            }
            let len = head.len;
            self.link.inbox.advance(len);
            return Ok(true);
        }
        if head.status == 101 {
            return self.switch();
        }
        let http11 = asked.version == Version::Http11;
        let (passing, self_delimited) = match (head.framing, http11) {
            (Framing::Length(_), _) | (Framing::Chunked, true) => (Passing::AsItIs, true),
            (Framing::UntilClose, true) => (Passing::IntoChunks, true),
            (Framing::Chunked, false) => (Passing::OutOfChunks, false),
            (Framing::UntilClose, false) => (Passing::AsItIs, false),
        };
        let request_sent = self.request == Request::Sent;
        let client_stays = self.rules.keep_alive && self_delimited && request_sent;
        let rests = head.rests(self.rules.pool_idle_timeout);
        let reusable = request_sent && asked.is_bodiless();
        head.write(
            self.back,
            To {
                version: asked.version,
                keep_alive: client_stays,
                chunked: http11 && matches!(head.framing, Framing::Chunked | Framing::UntilClose),
            },
        );
        self.status = head.status;
        self.phase = Phase::Body {
            reader: BodyReader::new(head.framing),
            passing,
            client_stays,
            upstream_rests: rests.filter(|_| reusable),
        };
        let len = head.len;
        self.link.inbox.advance(len);
        Ok(true)
    }

    /// The app speaks something else from here on: what it has said already goes along with the head.
    fn switch(&mut self) -> Result<bool, End> {
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let head = ResponseHead::parse(&self.link.inbox, &mut slots, &self.rules.asked);
        let (true, Ok(Some(head))) = (self.rules.asked.upgrades, head) else {
            return Err(End::Failed(Trouble::MISFIT));
        };
        let to = To {
            version: Version::Http11,
            keep_alive: true,
            chunked: false,
        };
        head.write(self.back, to);
        self.status = 101;
        let len = head.len;
        self.link.inbox.advance(len);
        self.back.extend_from_slice(&self.link.inbox);
        self.link.inbox.clear();
        self.phase = Phase::Over(End::Upgraded);
        Ok(true)
    }

    fn digest_body(&mut self) -> Result<bool, End> {
        let Phase::Body {
            reader,
            passing,
            client_stays,
            upstream_rests,
        } = &mut self.phase
        else {
            return Ok(false);
        };
        let inbox = &mut self.link.inbox;
        if reader.is_done() {
            // Bytes that nobody asked for: whatever they are, they are not the next response.
            let upstream_rests = upstream_rests.filter(|_| inbox.is_empty());
            self.phase = Phase::Over(End::Done {
                upstream_rests,
                client_stays: *client_stays,
            });
            return Ok(false);
        }
        let taken = match passing {
            Passing::AsItIs => {
                let taken = reader.advance(inbox).map_err(|_| End::Cut(Code::H18))?;
                shift(inbox, taken, self.back);
                taken
            }
            Passing::OutOfChunks => take_data(reader, inbox, self.back)?,
            Passing::IntoChunks => {
                let taken = inbox.len();
                if taken > 0 {
                    self.back
                        .extend_from_slice(format!("{taken:x}\r\n").as_bytes());
                    self.back.extend_from_slice(inbox);
                    self.back.extend_from_slice(b"\r\n");
                    inbox.clear();
                }
                taken
            }
        };
        Ok(taken > 0)
    }

    /// The app has closed its side. `None` when that was the end of the response.
    fn upstream_ended(&mut self, orderly: bool) -> Option<End> {
        match &mut self.phase {
            Phase::Head if !self.heard => Some(self.unanswered()),
            Phase::Head => Some(End::Failed(Trouble::NO_RESPONSE)),
            Phase::Body {
                reader,
                passing,
                client_stays,
                ..
            } if orderly && reader.ends_with_connection() => {
                if *passing == Passing::IntoChunks {
                    self.back.extend_from_slice(b"0\r\n\r\n");
                }
                self.phase = Phase::Over(End::Done {
                    upstream_rests: None,
                    client_stays: *client_stays,
                });
                None
            }
            Phase::Body { .. } => Some(End::Cut(Code::H18)),
            Phase::Over(end) => Some(*end),
        }
    }

    fn unanswered(&self) -> End {
        let again = self.link.reused && self.whole && self.rules.asked.repeatable;
        if again {
            End::Stale
        } else {
            End::Failed(Trouble::NO_RESPONSE)
        }
    }

    /// What `trouble` means now: once a response has begun, nothing can be said any more.
    fn failed(&self, trouble: Trouble, code: Code) -> End {
        match self.phase {
            Phase::Head => End::Failed(trouble),
            _ => End::Cut(code),
        }
    }
}

/// Moves the data of chunks, without their framing.
fn take_data(
    reader: &mut BodyReader,
    inbox: &mut BytesMut,
    back: &mut BytesMut,
) -> Result<usize, End> {
    let mut taken = 0;
    while let Some(span) = reader.next(inbox).map_err(|_| End::Cut(Code::H18))? {
        if let Span::Data(len) = span {
            back.extend_from_slice(&inbox[..len]);
        }
        inbox.advance(span.len());
        taken += span.len();
    }
    Ok(taken)
}
