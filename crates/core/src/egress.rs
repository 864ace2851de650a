//! Requests that Pilvi makes to the outside on somebody's behalf: webhooks now, more later.
//!
//! Who may name a target must not reach through this server what they could not reach themselves. So the client
//! connects only to an address it has resolved and checked itself, follows no redirect, and refuses loopback,
//! private and link-local addresses, except where the operator allowed them, or where Pilvi itself listens on
//! loopback only. A target that is one of Pilvi's own doors is answered in process by the same dispatch that
//! serves the network: the same checks, no TCP.

mod address;
mod connector;
mod fetch;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

pub use address::{Place, Policy};
use connector::Connector;
pub use fetch::{Call, Fetched};

/// One request and its answer take no longer than this.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// What is kept of an answer.
pub const EXCERPT_BYTES: usize = 200;
/// What is read of an answer so that its connection can be used again.
const DRAIN_MAX_BYTES: usize = 64 << 10;
const URL_MAX_BYTES: usize = 2048;
/// Connections to one host that are kept for the next requests: as many as one gateway posts events over at once.
const IDLE_PER_HOST_MAX: usize = 64;

/// Pilvi's own public doors.
pub trait LocalDoor: Send + Sync + 'static {
    /// Is this the address of one of our doors?
    fn covers(&self, target: &Uri) -> bool;
    /// Answers a request as if it had come through that door.
    fn call(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;
}

/// Sends requests out. Cloning gives another handle on the same pool of connections.
#[derive(Clone)]
pub struct Egress {
    client: Client<Connector, Full<Bytes>>,
    policy: Arc<Policy>,
    door: Arc<dyn LocalDoor>,
}

/// What a target answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The beginning of the body, at most [`EXCERPT_BYTES`], made readable.
    pub excerpt: String,
}

/// Why there was no answer. The text is for whoever owns the webhook.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("{0}")]
    Refused(String),
    #[error("no answer within {} seconds", TIME_MAX.as_secs())]
    Timeout,
    #[error("could not connect: {0}")]
    Connect(String),
    #[error("the connection broke before there was an answer: {0}")]
    Broken(String),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Egress {
    pub fn new(policy: Policy, door: Arc<dyn LocalDoor>) -> Self {
        let policy = Arc::new(policy);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(Connector::new(Arc::clone(&policy)));
        Self {
            client,
            policy,
            door,
        }
    }

    /// The same for calls that are none of our own doors' business.
    pub fn outward(policy: Policy) -> Self {
        Self::new(policy, Arc::new(NoDoor))
    }

    /// POSTs `body` and waits for the answer.
    pub async fn post(
        &self,
        target: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, EgressError> {
        match tokio::time::timeout(TIME_MAX, self.exchange(target, headers, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(EgressError::Timeout),
        }
    }

    async fn exchange(
        &self,
        target: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, EgressError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.clone();
        *request.headers_mut() = headers;
        if self.door.covers(target) {
            let (head, body) = self.door.call(request).await.into_parts();
            return Ok(Answer {
                status: head.status,
                excerpt: excerpt(&body),
            });
        }
        check_literal(target, &self.policy)?;
        let response = self.send(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut seen = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            seen.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            if seen.len() > DRAIN_MAX_BYTES {
                break;
            }
        }
        Ok(Answer {
            status,
            excerpt: excerpt(&seen),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, EgressError> {
        let answer = self.client.request(request.map(Full::new)).await;
        answer.map_err(|error| {
            let cause = root_cause(&error);
            if error.is_connect() {
                EgressError::Connect(cause)
            } else {
                EgressError::Broken(cause)
            }
        })
    }
}

/// Covers nothing.
struct NoDoor;

impl LocalDoor for NoDoor {
    fn covers(&self, _: &Uri) -> bool {
        false
    }

    fn call(&self, _: Request<Bytes>) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        let mut nothing = Response::new(Bytes::new());
        *nothing.status_mut() = StatusCode::NOT_FOUND;
        Box::pin(std::future::ready(nothing))
    }
}

/// Is this a URL that a webhook may have? The address is checked again at every connection, since names move.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the field's name.
pub fn check_target(url: &str) -> Result<Uri, &'static str> {
    if url.len() > URL_MAX_BYTES {
        return Err("is longer than 2048 bytes");
    }
    let target: Uri = url
        .parse()
        .map_err(|_| "is not a URL; write one such as https://example.com/hook")?;
    if !matches!(target.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://");
    }
    let authority = target.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("must not contain a user name or password; use a header instead");
    }
    if authority.host().is_empty() {
        return Err("has no host");
    }
    Ok(target)
}

/// A host that is an address is never resolved, so it is checked here.
fn check_literal(target: &Uri, policy: &Policy) -> Result<(), EgressError> {
    if policy.trusts(target) {
        return Ok(());
    }
    let host = target.host().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(address) => policy.check(address).map_err(EgressError::Refused),
        Err(_) => Ok(()),
    }
}

fn excerpt(body: &[u8]) -> String {
    let head = &body[..body.len().min(EXCERPT_BYTES)];
    let mut text: String = String::from_utf8_lossy(head)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    while text.len() > EXCERPT_BYTES {
        text.pop();
    }
    text
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_plain_http_url() {
        assert!(check_target("https://example.com/hook?x=1").is_ok());
        assert!(check_target("http://127.0.0.1:8080/v1/x").is_ok());
        for wrong in [
            "",
            "/path",
            "ftp://example.com/",
            "https://user:pw@example.com/",
            "http://",
            "javascript:1",
        ] {
            assert!(check_target(wrong).is_err(), "{wrong}");
        }
        assert!(check_target(&format!("https://example.com/{}", "a".repeat(2048))).is_err());
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt(b"no\r\nsuch\x1b[31m hook"), "nosuch[31m hook");
        assert!(excerpt(&[0xff; 1000]).len() <= EXCERPT_BYTES);
    }
}
