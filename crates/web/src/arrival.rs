//! How a request reached the door.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use pilvi_model::RequestId;

/// The header that carries a request id in and out.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// How a request came in: over what, from where, and under which id. An extension of every request, and an
/// extractor.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Whether it came over TLS.
    pub secure: bool,
    /// The `Host` as the client wrote it, when it is one; else the address it connected to.
    pub host: String,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub request_id: RequestId,
}

impl Arrival {
    /// The address under which this client reaches us, for links it is to follow: `scheme` is `http` or `ws`, and
    /// gets its `s` when the request came over TLS.
    pub fn base(&self, scheme: &str) -> String {
        let s = if self.secure { "s" } else { "" };
        format!("{scheme}{s}://{}", self.host)
    }

    /// An arrival for a request that never saw a socket, under the id of the work that makes it.
    pub fn in_process(host: impl Into<String>, request_id: RequestId) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            secure: false,
            host: host.into(),
            peer: nowhere,
            local: nowhere,
            request_id,
        }
    }

    /// Whether it is such an arrival. No socket has the port 0.
    pub(crate) fn is_in_process(&self) -> bool {
        self.peer.port() == 0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Arrival {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The door gives every request an arrival; a router under test without a door gets a plain one.
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self::in_process("localhost", new_request_id())))
    }
}

/// Whom the requests of a connection reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Services and apps, by whatever name.
    Everybody,
    /// Pilvi's services alone, under the names that are theirs and under the address that was connected to. Programs
    /// in sandboxes come with an address that says nothing, so an app would take one for the machine it runs on.
    OwnNames,
}

/// Who is at the two ends of a connection: what all arrivals over it share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) secure: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The port at which everybody else finds what is reached here, where that differs and the client may pass our
    /// addresses on: a program in a sandbox says a name without a port.
    pub(crate) public_port: Option<u16>,
    pub(crate) scope: Scope,
}

impl Ends {
    /// The arrival of one request over this connection. `authority` is the host an HTTP/2 client names outside
    /// of the headers.
    pub(crate) fn arrival(&self, authority: Option<&str>, headers: &HeaderMap) -> Arrival {
        let named = authority.or_else(|| headers.get(http::header::HOST)?.to_str().ok());
        let host = named
            .filter(|host| is_host(host))
            .map_or_else(|| self.local.to_string(), |host| self.public(host));
        Arrival {
            secure: self.secure,
            host,
            peer: self.peer,
            local: self.local,
            request_id: callers_request_id(headers).unwrap_or_else(new_request_id),
        }
    }

    /// The host with the port that others need.
    fn public(&self, host: &str) -> String {
        let usual = if self.secure { 443 } else { 80 };
        match self.public_port {
            Some(port) if port != usual && !host.contains(':') => format!("{host}:{port}"),
            _ => host.to_owned(),
        }
    }
}

fn callers_request_id(headers: &HeaderMap) -> Option<RequestId> {
    RequestId::from_caller(headers.get(REQUEST_ID)?.to_str().ok()?)
}

/// A name that no request has had, here or elsewhere. It is no secret, so the system is asked for randomness once and
/// not with every request: what a keyed hash makes of a number does not repeat itself any sooner.
fn new_request_id() -> RequestId {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let half = |half: u8| u128::from(KEY.hash_one((number, half)));
    RequestId::from_bytes((half(0) << 64 | half(1)).to_be_bytes())
}

/// Whether `text` can stand in a URI as `host[:port]`. What cannot is never repeated to anybody.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ends(secure: bool) -> Ends {
        Ends {
            secure,
            peer: "10.0.0.9:50000".parse().unwrap(),
            local: "127.0.0.1:8080".parse().unwrap(),
            public_port: None,
            scope: Scope::Everybody,
        }
    }

    fn arrival(secure: bool, host: &str) -> Arrival {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, host.parse().unwrap());
        ends(secure).arrival(None, &headers)
    }

    #[test]
    fn a_program_in_a_sandbox_is_told_addresses_that_serve_everybody() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "mws-eu-1.localhost".parse().unwrap());
        let inside = |port| Ends {
            public_port: Some(port),
            ..ends(true)
        };
        let told = |port| inside(port).arrival(None, &headers).base("ws");
        assert_eq!(told(8443), "wss://mws-eu-1.localhost:8443");
        assert_eq!(told(443), "wss://mws-eu-1.localhost");
        headers.insert("host", "mws-eu-1.localhost:9".parse().unwrap());
        let told = inside(8443).arrival(None, &headers).base("ws");
        assert_eq!(told, "wss://mws-eu-1.localhost:9");
    }

    #[test]
    fn a_link_back_uses_the_name_the_client_used() {
        let plain = arrival(false, "localhost:8080");
        assert_eq!(plain.base("http"), "http://localhost:8080");
        assert_eq!(plain.base("ws"), "ws://localhost:8080");
        let secure = arrival(true, "mws-eu-1.example.org");
        assert_eq!(secure.base("ws"), "wss://mws-eu-1.example.org");
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for host in ["a/b", "a\"b", "a b", "a@b", "é", ""] {
            let mut headers = HeaderMap::new();
            headers.insert(
                http::header::HOST,
                http::HeaderValue::from_bytes(host.as_bytes()).unwrap(),
            );
            let arrival = ends(false).arrival(None, &headers);
            assert_eq!(arrival.host, "127.0.0.1:8080", "{host}");
        }
    }

    #[test]
    fn a_callers_request_id_is_kept_when_it_is_one() {
        let mut headers = HeaderMap::new();
        headers.insert(
            REQUEST_ID,
            "a671f67b4f41c20b53988a6057b32539".parse().unwrap(),
        );
        let arrival = ends(false).arrival(None, &headers);
        assert_eq!(
            arrival.request_id.as_str(),
            "a671f67b4f41c20b53988a6057b32539"
        );
        headers.insert(REQUEST_ID, "not one".parse().unwrap());
        let made = ends(false).arrival(None, &headers).request_id;
        assert_eq!(made.as_str().len(), 32);
        assert!(made.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn no_two_requests_have_the_same_id() {
        let made = |_| {
            let arrival = ends(false).arrival(None, &HeaderMap::new());
            arrival.request_id.as_str().to_owned()
        };
        let ids: HashSet<String> = (0..10_000).map(made).collect();
        assert_eq!(ids.len(), 10_000);
        // Nor the same beginning, by which people tell them apart.
        let beginnings: HashSet<&str> = ids.iter().map(|id| &id[..16]).collect();
        assert_eq!(beginnings.len(), 10_000);
    }
}
