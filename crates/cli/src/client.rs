//! Requests to the public API.
//!
//! A command makes a handful of requests, so each has a connection of its own. Everything has a bound: the time until a
//! connection is there, the time until an answer is there (the server answers every call within a minute), and the
//! bytes of an answer. No redirect is followed: the token would go along.

use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HOST, RANGE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pilvi_base::{Secret, TaskGroup};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Code, Failure, Result};
use crate::trust;
use crate::url::{Base, is_local_name};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A little more than the minute within which the server answers every call.
const ANSWER_WITHIN: Duration = Duration::from_secs(65);
/// An upload may take this long before the answer's own time begins.
const UPLOAD_WITHIN: Duration = Duration::from_secs(3600);
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// No secret worth the name is shorter.
const SECRET_BYTES_MIN: usize = 4;
/// What is shown of an answer that is no JSON.
const EXCERPT_CHARS: usize = 200;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
pub(crate) type AnyStream = Pin<Box<dyn Stream>>;

/// The bytes behind an address.
pub(crate) struct Fetched {
    /// Whether they are what was not there yet; else they begin at the start.
    pub(crate) is_rest: bool,
    /// Where they end, if that was said.
    end: Option<u64>,
    pub(crate) stream: Incoming,
}

impl Fetched {
    /// Whether somebody who has so many bytes has all of them.
    pub(crate) fn stream_is_whole(&self, bytes: u64) -> bool {
        self.end.is_none_or(|end| end == bytes)
    }
}

/// Sends requests with one token.
pub(crate) struct Client {
    token: Option<Secret>,
    /// Whether calls without a token are meant so.
    anonymous: bool,
    /// The data backend that all calls are about.
    backend: Option<HeaderValue>,
    ca: Option<PathBuf>,
    /// Read when the first TLS connection is opened.
    tls: OnceCell<Arc<ClientConfig>>,
    /// What no message may show, beside the token.
    hidden: Vec<Secret>,
    tasks: TaskGroup,
}

impl Client {
    pub(crate) fn new(token: Option<Secret>, ca: Option<PathBuf>) -> Self {
        Self {
            token,
            anonymous: false,
            backend: None,
            ca,
            tls: OnceCell::new(),
            hidden: Vec::new(),
            tasks: TaskGroup::new(),
        }
    }

    /// Another one with the same token.
    pub(crate) fn again(&self) -> Self {
        self.with_token(self.token.clone())
    }

    /// The same for calls of another token, or deliberately of none.
    pub(crate) fn with_token(&self, token: Option<Secret>) -> Self {
        Self {
            anonymous: token.is_none(),
            backend: None,
            ca: self.ca.clone(),
            tls: self.tls.clone(),
            hidden: self.token.iter().chain(&self.hidden).cloned().collect(),
            tasks: TaskGroup::new(),
            token,
        }
    }

    /// Makes all calls about this data backend.
    pub(crate) fn about_backend(mut self, id: &str) -> Self {
        self.backend = HeaderValue::from_str(id).ok();
        self
    }

    /// Keeps a value out of every message, also where the server repeats it.
    pub(crate) fn hide(&mut self, value: Secret) {
        self.hidden.push(value);
    }

    pub(crate) async fn get(&self, base: &Base, resource: &str) -> Result<Value> {
        self.call(base, Method::GET, resource, None).await
    }

    pub(crate) async fn post(&self, base: &Base, resource: &str, body: &Value) -> Result<Value> {
        self.call(base, Method::POST, resource, Some(body)).await
    }

    pub(crate) async fn put(&self, base: &Base, resource: &str, body: &Value) -> Result<Value> {
        self.call(base, Method::PUT, resource, Some(body)).await
    }

    pub(crate) async fn delete(&self, base: &Base, resource: &str) -> Result<Value> {
        self.call(base, Method::DELETE, resource, None).await
    }

    /// A DELETE that says in its body what is meant.
    pub(crate) async fn delete_with(
        &self,
        base: &Base,
        resource: &str,
        body: &Value,
    ) -> Result<Value> {
        self.call(base, Method::DELETE, resource, Some(body)).await
    }

    async fn call(
        &self,
        base: &Base,
        method: Method,
        resource: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let request = self.request(base, method, resource, body)?;
        let response = self.send(base, request, ANSWER_WITHIN).await?;
        self.answer(base, response).await
    }

    /// An answer that goes on for as long as both sides like, in pieces.
    pub(crate) async fn open(&self, base: &Base, resource: &str) -> Result<Incoming> {
        let request = self.request(base, Method::GET, resource, None)?;
        let response = self.send(base, request, ANSWER_WITHIN).await?;
        self.opened(base, response).await
    }

