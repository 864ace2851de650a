//! A request's JSON body.

use std::io;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::Refusal;

/// A JSON body, whatever the request's `Content-Type` says: old clients send none, or a wrong one (`eds.md` §2.3).
///
/// `None` when the body is empty. A body that is not UTF-8 is read as ISO-8859-1, which the Android client sends.
#[derive(Debug)]
pub struct Body(pub Option<Value>);

/// A request's body as it came, for the few that are no JSON. Within the service's bounds, like [`Body`].
#[derive(Debug)]
pub struct RawBody(pub Bytes);

/// A request's body piece by piece, for what is too large to hold in memory. Within the bound of its path, and no
/// slower than `PACE_BYTES` for each second on average: whoever sends byte by byte holds a place that others wait
/// for.
pub struct Inflow {
    body: axum::body::Body,
    max_bytes: usize,
    received: usize,
    began: Instant,
}

/// How slowly a long body may come, in bytes a second; the slowest networks of phones are faster.
const PACE_BYTES: u64 = 512;
/// For so long nobody looks at that.
const PACE_GRACE: Duration = Duration::from_secs(60);

impl Inflow {
    /// How many bytes there will be, when the request says so.
    pub fn length(&self) -> Option<u64> {
        http_body::Body::size_hint(&self.body).exact()
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some(allowed) = self.time_left() else {
                return Err(took_too_long());
            };
            let frame = tokio::time::timeout(allowed, self.body.frame());
            let frame = frame.await.map_err(|_| took_too_long())?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| unreadable(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > self.max_bytes - self.received {
                return Err(too_large(self.max_bytes));
            }
            self.received += data.len();
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// Lets the rest go by, so that the connection can be used again.
    pub async fn drain(&mut self) -> Result<(), Refusal> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Everything that is still to come, if that is not more than `max_bytes`.
    pub async fn read_all(&mut self, max_bytes: usize) -> Result<Bytes, Refusal> {
        let mut all = BytesMut::new();
        while let Some(data) = self.next().await? {
            if data.len() > max_bytes - all.len() {
                return Err(too_large(max_bytes));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// Until when at least one more byte must have come.
    fn time_left(&self) -> Option<Duration> {
        let earned = u64::try_from(self.received).unwrap_or(u64::MAX) / PACE_BYTES;
        let allowed = PACE_GRACE.saturating_add(Duration::from_secs(earned));
        allowed.checked_sub(self.began.elapsed())
    }
}

impl<S: Send + Sync> FromRequest<S> for Inflow {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bounds = request.extensions().get::<BodyBounds>();
        Ok(Self {
            max_bytes: bounds.copied().unwrap_or_default().max_bytes,
            body: request.into_body(),
            received: 0,
            began: Instant::now(),
        })
    }
}

impl Body {
    /// Reads a body that came as [`RawBody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        parse(bytes).map(Self)
    }

    /// The value, or a refusal when there is none.
    pub fn required(self) -> Result<Value, Refusal> {
        self.0
            .ok_or_else(|| Refusal::malformed_json("the request needs a JSON body"))
    }

    /// The value, or `{}` when there is none.
    pub fn or_empty(self) -> Value {
        self.0
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }
}

/// What the door tells the body's reader about the service's bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBounds {
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
}

impl Default for BodyBounds {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(120),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        Self::parse(&bytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bounds = request
            .extensions()
            .get::<BodyBounds>()
            .copied()
            .unwrap_or_default();
        let read = tokio::time::timeout(
            bounds.timeout,
            read_all(request.into_body(), bounds.max_bytes),
        );
        let bytes = read.await.map_err(|_| took_too_long())??;
        Ok(Self(bytes))
    }
}

async fn read_all(mut body: axum::body::Body, max_bytes: usize) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > max_bytes - all.len() {
            return Err(too_large(max_bytes));
        }
        if all.is_empty() && http_body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn parse(bytes: &[u8]) -> Result<Option<Value>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_str(&from_latin_1(bytes)),
    };
    parsed
        .map(Some)
        .map_err(|error| Refusal::malformed_json(format!("the body is not JSON: {error}")))
}

/// Each byte of ISO-8859-1 is the code point of the same number.
fn from_latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

pub(crate) fn too_large(max_bytes: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than the {max_bytes} bytes this service takes"),
    )
}

fn took_too_long() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "the body took too long to arrive",
    )
}

/// Why the body broke off, as far as the head filter could tell.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let kind = io_cause(error).map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::TimedOut) => took_too_long(),
        Some(io::ErrorKind::InvalidData) => Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body's chunked encoding is broken",
        ),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "the body ended before its end"),
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_is_json_or_nothing() {
        assert_eq!(parse(b"").unwrap(), None);
        assert_eq!(parse(b"null").unwrap(), Some(Value::Null));
        assert_eq!(parse(b" {\"a\":1} ").unwrap(), Some(json!({"a": 1})));
        for wrong in ["{", "{\"a\":}", "a", "{} {}", "\u{feff}"] {
            let refusal = parse(wrong.as_bytes()).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.reason),
                (StatusCode::BAD_REQUEST, "BadRequest")
            );
            assert!(refusal.malformed_json);
        }
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_read_as_latin_1() {
        assert_eq!(
            parse(b"{\"a\":\"\xe4\xf6\"}").unwrap(),
            Some(json!({"a": "äö"}))
        );
        assert_eq!(
            parse("{\"a\":\"ä\"}".as_bytes()).unwrap(),
            Some(json!({"a": "ä"}))
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        let whole = read_all(axum::body::Body::from("12345"), 5).await.unwrap();
        assert_eq!(&whole[..], b"12345");
        let refusal = read_all(axum::body::Body::from("123456"), 5)
            .await
            .unwrap_err();
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// A body of which no byte ever comes.
    struct Silence;

    impl http_body::Body for Silence {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
            std::task::Poll::Pending
        }
    }

    fn inflow(body: axum::body::Body, max_bytes: usize) -> Inflow {
        Inflow {
            body,
            max_bytes,
            received: 0,
            began: Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_long_body_comes_in_pieces_up_to_its_bound() {
        let mut whole = inflow(axum::body::Body::from("12345"), 5);
        assert_eq!(whole.length(), Some(5));
        assert_eq!(&whole.next().await.unwrap().unwrap()[..], b"12345");
        assert!(whole.next().await.unwrap().is_none());
        let mut large = inflow(axum::body::Body::from("123456"), 5);
        let refusal = large.next().await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
        let mut note = inflow(axum::body::Body::from("123456"), 100);
        let refusal = note.read_all(5).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_body_may_not_come_too_slowly() {
        let refusal = inflow(axum::body::Body::new(Silence), 5)
            .next()
            .await
            .unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
        // A byte for each second, of which no single one is late.
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"x")), ()))
        });
        let began = Instant::now();
        let mut slow = inflow(axum::body::Body::from_stream(trickle), usize::MAX);
        let refusal = slow.drain().await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed().as_secs(), PACE_GRACE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_refused() {
        let request = Request::new(axum::body::Body::new(Silence));
        let refusal = Body::from_request(request, &()).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
    }
}
