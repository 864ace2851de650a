//! Connects to an address that was resolved and checked here, never to one that was resolved again.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Policy;

/// Opens connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    policy: Arc<Policy>,
    /// Reading the system's certificates takes a moment, so it waits for the first https target.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, plain or encrypted.
pub(super) struct Wire(TokioIo<Box<dyn Stream>>);

impl Connector {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            tls: Arc::default(),
        }
    }

    async fn connect(self, target: Uri) -> io::Result<Wire> {
        let secure = target.scheme_str() == Some("https");
        let host = target
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = match self.policy.trusts(&target) {
            true => tokio::net::lookup_host((host.as_str(), port))
                .await?
                .collect(),
            false => self.resolve(&host, port).await?,
        };
        let stream = TcpStream::connect(addresses.as_slice()).await?;
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

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let refused = |why| io::Error::new(io::ErrorKind::PermissionDenied, why);
        if let Ok(address) = host.parse::<IpAddr>() {
            self.policy.check(address).map_err(refused)?;
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut last = None;
        let mut checked = Vec::new();
        for address in tokio::net::lookup_host((host, port)).await? {
            match self.policy.check(address.ip()) {
                Ok(()) => checked.push(address),
                Err(why) => last = Some(why),
            }
        }
        match (checked.is_empty(), last) {
            (false, _) => Ok(checked),
            (true, Some(why)) => Err(refused(why)),
            (true, None) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the target's name has no address",
            )),
        }
    }
}

fn client_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        tracing::warn!(
            "the system has no CA certificates; calls to https targets will fail (install ca-certificates)"
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

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().connect(target))
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
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