    async fn opened(&self, base: &Base, response: Response<Incoming>) -> Result<Incoming> {
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(match self.answer(base, response).await {
            Err(failure) => failure,
            Ok(_) => unreachable!("an answer that is no success is a failure"),
        })
    }

    /// Sends a file to an address that carries its own permission, so the token stays here.
    pub(crate) async fn upload(
        &self,
        base: &Base,
        target: &str,
        length: u64,
        body: Body,
    ) -> Result<()> {
        let request = Request::put(target)
            .header(HOST, base.authority())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(http::header::CONTENT_LENGTH, length)
            .body(body)
            .map_err(|_| unusable(base))?;
        let response = self.send(base, request, UPLOAD_WITHIN).await?;
        self.answer(base, response).await.map(|_| ())
    }

    /// Sends a file with the token, for as long as it takes.
    pub(crate) async fn bring(
        &self,
        base: &Base,
        resource: &str,
        length: u64,
        body: Body,
    ) -> Result<Value> {
        let request = Request::post(base.path(resource))
            .header(HOST, base.authority())
            .header(AUTHORIZATION, self.authorization(base)?)
            .header(CONTENT_TYPE, "application/x-tar")
            .header(http::header::CONTENT_LENGTH, length)
            .body(body)
            .map_err(|_| unusable(base))?;
        let response = self.send(base, request, UPLOAD_WITHIN).await?;
        self.answer(base, response).await
    }

    /// Sends a piece of a file with the token. `range` says which, as `0-1024/2837`.
    pub(crate) async fn piece(
        &self,
        base: &Base,
        resource: &str,
        range: &str,
        bytes: Bytes,
    ) -> Result<Value> {
        let mut request = self.request(base, Method::PUT, resource, None)?;
        let range = HeaderValue::from_str(range).map_err(|_| unusable(base))?;
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(CONTENT_RANGE, range);
        *request.body_mut() = full(bytes);
        let response = self.send(base, request, UPLOAD_WITHIN).await?;
        self.answer(base, response).await
    }

