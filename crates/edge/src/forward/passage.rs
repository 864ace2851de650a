//! One forwarded request and its response.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::upload::Upload;
use super::{BoxError, Draft};
use crate::Code;
use crate::client::{BODY_READ_BYTES, poll_read_into};
use crate::edge::{Ends, Shared};
use crate::framing::{BodyReader, Framing, Span};
use crate::head::{Asked, HEADERS_MAX, ResponseHead};
use crate::note::{Course, Note};
use crate::reach::{Link, Unreached, Wish};
use crate::timer::Timer;
use crate::trouble::Trouble;

/// How much is read where a response is to begin.
const RESPONSE_READ_BYTES: usize = 16 << 10;

/// A request on its way, and the body of its response once that has begun.
pub(super) struct Passage<B> {
    edge: Arc<Shared>,
    ends: Ends,
    asked: Asked,
    note: Note,
    upload: Upload<B>,
    /// `None` before there is one, and when it is not needed any more.
    link: Option<Link>,
    /// Of the response.
    reader: BodyReader,
    length: Option<u64>,
    trailers: HeaderMap,
    /// How long the connection to the app may rest afterwards.
    rests: Option<Duration>,
    course: Course,
    started: Instant,
    timer: Timer,
    deadline: Option<Instant>,
    /// The log knows how it ended.
    reported: bool,
}

/// Why there is no response.
enum Lost {
    /// The connection had been closed before the request reached anybody.
    Stale,
    Failed(Trouble),
}

impl<B> Passage<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(edge: Arc<Shared>, draft: Draft, body: B, ends: Ends) -> Self {
        Self {
            edge,
            ends,
            asked: draft.asked,
            note: draft.note,
            upload: Upload::new(draft.head, draft.asked.framing, body),
            link: None,
            reader: BodyReader::new(Framing::Length(0)),
            length: None,
            trailers: HeaderMap::new(),
            rests: None,
            course: Course::default(),
            started: Instant::now(),
            timer: Timer::default(),
            deadline: None,
            reported: false,
        }
    }

    /// Sends the request, and waits for the head of the response. What is left of both comes with the body.
    pub(super) async fn begin(mut self) -> Result<(response::Parts, Self), Trouble> {
        let mut wish = match self.asked.repeatable {
            true => Wish::Any,
            false => Wish::Fresh,
        };
        loop {
            match self.edge.reach(self.note.host().as_bytes(), wish).await {
                Ok(link) => {
                    self.course.connect = link.connect;
                    self.link = Some(link);
                }
                Err(unreached) => return Err(self.unreached(unreached)),
            }
            self.started = Instant::now();
            match std::future::poll_fn(|cx| self.poll_head(cx)).await {
                Ok(head) => return Ok((head, self)),
                Err(Lost::Stale) => {
                    wish = Wish::New;
                    self.upload.rewind();
                }
                Err(Lost::Failed(trouble)) => {
                    self.course.status = trouble.status;
                    self.report(trouble.code);
                    return Err(trouble);
                }
            }
        }
    }

    fn unreached(&mut self, unreached: Unreached) -> Trouble {
        self.reported = true;
        let trouble = unreached.trouble;
        if let Some(app) = unreached.app {
            let course = Course {
                status: trouble.status,
                connect: unreached.connect,
                ..Course::default()
            };
            let secure = self.ends.secure;
            self.edge
                .report(&app, None, &self.note, course, trouble.code, secure);
        }
        trouble
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Lost>> {
        let mut moved = match self.poll_upload(cx) {
            Some(moved) => moved,
            None => return Poll::Ready(Err(Lost::Failed(Trouble::BROKEN_BODY))),
        };
        loop {
            if let Some(head) = self.take_head().map_err(Lost::Failed)? {
                return Poll::Ready(Ok(head));
            }
            match self.poll_fill(cx, RESPONSE_READ_BYTES) {
                Poll::Ready(Some(read)) if read > 0 => moved += read,
                Poll::Ready(_) => return Poll::Ready(Err(self.unanswered())),
                Poll::Pending => break,
            }
        }
        ready!(self.poll_patience(cx, moved > 0));
        let trouble = match self.upload.is_waiting() {
            true => Trouble::STALLED,
            false => Trouble::TIMEOUT,
        };
        Poll::Ready(Err(Lost::Failed(trouble)))
    }

    /// Sends what can be sent: how many bytes. `None` when the client sends something else than it announced.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        let Some(link) = &mut self.link else {
            return Some(0);
        };
        self.upload.poll(cx, &mut link.stream).ok()
    }

    /// Reads from the app: how many bytes, 0 at the end, `None` when the connection broke.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Option<u64>> {
        let Some(link) = &mut self.link else {
            return Poll::Ready(None);
        };
        let read = ready!(poll_read_into(&mut link.stream, &mut link.inbox, room, cx));
        Poll::Ready(read.ok().map(|read| read as u64))
    }

    /// Ready once nothing has moved for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        let deadline = match self.deadline {
            Some(deadline) if !moved => deadline,
            _ => Instant::now() + self.edge.settings.request_timeout,
        };
        self.deadline = Some(deadline);
        self.timer.poll_passed(cx, deadline)
    }

    fn unanswered(&self) -> Lost {
        let link = self.link.as_ref();
        let silent = link.is_some_and(|link| link.reused && link.inbox.is_empty());
        match silent && self.upload.is_whole() && self.asked.repeatable {
            true => Lost::Stale,
            false => Lost::Failed(Trouble::NO_RESPONSE),
        }
    }

    /// Takes the head of the response off what has come. Interim ones are of no use to anybody here.
    fn take_head(&mut self) -> Result<Option<response::Parts>, Trouble> {
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        loop {
            let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let head = match ResponseHead::parse(&link.inbox, &mut slots, &self.asked) {
                Ok(Some(head)) => head,
                Ok(None) if link.inbox.len() <= self.edge.settings.head_max_bytes => {
                    return Ok(None);
                }
                _ => return Err(Trouble::MISFIT),
            };
            let len = head.len;
            if head.is_interim() {
                link.inbox.advance(len);
                continue;
            }
            let parts = parts_of(&head).ok_or(Trouble::MISFIT)?;
            self.reader = BodyReader::new(head.framing);
            self.length = match head.framing {
                Framing::Length(length) => Some(length),
                _ => None,
            };
            let rests = head.rests(self.edge.settings.pool_idle_timeout);
            self.rests = rests.filter(|_| self.asked.is_bodiless());
            self.course.status = head.status;
            link.inbox.advance(len);
            return Ok(Some(parts));
        }
    }

    /// Ends well: the connection may serve others.
    fn finish(&mut self) {
        self.report(None);
        if let Some(link) = self.link.take()
            && let Some(rests) = self.rests
            && link.inbox.is_empty()
            && self.upload.is_sent()
        {
            self.edge.park(link, Instant::now(), rests);
        }
    }

    /// Ends badly: the client sees that the response is incomplete.
    fn fail(&mut self, code: Code) -> BoxError {
        self.report(Some(code));
        self.link = None;
        "the response of the app broke off".into()
    }

    /// The next piece of the body that is here already.
    fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, BoxError> {
        loop {
            let Some(link) = &mut self.link else {
                return Ok(None);
            };
            match self.reader.next(&link.inbox) {
                Ok(Some(Span::Data(len))) => {
                    self.course.bytes += len as u64;
                    return Ok(Some(Frame::data(link.inbox.split_to(len).freeze())));
                }
                Ok(Some(Span::Frame(len))) => link.inbox.advance(len),
                Ok(Some(Span::Trailer(len))) => {
                    let line = link.inbox.split_to(len);
                    add_trailer(&mut self.trailers, &line);
                }
                Ok(None) => return Ok(None),
                Err(_) => return Err(self.fail(Code::H18)),
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut moved) = self.poll_upload(cx) else {
            return Poll::Ready(Some(Err(self.fail(Code::H27))));
        };
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.link.is_none() {
                return Poll::Ready(None);
            }
            if self.reader.is_done() {
                self.finish();
                let trailers = std::mem::take(&mut self.trailers);
                return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
            }
            match self.poll_fill(cx, BODY_READ_BYTES) {
                Poll::Ready(Some(0)) if self.reader.ends_with_connection() => {
                    self.report(None);
                    self.link = None;
                }
                Poll::Ready(Some(read)) if read > 0 => moved += read,
                Poll::Ready(_) => return Poll::Ready(Some(Err(self.fail(Code::H18)))),
                Poll::Pending => break,
            }
        }
        ready!(self.poll_patience(cx, moved > 0));
        Poll::Ready(Some(Err(self.fail(Code::H15))))
    }
}

