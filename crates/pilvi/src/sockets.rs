//! Which service a WebSocket is for.

use std::future::Future;
use std::pin::Pin;

use pilvi_eds::Eds;
use pilvi_mws::Mws;
use pilvi_web::{EventStreamRequest, Upgrade};

/// A ticket is for the streams of EDS, everything else for the gateway, on whatever path: one of the old clients only
/// repeats the address it was given, and the other one says nothing but its token.
pub(crate) struct Sockets {
    pub(crate) eds: Eds,
    pub(crate) mws: Mws,
}

impl pilvi_web::Sockets for Sockets {
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match upgrade.params.is_ticket() {
            true => pilvi_web::Sockets::open(&self.eds, upgrade),
            false => pilvi_web::Sockets::open(&self.mws, upgrade),
        }
    }

    /// Only requests with a token come here: EDS's own event streams are paths of its own.
    fn stream(&self, request: EventStreamRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        pilvi_web::Sockets::stream(&self.mws, request)
    }
}