    /// Reads what is behind an address that carries its own permission, so the token stays here. What lies before
    /// `from` is there already; `None`: nothing lies behind it.
    pub(crate) async fn fetch(
        &self,
        base: &Base,
        target: &str,
        from: u64,
    ) -> Result<Option<Fetched>> {
        let mut request = Request::get(target).header(HOST, base.authority());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request
            .body(full(Bytes::new()))
            .map_err(|_| unusable(base))?;
        let response = self.send(base, request, ANSWER_WITHIN).await?;
        if from > 0 && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(match self.answer(base, response).await {
                Err(failure) => failure,
                Ok(_) => unreachable!("an answer that is no success is a failure"),
            });
        }
        let is_rest = response.status() == StatusCode::PARTIAL_CONTENT;
        let length = response.body().size_hint().exact();
        Ok(Some(Fetched {
            is_rest,
            end: length.map(|length| length + if is_rest { from } else { 0 }),
            stream: response.into_body(),
        }))
    }

    /// Opens an event stream at an address that carries its own permission, so the token stays here.
    pub(crate) async fn events(&self, base: &Base, target: &str) -> Result<Incoming> {
        let request = Request::get(target)
            .header(HOST, base.authority())
            .header(ACCEPT, "text/event-stream")
            .body(full(Bytes::new()))
            .map_err(|_| unusable(base))?;
        let response = self.send(base, request, ANSWER_WITHIN).await?;
        self.opened(base, response).await
    }

    fn request(
        &self,
        base: &Base,
        method: Method,
        resource: &str,
        body: Option<&Value>,
    ) -> Result<Request<Body>> {
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(base.path(resource))
            .header(HOST, base.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("pilvi/", env!("CARGO_PKG_VERSION")));
        if bytes.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if !self.anonymous {
            request = request.header(AUTHORIZATION, self.authorization(base)?);
        }
        if let Some(backend) = &self.backend {
            request = request.header("Enginio-Backend-Id", backend);
        }
        request
            .body(full(bytes.unwrap_or_default()))
            .map_err(|_| unusable(base))
    }

    fn authorization(&self, base: &Base) -> Result<HeaderValue> {
        let token = self.token.as_ref().ok_or_else(|| {
            Failure::new(
                Code::Denied,
                format!("there is no token to show to {base}"),
                "sign in with `pilvi login`, or set PILVI_TOKEN; the first start of `pilvi serve` prints a token",
            )
        })?;
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
                Failure::usage(
                    "the token holds characters that no token has",
                    "set PILVI_TOKEN to the token alone, without quotes or line ends",
                )
            })?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn send(
        &self,
        base: &Base,
        request: Request<Body>,
        within: Duration,
    ) -> Result<Response<Incoming>> {
        let stream = self.stream(base).await?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            self.tasks.spawn("connection", async move {
                // What went wrong is told to whoever waits for the answer.
                let _ = connection.await;
            });
            sender.send_request(request).await
        };
        tokio::time::timeout(within, exchange)
            .await
            .map_err(|_| silent(base, within))?
            .map_err(|error| broken(base, &error))
    }

    /// A connection to speak another protocol over.
    pub(crate) async fn stream(&self, base: &Base) -> Result<AnyStream> {
        tokio::time::timeout(CONNECT_WITHIN, self.connect(base))
            .await
            .map_err(|_| silent(base, CONNECT_WITHIN))?
    }

    async fn connect(&self, base: &Base) -> Result<AnyStream> {
        let stream = dial(base)
            .await
            .map_err(|error| unreachable(base, &error))?;
        // Requests are written whole; nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        if !base.secure {
            return Ok(Box::pin(stream));
        }
        let name = ServerName::try_from(base.host.clone()).map_err(|_| unusable(base))?;
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => {
                let config = trust::config(self.ca.as_deref())?;
                self.tls.get_or_init(|| config).clone()
            }
        };
        let stream = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::pin(stream.map_err(|error| untrusted(base, &error))?))
    }

    async fn answer(&self, base: &Base, response: Response<Incoming>) -> Result<Value> {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER);
        let wait: Option<u32> = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let bytes = tokio::time::timeout(ANSWER_WITHIN, body)
            .await
            .map_err(|_| silent(base, ANSWER_WITHIN))?
            .map_err(|error| {
                let why = format!("the answer of {base} could not be read: {error}");
                Failure::new(Code::Unreachable, why, "try again")
            })?
            .to_bytes();
        let json = serde_json::from_slice::<Value>(&bytes);
        if !status.is_success() {
            let said = match &json {
                Ok(body) => messages(body),
                Err(_) => excerpt(&String::from_utf8_lossy(&bytes)),
            };
            let reason = json.ok().map(|body| reason(&body)).unwrap_or_default();
            let failure = refusal(base, status, &self.without_secrets(&said));
            let failure = match (status.as_u16(), wait) {
                (429 | 503, Some(wait)) => Failure {
                    // The server may say as much.
                    what: without_end(failure.what, &format!("; try again in {wait} s")),
                    next: format!("wait {wait} s and try again"),
                    ..failure
                },
                _ => failure,
            };
            return Err(Failure { reason, ..failure });
        }
        json.map_err(|_| {
            Failure::failed(
                format!("{base} answered with something that is no JSON"),
                "see whether QTC_PLATFORM_URL names a Pilvi server and ends in /v1",
            )
        })
    }

    /// A server's text without the token and whatever else was sent and is nobody's business.
    fn without_secrets(&self, text: &str) -> String {
        let secrets = self.token.iter().chain(&self.hidden);
        secrets
            .map(Secret::expose)
            // What is shorter stands in many texts anyhow, and taking it out would only garble them.
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret, "[secret]")
            })
    }
}

