//! A web process as the router dials it.

use std::io;
use std::sync::Arc;

use pilvi_edge::{BoxFuture, Upstream};
use tokio::net::TcpStream;

use super::launcher::Program;

/// One run of a web process. A restarted process is another upstream.
pub(super) struct WebProcess {
    /// `web.1`, for the log.
    name: String,
    program: Arc<dyn Program>,
    port: u16,
}

impl WebProcess {
    pub(super) fn new(name: String, program: Arc<dyn Program>, port: u16) -> Self {
        Self {
            name,
            program,
            port,
        }
    }
}

impl Upstream for WebProcess {
    fn id(&self) -> &str {
        &self.name
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.program.dial(self.port)
    }
}