impl<B> Passage<B> {
    fn report(&mut self, code: Option<Code>) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let Some(link) = &self.link else { return };
        self.course.service = self.started.elapsed();
        let upstream = link.ticket.slot().upstream.id();
        let secure = self.ends.secure;
        self.edge.report(
            &link.app,
            Some(upstream),
            &self.note,
            self.course,
            code,
            secure,
        );
    }
}

impl<B> Drop for Passage<B> {
    /// Whoever does not wait for the end has gone.
    fn drop(&mut self) {
        match self.reader.is_done() && self.course.status != 0 {
            true => self.report(None),
            false => self.report(Some(Code::H27)),
        }
    }
}

impl<B> Body for Passage<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.get_mut().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<B> Unpin for Passage<B> {}

/// Status and headers. `None` when they are none.
fn parts_of(head: &ResponseHead<'_, '_>) -> Option<response::Parts> {
    let (mut parts, ()) = Response::new(()).into_parts();
    // A change of the protocol is nothing that was asked for.
    parts.status = StatusCode::from_u16(head.status).ok()?;
    if parts.status.is_informational() {
        return None;
    }
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        parts
            .headers
            .append(name, HeaderValue::from_bytes(value).ok()?);
    }
    if let Some(length) = head.announced() {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(parts)
}

/// A line that has been found to be a field.
fn add_trailer(trailers: &mut HeaderMap, line: &[u8]) {
    let line = line.trim_ascii_end();
    let Some(colon) = memchr::memchr(b':', line) else {
        return;
    };
    let name = HeaderName::from_bytes(&line[..colon]);
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
    if let (Ok(name), Ok(value)) = (name, value) {
        trailers.append(name, value);
    }
}
