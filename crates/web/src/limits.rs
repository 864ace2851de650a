//! How much and how long the door takes from one client.

use std::time::Duration;

/// Bounds on what a client may send and how slowly. The defaults serve the oldest and slowest known clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, over all listeners of one door, WebSockets among them; one more is answered 503. An
    /// event stream over HTTP/2 counts for two.
    pub connections_max: usize,
    /// The descriptors of connections have numbers below this; any other is answered 503. A new descriptor has the
    /// lowest number that is free, so those above are left to what is no client's: databases, calls to the outside,
    /// listeners.
    pub files_max: i32,
    /// The same for connections that become WebSockets: those above are left to whoever asks and goes.
    pub socket_files_max: i32,
    /// One request head: line, headers and the empty line.
    pub head_max_bytes: usize,
    /// The target in the request line.
    pub target_max_bytes: usize,
    /// How long a head may take from its first byte, and a new connection until that byte.
    pub head_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// How long a client may pause inside a request body.
    pub body_stall_timeout: Duration,
    /// How long one whole JSON body may take.
    pub body_timeout: Duration,
    /// How long a client may leave a reply unread.
    pub write_stall_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a refused client may go on sending before its connection is cut, so that it can read the refusal.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            files_max: i32::MAX,
            socket_files_max: i32::MAX,
            head_max_bytes: 64 << 10,
            target_max_bytes: 32 << 10,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(120),
            write_stall_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}
