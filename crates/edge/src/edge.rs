//! The router's handle: what is published, and what can be asked.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pilvi_base::TaskGroup;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::slot::Slot;
use crate::table::{Table, plain};
use crate::{Journal, Route, Settings};

/// The router. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// `.` and the apps domain, in small letters.
    suffix: String,
    /// Names that end like this and are no apps'.
    reserved: HashSet<Box<str>>,
    pub(crate) table: Table,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) tasks: TaskGroup,
    /// Told after each publication, for requests that wait for an app to start.
    pub(crate) published: Notify,
    pub(crate) start_waiters: Semaphore,
    /// Told when a connection to an upstream begins to rest and nobody sweeps.
    pub(crate) parked: Notify,
}

/// Who is at the two ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// What became of a connection that was given to the router.
#[derive(Debug)]
pub enum After<S> {
    /// It is over.
    Closed,
    /// The next head on it is for no app. What was read of it, and perhaps more, comes along.
    NotMine(S, BytesMut),
}

impl Edge {
    /// A router that knows no app yet. Needs a runtime: a task of `tasks` closes connections that rest for too long.
    pub fn new(settings: Settings, journal: Arc<dyn Journal>, tasks: TaskGroup) -> Self {
        let suffix = format!(
            ".{}",
            settings.apps_domain.trim_matches('.').to_ascii_lowercase()
        );
        let shared = Arc::new(Shared {
            suffix,
            reserved: settings
                .reserved
                .iter()
                .filter_map(|host| plain(host))
                .collect(),
            table: Table::default(),
            journal,
            tasks,
            published: Notify::new(),
            start_waiters: Semaphore::new(settings.start_waiters_max),
            parked: Notify::new(),
            settings,
        });
        let sweep = Arc::clone(&shared).sweep();
        shared.tasks.spawn("resting connections", sweep);
        Self(shared)
    }

    /// Replaces all that is known about an app. From here on new requests go where the new route says; those under
    /// way end where they are.
    pub fn publish(&self, route: Route) {
        self.0.table.publish(route);
        self.0.published.notify_waiters();
    }

    /// Forgets an app. Its hosts answer 404.
    pub fn withdraw(&self, app: &str) {
        self.0.table.withdraw(app);
        self.0.published.notify_waiters();
    }

    /// Resolves when none of these upstreams, which are in the app's route no more, has a request or a socket under
    /// way, or when `patience` is over. Says whether everything ended in time.
    pub async fn drained(
        &self,
        app: &str,
        upstreams: &[impl AsRef<str>],
        patience: Duration,
    ) -> bool {
        let leaving = self.0.table.leaving(app, upstreams);
        let all = async {
            for slot in &leaving {
                Slot::settled(slot).await;
            }
        };
        tokio::time::timeout(patience, all).await.is_ok()
    }

    /// Whether requests for this host are the router's: a name under the apps domain, known or not, or a domain of an
    /// app. `host` may have a port.
    pub fn owns(&self, host: &str) -> bool {
        self.0.owns(host.as_bytes())
    }

    /// Whether an app has this host.
    pub fn knows(&self, host: &str) -> bool {
        self.0.table.find(host.as_bytes()).is_some()
    }

    /// The certificate that was uploaded for the app of this host, unless it is for other names and this one is under
    /// the apps domain, for which an owner has no certificate.
    pub fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let certificate = self.0.table.find(host.as_bytes())?.certificate.clone()?;
        let ours = self.0.is_under_apps_domain(host.as_bytes());
        (!ours || is_for(&certificate, host)).then_some(certificate)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

fn is_for(certificate: &CertifiedKey, host: &str) -> bool {
    let Ok(leaf) = certificate.end_entity_cert() else {
        return false;
    };
    let parsed = ParsedCertificate::try_from(leaf);
    let name = ServerName::try_from(host);
    match (parsed, name) {
        (Ok(parsed), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
        _ => false,
    }
}

impl Shared {
    /// Closes connections to apps that have rested for too long. Sleeps as long as none rests.
    async fn sweep(self: Arc<Self>) {
        let pause = self.settings.pool_idle_timeout / 4;
        let sweeping = async {
            loop {
                self.parked.notified().await;
                while self.table.sweep(Instant::now()) {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::select! {
            () = sweeping => {}
            () = self.tasks.stopping() => {}
        }
    }

    pub(crate) fn owns(&self, host: &[u8]) -> bool {
        self.is_under_apps_domain(host) || self.table.find(host).is_some()
    }

    pub(crate) fn is_under_apps_domain(&self, host: &[u8]) -> bool {
        let mut space = [0; 253];
        let Some(host) = crate::table::lower(host, &mut space) else {
            return false;
        };
        let name = host.strip_suffix(self.suffix.as_str());
        name.is_some_and(|name| !name.is_empty()) && !self.reserved.contains(host)
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}
