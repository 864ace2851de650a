//! The bytes of files, for clients that speak plain HTTP.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use pilvi_blobs::BlobStream;
use pilvi_model::Error;
use pilvi_web::{Arrival, Params, Refusal, Reply};
use serde_json::json;

use super::{Answer, Target, param};
use crate::Eds;
use crate::caller::Caller;
use crate::downloads::Content;
use crate::downloads::disposition;
use crate::downloads::range::{Wanted, wanted};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What a script of another site may see of a reply, beside what every script may.
const EXPOSED: &str = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag";

pub(crate) async fn url(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    params: Params,
    arrival: Arrival,
) -> Answer {
    let base = arrival.base("http");
    let found = eds
        .download_url(&caller, target.id, params.given("variant"), &base)
        .await?;
    Ok(Reply::json(
        StatusCode::OK,
        &json!({"expiringUrl": found.url, "expiresAt": found.until.to_millis_text()}),
    ))
}

pub(crate) async fn fetch(
    State(eds): State<Eds>,
    method: Method,
    headers: HeaderMap,
    params: RawPathParams,
) -> Result<Response, Refusal> {
    let backend = param(&params, "backend").unwrap_or_default();
    let token = param(&params, "token").unwrap_or_default();
    let content = eds.find_download(backend, token).await?;
    let described = describe(&eds, &content)?;
    if is_known(&headers, &described) {
        return Ok(answer(StatusCode::NOT_MODIFIED, described, Body::empty()));
    }
    let bytes = content.blob.bytes;
    if method == Method::HEAD {
        let mut response = answer(StatusCode::OK, described, Body::empty());
        response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
        return Ok(response);
    }
    let asked = asked_range(&headers, &described);
    let (status, range) = match wanted(asked, bytes) {
        Wanted::All => (StatusCode::OK, 0..bytes),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => return Ok(unsatisfiable(bytes)),
    };
    let stream = eds.open_content(&content, range.clone()).await?;
    let body = Download {
        left: range.end - range.start,
        stream,
    };
    let mut response = answer(status, described, Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, body.left.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
        headers.insert(CONTENT_RANGE, header(&text)?);
    }
    *response.body_mut() = Body::new(body);
    Ok(response)
}

/// The headers of a file, whichever part of it is sent.
fn describe(eds: &Eds, content: &Content) -> Result<HeaderMap, Refusal> {
    let left = content
        .until
        .as_millis()
        .saturating_sub(eds.now().as_millis())
        / 1000;
    let disposition = disposition::header(&content.name, &content.content_type);
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_str(&content.content_type);
    headers.insert(CONTENT_TYPE, kind.unwrap_or(OCTETS));
    headers.insert(ETAG, header(&format!("\"{}\"", content.blob.digest))?);
    headers.insert(CACHE_CONTROL, header(&format!("private, max-age={left}"))?);
    headers.insert(CONTENT_DISPOSITION, header(&disposition)?);
    for (name, value) in [
        (ACCEPT_RANGES, "bytes"),
        // What somebody uploaded is not to run under our name, whatever a browser takes it for.
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "sandbox"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
        (
            HeaderName::from_static("access-control-expose-headers"),
            EXPOSED,
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(headers)
}

fn header(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|error| Error::internal(error).into())
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn unsatisfiable(bytes: u64) -> Response {
    let message = format!("the file has {bytes} bytes, none of which is in this range");
    let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, message);
    let mut response = refusal.with_reason("RangeNotSatisfiable").into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}

/// Whether the client has these bytes already.
fn is_known(headers: &HeaderMap, described: &HeaderMap) -> bool {
    let tag = described.get(ETAG).and_then(|tag| tag.to_str().ok());
    let known = headers.get_all(IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == "*" || Some(known) == tag)
}

/// The range that a client wants, unless it wants that of other bytes.
fn asked_range<'a>(headers: &'a HeaderMap, described: &HeaderMap) -> Option<&'a str> {
    let is_ours = match headers.get(IF_RANGE) {
        None => true,
        Some(tag) => Some(tag) == described.get(ETAG),
    };
    headers.get(RANGE).filter(|_| is_ours)?.to_str().ok()
}

/// A body of known length that is read as fast as the client takes it.
struct Download {
    stream: BlobStream,
    left: u64,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let piece = ready!(Pin::new(&mut self.stream).poll_next(context));
        Poll::Ready(piece.map(|piece| {
            let bytes = piece.inspect_err(|error| {
                tracing::error!(%error, "a file could not be read to its end");
            })?;
            self.left = self
                .left
                .saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            Ok(Frame::data(bytes))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
