//! A request for an event stream on a socket's URI, from its head to a connection that events are written to.
//!
//! Over HTTP/1 it leaves before hyper, as an upgrade does: whoever takes it writes to the bare connection. Over HTTP/2
//! many streams share a connection, so hyper keeps it and copies what it reads from one end of a pair of sockets; the
//! other end is given away in the connection's place. Whoever takes the stream need not know which of the two it is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use rustls::ServerConnection;
use tokio::sync::oneshot;

use crate::arrival::REQUEST_ID;
use crate::conn::Working;
use crate::upgrade::{Wire, path_of, write_within};
use crate::{Arrival, Manners, Params, Permit, Refusal};

/// How much is copied from the pair at once.
const PIECE_BYTES: usize = 16 << 10;

/// Proxies that gather what they pass on would hold back every message.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A client's wish to read the messages of a socket as events.
pub struct EventStreamRequest {
    /// Path and query, percent-encoded where needed.
    pub target: String,
    pub params: Params,
    pub headers: HeaderMap,
    pub arrival: Arrival,
    pub(crate) manners: Arc<dyn Manners>,
    pub(crate) way: Way,
}

/// How the answer gets to the client.
pub(crate) enum Way {
    Http1(Wire),
    Http2(Shared),
}

/// One of the streams of an HTTP/2 connection.
pub(crate) struct Shared {
    answer: oneshot::Sender<Response<Body>>,
    /// `None`: there is no room for it.
    line: Option<Line>,
}

/// What takes a connection's place. Each end has a place of its own among the connections, because either may outlive
/// the other: the far one has bytes until the client takes them.
struct Line {
    near: UnixStream,
    far: Pipe,
    permit: Permit,
}

/// A connection that is an event stream once `head` has been sent on it. The client sends nothing more.
#[derive(Debug)]
pub struct Outlet {
    /// It does not block.
    pub connection: OwnedFd,
    pub tls: Option<ServerConnection>,
    /// The answer's head. Empty where somebody else sends it.
    pub head: Bytes,
    /// To be dropped when the connection has been closed, and not before: the door counts it until then.
    pub permit: Permit,
}

impl EventStreamRequest {
    /// Grants the wish: gives the connection away together with the head that is to be sent on it first.
    ///
    /// # Errors
    /// When the connection cannot be taken out of the runtime.
    pub fn accept(self) -> io::Result<Outlet> {
        self.log(StatusCode::OK);
        let mut headers = self.common_headers();
        for (name, value) in [
            (CONTENT_TYPE, "text/event-stream"),
            (CACHE_CONTROL, "no-store"),
            (ACCEL_BUFFERING, "no"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        match self.way {
            Way::Http1(wire) => {
                // The stream ends with its connection, which every client of HTTP/1 understands.
                let head = written(StatusCode::OK, headers, b"");
                let (connection, tls) = wire.stream.into_parts()?;
                Ok(Outlet {
                    connection: connection.into(),
                    tls,
                    head: head.into(),
                    permit: wire.permit,
                })
            }
            Way::Http2(Shared { answer, line }) => {
                let Line { near, far, permit } = line.ok_or(io::ErrorKind::QuotaExceeded)?;
                // Who has gone meanwhile drops the answer, and the far end with it.
                let _ = answer.send(response(StatusCode::OK, headers, Body::new(far)));
                Ok(Outlet {
                    connection: near.into(),
                    tls: None,
                    head: Bytes::new(),
                    permit,
                })
            }
        }
    }

    /// Answers with the refusal in the service's shape. To a browser's `EventSource` any refusal is final.
    pub async fn refuse(self, refusal: Refusal) {
        let (status, body) = self.manners.dress(&refusal);
        self.log(status);
        let body = body.to_string();
        let mut headers = self.common_headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = refusal.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        match self.way {
            Way::Http1(mut wire) => {
                let reply = written(status, headers, body.as_bytes());
                // The client may be gone already; then there is nobody left to tell.
                let _ = write_within(&mut wire.stream, &reply, wire.write_timeout).await;
                crate::conn::close(&mut wire.stream, wire.linger).await;
            }
            Way::Http2(shared) => {
                let _ = shared.answer.send(response(status, headers, body.into()));
            }
        }
    }

    /// Whether its descriptors are among the first `files_max`.
    pub(crate) fn has_room(&self, files_max: RawFd) -> bool {
        match &self.way {
            Way::Http1(wire) => wire.stream.as_raw_fd() < files_max,
            Way::Http2(Shared { line, .. }) => line.as_ref().is_some_and(|line| {
                let (near, far) = (line.near.as_raw_fd(), line.far.stream.as_raw_fd());
                near.max(far) < files_max
            }),
        }
    }

    /// What every answer carries: the request's id, and what a browser on another site needs to see the answer.
    fn common_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(id) = HeaderValue::from_str(self.arrival.request_id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        let asked = self.manners.cors().asked(&Method::GET, &self.headers);
        asked.sign(&mut headers);
        headers
    }

    fn log(&self, status: StatusCode) {
        tracing::info!(
            target: "pilvi::request",
            method = "GET",
            path = path_of(&self.target),
            status = status.as_u16(),
            request_id = %self.arrival.request_id,
            "answered a request for an event stream"
        );
    }
}

impl Shared {
    /// A stream whose body will be what is written to the near end. Without permits, or when the system has no more
    /// descriptors, it can only be refused.
    pub(crate) fn new(
        answer: oneshot::Sender<Response<Body>>,
        permits: Option<(Permit, Permit)>,
        working: Working,
    ) -> Self {
        let line = permits.and_then(|permits| Line::new(permits, working).ok());
        Self { answer, line }
    }
}

impl Line {
    fn new((permit, far_permit): (Permit, Permit), working: Working) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let far = Pipe {
            stream: tokio::net::UnixStream::from_std(far)?,
            _permit: far_permit,
            _working: working,
        };
        Ok(Self { near, far, permit })
    }
}

/// The far end of the pair as a body. Nothing is read, and nothing is held, before the client has room for it.
struct Pipe {
    stream: tokio::net::UnixStream,
    _permit: Permit,
    /// The connection is not idle while this lives.
    _working: Working,
}

impl http_body::Body for Pipe {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            match self.stream.try_read_buf(&mut piece) {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => return Poll::Ready(Some(Ok(Frame::data(piece.freeze())))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An answer as the bytes of HTTP/1.1. It is the last one on its connection.
fn written(status: StatusCode, mut headers: HeaderMap, body: &[u8]) -> Vec<u8> {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let reason = status.canonical_reason().unwrap_or_default();
    let mut reply = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        reply.extend_from_slice(title_case(name.as_str()).as_bytes());
        reply.extend_from_slice(b": ");
        reply.extend_from_slice(value.as_bytes());
        reply.extend_from_slice(b"\r\n");
    }
    reply.extend_from_slice(b"\r\n");
    reply.extend_from_slice(body);
    reply
}

/// As the old clients look for it: `content-type` is `Content-Type`.
fn title_case(name: &str) -> String {
    let mut starts = true;
    let letters = name.chars().map(|letter| {
        let spelled = match starts {
            true => letter.to_ascii_uppercase(),
            false => letter,
        };
        starts = letter == '-';
        spelled
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_spelled_as_all_others_are() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        let reply = written(StatusCode::GONE, headers, b"{}");
        assert_eq!(
            String::from_utf8(reply).unwrap(),
            "HTTP/1.1 410 Gone\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n{}"
        );
    }
}
