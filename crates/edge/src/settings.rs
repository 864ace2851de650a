//! How much and how long the router takes.

use std::time::Duration;

/// Bounds and habits of the router.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Apps are found at `<name>.<apps_domain>`.
    pub apps_domain: String,
    /// Names under the apps domain that are no apps': those of services that have a host of their own.
    pub reserved: Vec<String>,
    /// A socket over which no byte went in either direction for so long is cut.
    pub idle_timeout: Duration,
    /// A request that makes no progress for so long is given up: 504 when no byte of a response has come.
    pub request_timeout: Duration,
    /// How long a connection to a process may take.
    pub dial_timeout: Duration,
    /// How long a request waits for an app that is starting.
    pub start_patience: Duration,
    /// How many requests wait for apps that are starting; one more is told so at once.
    pub start_waiters_max: usize,
    /// How long a connection may rest between two requests.
    pub keep_alive_timeout: Duration,
    /// How long a head may take from its first byte.
    pub head_timeout: Duration,
    /// How long a refused client may go on sending before its connection is cut, so that it can read the refusal.
    pub linger: Duration,
    /// One request or response head: line, headers and the empty line.
    pub head_max_bytes: usize,
    /// Connections to one process that rest and wait for the next request.
    pub pool_max: usize,
    /// How long such a connection may rest. A process that announces less in `Keep-Alive` is believed.
    pub pool_idle_timeout: Duration,
    /// A process that could not be reached is asked again only after so long, as long as there are others.
    pub shun: Duration,
    /// Whether each answered request makes a line in the app's log.
    pub access_lines: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            apps_domain: "localhost".to_owned(),
            reserved: Vec::new(),
            idle_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(5),
            start_patience: Duration::from_secs(20),
            start_waiters_max: 1024,
            keep_alive_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            head_max_bytes: 64 << 10,
            pool_max: 256,
            pool_idle_timeout: Duration::from_secs(55),
            shun: Duration::from_secs(1),
            access_lines: false,
        }
    }
}
