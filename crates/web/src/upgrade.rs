//! A WebSocket upgrade, from its head to a socket that speaks frames.
//!
//! It never reaches hyper, because one old client compares the 101 byte by byte (`eds.md` §12.2) and because the
//! gateway wants the bare socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ring::digest;
use tokio::io::AsyncWriteExt;

use crate::{Arrival, EventStreamRequest, Manners, Params, Permit, Refusal, Stream};

/// What RFC 6455 appends to a key before hashing it.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's wish to turn its connection into a WebSocket. The version and the key have been checked.
pub struct Upgrade {
    /// Path and query, percent-encoded where needed.
    pub target: String,
    pub params: Params,
    pub headers: HeaderMap,
    pub arrival: Arrival,
    pub(crate) wire: Wire,
}

/// The connection itself, and what is needed to answer on it.
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    /// What the client sent after the head without waiting for the answer.
    pub(crate) read_ahead: Bytes,
    pub(crate) manners: Arc<dyn Manners>,
    pub(crate) write_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) permit: Permit,
}

/// A connection that becomes a WebSocket once `head` has been sent on it: frames come next, in both directions.
#[derive(Debug)]
pub struct Socket {
    pub stream: Stream,
    /// The 101, spelled exactly as the old clients compare it. It is the owner's to send, so that nothing need
    /// happen between its last byte and the first frame.
    pub head: Bytes,
    /// The first bytes from the client, already read.
    pub read_ahead: Bytes,
    /// To be dropped when the connection has been closed, and not before: the door counts it until then.
    pub permit: Permit,
}

/// Who takes the WebSockets.
pub trait Sockets: Send + Sync + 'static {
    /// Answers an upgrade. The connection is this service's from here on.
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Answers a request for an event stream in a socket's place. Nobody need have any.
    fn stream(&self, request: EventStreamRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(request.refuse(Refusal::new(
            StatusCode::NOT_FOUND,
            "there are no event streams at this address",
        )))
    }
}

impl Upgrade {
    /// Grants the wish: gives the connection away together with the answer that is to be sent on it first.
    pub fn accept(self) -> Socket {
        self.accept_with(None)
    }

    /// The same, and tells the client the extensions that are in use from here on. Who asked for none must not be told
    /// of one.
    pub fn accept_with(self, extensions: Option<&str>) -> Socket {
        let head = accepted(&self.headers, extensions);
        tracing::info!(
            target: "pilvi::request",
            method = "GET",
            path = path_of(&self.target),
            status = 101,
            request_id = %self.arrival.request_id,
            "accepted a web socket"
        );
        Socket {
            stream: self.wire.stream,
            head: head.into(),
            read_ahead: self.wire.read_ahead,
            permit: self.wire.permit,
        }
    }

    /// Answers with the refusal in the service's shape and closes the connection.
    pub async fn refuse(self, refusal: Refusal) {
        let reply = written(&*self.wire.manners, &refusal, &self.arrival);
        let mut stream = self.wire.stream;
        tracing::info!(
            target: "pilvi::request",
            method = "GET",
            path = path_of(&self.target),
            status = refusal.status.as_u16(),
            request_id = %self.arrival.request_id,
            "refused a web socket"
        );
        // The client may be gone already; then there is nobody left to tell.
        let _ = write_within(&mut stream, &reply, self.wire.write_timeout).await;
        crate::conn::close(&mut stream, self.wire.linger).await;
    }

    /// Why the handshake cannot be completed, if so.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        fault(&self.headers)
    }
}

/// Why a handshake with these headers cannot be completed, if so.
pub fn fault(headers: &HeaderMap) -> Option<Refusal> {
    let header = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    if header("sec-websocket-version") != Some(b"13") {
        return Some(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "a web socket needs Sec-WebSocket-Version: 13",
        ));
    }
    if header("sec-websocket-key").is_none_or(|key| !is_key(key)) {
        return Some(Refusal::new(
            StatusCode::BAD_REQUEST,
            "a web socket needs a Sec-WebSocket-Key of 16 bytes in base64",
        ));
    }
    None
}

/// The head that completes a handshake with these headers, in which [`fault`] found nothing.
pub fn accepted(headers: &HeaderMap, extensions: Option<&str>) -> String {
    let extensions = extensions.map_or_else(String::new, |agreed| {
        format!("Sec-WebSocket-Extensions: {agreed}\r\n")
    });
    let key = headers.get("sec-websocket-key");
    let answer = accept_value(key.map_or(b"".as_slice(), http::HeaderValue::as_bytes));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {answer}\r\n{extensions}\r\n"
    )
}

/// A refusal as the bytes of an HTTP/1.1 reply.
fn written(manners: &dyn Manners, refusal: &Refusal, arrival: &Arrival) -> Vec<u8> {
    let (status, body) = manners.dress(refusal);
    let body = body.to_string();
    let version = match status {
        StatusCode::UPGRADE_REQUIRED => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let retry = refusal.retry_after.map_or_else(String::new, |after| {
        format!("Retry-After: {}\r\n", after.as_secs().max(1))
    });
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-Request-Id: {}\r\n{version}{retry}Connection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
        arrival.request_id,
    )
    .into_bytes()
}

pub(crate) async fn write_within(
    stream: &mut Stream,
    bytes: &[u8],
    limit: Duration,
) -> io::Result<()> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    tokio::time::timeout(limit, write)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
fn accept_value(key: &[u8]) -> String {
    // SHA-1 is what the protocol prescribes; nothing rests on its strength here.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(KEY_SUFFIX);
    STANDARD.encode(context.finish())
}

fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// A target without its query, which may hold a token and must not be logged.
pub(crate) fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(
            accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for wrong in [
            "",
            "dGhlIHNhbXBsZQ==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "!!hlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(wrong.as_bytes()), "{wrong}");
        }
    }
}