fn without_end(mut text: String, end: &str) -> String {
    if text.ends_with(end) {
        text.truncate(text.len() - end.len());
    }
    text
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Connects to the first address that answers.
async fn dial(base: &Base) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = if is_local_name(&base.host) {
        // Many systems do not resolve names below `localhost`, though all of them mean this machine (RFC 6761).
        let addresses = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ];
        addresses.map(|address| (address, base.port).into()).into()
    } else {
        tokio::net::lookup_host((&*base.host, base.port))
            .await?
            .collect()
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The messages of a refusal, in either of its two shapes.
fn messages(body: &Value) -> String {
    let one = body["error"]["message"].as_str().map(str::to_owned);
    let many = body["errors"].as_array().map(|errors| {
        let texts = errors.iter().filter_map(|error| {
            let message = error["message"].as_str()?;
            Some(match error["property"].as_str() {
                // Many a message begins with it already.
                Some(property) if !message.starts_with(property) => {
                    format!("{property}: {message}")
                }
                _ => message.to_owned(),
            })
        });
        texts.collect::<Vec<_>>().join("; ")
    });
    let text = one.or(many).filter(|text| !text.is_empty());
    text.map_or_else(
        || excerpt(&body.to_string()),
        |text| text.trim_end_matches('.').to_owned(),
    )
}

/// The server's word for a refusal.
fn reason(body: &Value) -> String {
    let one = body["error"]["reason"].as_str();
    let first = body["errors"][0]["reason"].as_str();
    one.or(first).unwrap_or_default().to_owned()
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    let mut shown: String = text.chars().take(EXCERPT_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What a status means for whoever called. `said` is the server's own text.
fn refusal(base: &Base, status: StatusCode, said: &str) -> Failure {
    match status.as_u16() {
        401 => Failure::new(
            Code::Denied,
            format!("{base} refuses the token: {said}"),
            "sign in again with `pilvi login`, or set PILVI_TOKEN to a token that is valid there",
        ),
        403 => Failure::new(
            Code::Forbidden,
            said,
            "see `pilvi clouds show` for your role, and `pilvi clouds members` for whom to ask",
        ),
        404 => Failure::new(
            Code::NotFound,
            said,
            "see `pilvi instances list` for what there is",
        ),
        300..400 => Failure::failed(
            format!("{base} sends elsewhere, and a token is not carried along"),
            "name the final address with --url or QTC_PLATFORM_URL",
        ),
        429 => Failure::new(Code::Refused, said, "wait a little and try again"),
        503 => Failure::new(
            Code::Unreachable,
            format!("{base} cannot do it now: {said}"),
            "wait a little and try again",
        ),
        400..500 => Failure::new(Code::Refused, said, "see --help for what is accepted"),
        _ => Failure::failed(
            format!("{base} failed ({}): {said}", status.as_u16()),
            "try again; if it stays so, the server's log tells its operator why",
        ),
    }
}

fn unusable(base: &Base) -> Failure {
    Failure::usage(
        format!("{base} is no address that a request can be sent to"),
        "name the server with --url or QTC_PLATFORM_URL, such as http://127.0.0.1:8080/v1",
    )
}

fn unreachable(base: &Base, error: &io::Error) -> Failure {
    Failure::new(
        Code::Unreachable,
        format!("{base} cannot be reached: {error}"),
        "start a server with `pilvi serve`, or name one with --url or QTC_PLATFORM_URL",
    )
}

fn untrusted(base: &Base, error: &io::Error) -> Failure {
    Failure::new(
        Code::Unreachable,
        format!(
            "no trusted connection to {base} could be made: {}",
            why_untrusted(error)
        ),
        "save what `pilvi ca` prints on the server's machine, and name that file with --ca or PILVI_CA",
    )
}

/// The two faults that people meet, in their words; the others as the library tells them.
fn why_untrusted(error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is signed by nobody whom this machine trusts".into()
        }
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired, or the clock here is wrong".into(),
        _ => error.to_string(),
    }
}

fn silent(base: &Base, within: Duration) -> Failure {
    Failure::new(
        Code::Unreachable,
        format!("{base} did not answer within {} s", within.as_secs()),
        "see whether it was done all the same, and try again",
    )
}

fn broken(base: &Base, error: &hyper::Error) -> Failure {
    Failure::new(
        Code::Unreachable,
        format!("the connection to {base} broke before the answer: {error}"),
        "see whether it was done all the same, and try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_certificate_that_is_refused_is_told_in_words() {
        use rustls::{CertificateError, Error};
        for (error, expected) in [
            (
                CertificateError::UnknownIssuer,
                "its certificate is signed by nobody whom this machine trusts",
            ),
            (
                CertificateError::Expired,
                "its certificate has expired, or the clock here is wrong",
            ),
        ] {
            let error = io::Error::other(Error::InvalidCertificate(error));
            assert_eq!(why_untrusted(&error), expected);
        }
        let other = why_untrusted(&io::Error::other(Error::DecryptError));
        assert_eq!(other, Error::DecryptError.to_string());
    }

    #[test]
    fn both_shapes_of_a_refusal_are_read() {
        let one = json!({"error": {"reason": "NotFound", "message": "There is no such app."}});
        assert_eq!(messages(&one), "There is no such app");
        let many = json!({"errors": [
            {"reason": "Invalid", "property": "name", "message": "is required"},
            {"reason": "Invalid", "property": "web", "message": "web must be a number"},
            {"reason": "Invalid", "message": "and more"},
        ]});
        assert_eq!(
            messages(&many),
            "name: is required; web must be a number; and more"
        );
        assert_eq!(messages(&json!({"odd": 1})), r#"{"odd":1}"#);
    }
}
