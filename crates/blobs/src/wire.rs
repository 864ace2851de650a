//! How a bucket is reached: our own HTTP client instead of another one with TLS of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Until an answer begins. A bucket takes a part of eight megabytes before that.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Wires;

impl HttpConnector for Wires {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(16)
            .build(Dial::default());
        Ok(HttpClient::new(Caller(client)))
    }
}

struct Caller(Client<Dial, HttpRequestBody>);

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl HttpService for Caller {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.0.request(request)).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(HttpError::new(kind_of(&error), error)),
                Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
            };
            Ok(response.map(|body| {
                let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
                HttpResponseBody::new(body)
            }))
        })
    }
}

/// What may be tried again.
fn kind_of(error: &ClientError) -> HttpErrorKind {
    match error.is_connect() {
        true => HttpErrorKind::Connect,
        false => HttpErrorKind::Interrupted,
    }
}

/// Opens connections for the pool.
#[derive(Clone, Default)]
struct Dial {
    /// Reading the system's certificates takes a moment, so it waits for the first https address.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, plain or encrypted.
struct Wire(TokioIo<Box<dyn Stream>>);

impl Dial {
    async fn connect(self, target: Uri) -> io::Result<Wire> {
        let secure = target.scheme_str() == Some("https");
        let host = target.host().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return Ok(Wire(TokioIo::new(Box::new(stream))));
        }
        let name = ServerName::try_from(host)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = Arc::clone(self.tls.get_or_init(client_config));
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Wire(TokioIo::new(Box::new(stream))))
    }
}

fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        tracing::warn!(
            "the system has no CA certificates; a bucket behind https cannot be reached (install ca-certificates)"
        );
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl tower::Service<Uri> for Dial {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.clone().connect(target);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
