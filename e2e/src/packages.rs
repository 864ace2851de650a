//! Where apps get their packages from while they are built.

use std::net::{SocketAddr, ToSocketAddrs};

const REGISTRIES: [&str; 3] = [
    "registry.npmjs.org:443",
    "pypi.org:443",
    "files.pythonhosted.org:443",
];

/// Arguments that let apps reach the registries. On some machines these are mirrors at private addresses, which are
/// closed to apps unless an operator opens them; a public address is open anyway.
pub fn arguments() -> Vec<String> {
    let addresses = REGISTRIES
        .iter()
        .filter_map(|name| name.to_socket_addrs().ok())
        .flatten()
        .filter(SocketAddr::is_ipv4);
    addresses
        .flat_map(|address| ["--apps-allow".to_owned(), address.ip().to_string()])
        .collect()
}
