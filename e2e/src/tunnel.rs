//! Raw frames over TLS: a script of Node's passes them on, so that the other end of the server's TLS is OpenSSL.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::child::Client;
use crate::node;
use crate::server::Server;

/// How long the script may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// An address in the clear behind which is a server's TLS door; it is gone on drop.
pub struct Tunnel {
    address: SocketAddr,
    _script: Client,
}

impl Tunnel {
    /// Where Node's packages are missing, the running test is reported as skipped and there is none.
    #[track_caller]
    pub fn to(server: &Server) -> Option<Self> {
        if !node::is_ready() {
            return None;
        }
        let target = server.https().to_string();
        let variables = [
            ("TARGET", target.as_str()),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
        ];
        let mut script = node::start("tls_tunnel.cjs", &variables);
        let port = script.next_line(START_WITHIN).parse();
        let port: u16 = port.expect("the script prints its port");
        Some(Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _script: script,
        })
    }

    /// The address of a socket, as it is reached through here.
    #[track_caller]
    pub fn through(&self, uri: &str) -> String {
        let target = uri.split_once("://").and_then(|(_, rest)| {
            let slash = rest.find('/')?;
            Some(&rest[slash..])
        });
        let target = target.unwrap_or_else(|| panic!("{uri:?} is not the address of a socket"));
        format!("ws://{}{target}", self.address)
    }
}
