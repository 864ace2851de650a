//! The addresses that the server listens on.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::arguments::ServeOptions;

/// Bound before anything else happens, so that an address in use costs nothing.
pub(crate) struct Listeners {
    pub(crate) http: TcpListener,
    pub(crate) https: TcpListener,
    pub(crate) ssh: TcpListener,
    /// Where the health of the server is asked for; none unless told otherwise.
    pub(crate) health: Option<TcpListener>,
    pub(crate) addresses: Addresses,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) ssh: SocketAddr,
    pub(crate) health: Option<SocketAddr>,
}

impl Listeners {
    pub(crate) async fn bind(options: &ServeOptions) -> anyhow::Result<Self> {
        let http = bind(options.http, "--http").await?;
        let https = bind(options.https, "--https").await?;
        let ssh = bind(options.ssh, "--ssh").await?;
        let health = match options.health {
            Some(address) => Some(bind(address, "--health").await?),
            None => None,
        };
        let addresses = Addresses {
            http: http.local_addr()?,
            https: https.local_addr()?,
            ssh: ssh.local_addr()?,
            health: health.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        Ok(Self {
            http,
            https,
            ssh,
            health,
            addresses,
        })
    }
}

pub(crate) async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address}; choose another address with {flag}, for example {flag} 127.0.0.1:0")
    })
}

impl Addresses {
    /// Nobody from elsewhere can reach the server.
    pub(crate) fn only_loopback(&self) -> bool {
        self.http.ip().is_loopback() && self.https.ip().is_loopback()
    }

    /// Every spelling under which this server may be asked to call itself.
    pub(crate) fn origins(&self) -> Vec<String> {
        let mut origins = Vec::new();
        for (scheme, address) in [("http", self.http), ("https", self.https)] {
            origins.push(format!("{scheme}://{address}"));
            if address.ip().is_loopback() {
                origins.push(format!("{scheme}://localhost:{}", address.port()));
            }
        }
        origins
    }
}
