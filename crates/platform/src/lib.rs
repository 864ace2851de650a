//! The control plane: persons, accounts, instances and tokens (`platform.md` §3–§6).
//!
//! A request goes from `routes.rs` to a rule and from there to `pilvi_store::platform`. Who may do what is
//! one page, `access.rs`. The rules are methods of [`Platform`] that know nothing of HTTP, so that the first start,
//! the demo and the administrator's commands use them as the routes do.
//!
//! What an instance *is* belongs to its service; the platform only tells the service's
//! [`pilvi_core::Provisioner`] to make and to remove it, and in which order, so that a crash at any point leaves
//! nothing that cannot be cleared away.

mod access;
mod accounts;
mod drafts;
mod error;
mod instances;
mod persons;
mod routes;
mod settings;
mod ssh_keys;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use std::sync::Arc;

use pilvi_base::secret::random_bytes;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::{Directory, Identity, Provisioner};
use pilvi_model::id::IdMaker;
use pilvi_model::{Provider, Timestamp};
use pilvi_store::Store;
use pilvi_web::Site;

pub use access::Caller;
pub use drafts::{AccountDraft, InstanceDraft};
pub use persons::FirstStart;
pub use settings::{Datacenter, Limits, Settings};
pub use ssh_keys::SshKeyDraft;
pub use tokens::IssuedToken;

/// The control plane. Cloning gives another handle.
#[derive(Clone)]
pub struct Platform {
    store: Store,
    identity: Identity,
    directory: Directory,
    keyring: Keyring,
    clock: Clock,
    tasks: TaskGroup,
    ids: Arc<IdMaker>,
    settings: Arc<Settings>,
    provisioners: Arc<[Arc<dyn Provisioner>]>,
}

/// What the platform is built from.
pub struct Parts {
    pub store: Store,
    pub identity: Identity,
    /// The one that all services share: a change made through another is not seen by its cache.
    pub directory: Directory,
    pub keyring: Keyring,
    pub clock: Clock,
    /// Runs what must come to its end although a client hangs up.
    pub tasks: TaskGroup,
    pub settings: Settings,
    /// One for each provider that is offered, in the order in which lists show them.
    pub provisioners: Vec<Arc<dyn Provisioner>>,
}

impl Platform {
    pub fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            identity: parts.identity,
            directory: parts.directory,
            keyring: parts.keyring,
            clock: parts.clock,
            tasks: parts.tasks,
            ids: Arc::new(IdMaker::new(random_bytes())),
            settings: Arc::new(parts.settings),
            provisioners: parts.provisioners.into(),
        }
    }

    /// What the door needs to know.
    pub fn site(&self) -> Site {
        Site {
            router: routes::router(self.clone()),
            manners: Arc::new(error::PlatformManners),
        }
    }

    fn providers(&self) -> impl Iterator<Item = Provider> {
        self.provisioners
            .iter()
            .map(|provisioner| provisioner.provider())
    }

    fn provisioner(&self, provider: Provider) -> Option<Arc<dyn Provisioner>> {
        let mut all = self.provisioners.iter();
        all.find(|provisioner| provisioner.provider() == provider)
            .map(Arc::clone)
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}
