//! What is published about an app.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;

use crate::Absence;

/// A future that can be kept in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything the router has to know about one app. It always replaces all that was published before.
#[derive(Clone)]
pub struct Route {
    /// The app's id, for its log.
    pub app: String,
    /// Full host names without a port. A host that another app had belongs to this one from now on.
    pub hosts: Vec<String>,
    /// The processes that answer. One that stays is the same `Arc` as before; any other one is new, also when it has
    /// the id of an earlier one, and gets no request over a connection of that one.
    pub upstreams: Vec<Arc<dyn Upstream>>,
    /// Why there is no upstream; of no interest when there is one.
    pub absence: Absence,
    /// What its owner uploaded for the app's own domains.
    pub certificate: Option<Arc<CertifiedKey>>,
}

/// A process that answers requests.
pub trait Upstream: Send + Sync + 'static {
    /// Its name in the app's log, such as `web.1`.
    fn id(&self) -> &str;

    /// A new connection to it.
    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>>;
}
