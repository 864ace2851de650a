//! The addresses that the server listens on.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

use crate::arguments::ServeOptions;

/// How many connections may wait to be taken, as far as the kernel's `net.core.somaxconn` lets them. The usual 128 are
/// few when all clients of a gateway come back at once: who finds no place asks again after a second, and then after
/// two.
const BACKLOG: u32 = 4096;

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
    pub(crate) fn bind(options: &ServeOptions) -> anyhow::Result<Self> {
        let http = bind(options.http, "--http")?;
        let https = bind(options.https, "--https")?;
        let ssh = bind(options.ssh, "--ssh")?;
        let health = match options.health {
            Some(address) => Some(bind(address, "--health")?),
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

pub(crate) fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!("could not listen on {address}; choose another address with {flag}, for example {flag} 127.0.0.1:0")
    })
}

/// Needs a tokio runtime.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that starts again takes the address of the one before, whose last connections the kernel remembers.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn many_may_wait_to_be_taken() {
        const PATIENCE: Duration = Duration::from_millis(900);
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let come = || TcpStream::connect_timeout(&address, PATIENCE);
        let waiting: Vec<_> = (0..most.min(500)).map(|_| come()).collect();
        let turned_away = waiting.iter().filter(|stream| stream.is_err()).count();
        assert_eq!(turned_away, 0, "of {}", waiting.len());
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_with_the_way_out() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(taken.local_addr().unwrap(), "--http").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("choose another address with --http")
        );
        assert!(listen("[::1]:0".parse().unwrap()).is_ok());
    }
}
