//! Enginio Data Storage: objects of any shape behind a REST interface that Qt's old clients speak.
//!
//! One [`Eds`] serves all backends; the header `Enginio-Backend-Id` chooses. Start with `routes`: the table of
//! what there is. `caller` decides who asks, a file for each noun holds the rules, `deliver` tells webhooks what the
//! outbox holds. Whether somebody may do what they ask for is decided by the store, in the transaction that does it.
//! This crate knows no SQL and no socket.

mod access;
mod atomic;
mod audit;
mod auth;
mod batch;
mod caller;
mod deliver;
mod error;
mod include;
mod objects;
mod once;
pub mod openapi;
mod people;
pub mod portable;
mod provisioner;
mod routes;
#[cfg(test)]
mod tests;
mod types;
mod usergroups;
mod users;
mod webhooks;
mod wire;

use std::sync::Arc;

use pilvi_base::secret::random_bytes;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::{Audit, Directory, Egress, Fairness, Identity};
use pilvi_model::Timestamp;
use pilvi_model::id::IdMaker;
use pilvi_store::Store;
use pilvi_web::Site;

pub use auth::form;
pub use deliver::Deliverer;
use deliver::Wakes;
pub use people::People;
pub use routes::{Membership, ROUTES, Route, Verb, Who};

/// The service. Cloning gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Eds(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    identity: Identity,
    directory: Directory,
    keyring: Keyring,
    clock: Clock,
    ids: IdMaker,
    wakes: Wakes,
    people: People,
    fairness: Fairness,
    audit: Audit,
}

impl Eds {
    pub fn new(
        store: Store,
        identity: Identity,
        directory: Directory,
        keyring: Keyring,
        clock: Clock,
        people: People,
    ) -> Self {
        let ids = IdMaker::new(random_bytes());
        Self(Arc::new(Parts {
            store,
            identity,
            directory,
            keyring,
            clock,
            ids,
            wakes: Wakes::default(),
            people,
            fairness: Fairness::unbounded(),
            audit: Audit::unkept(),
        }))
    }

    /// Writes administrative acts into this log. Until this is called they are lines of the server's log only.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.audit = audit;
        self
    }

    /// Shares out what is read among the backends. Until this is called everybody reads as much as they like.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_fairness(mut self, fairness: Fairness) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.fairness = fairness;
        self
    }

    /// What the door needs to serve this service.
    pub fn site(&self) -> Site {
        Site {
            router: routes::table(self.clone()),
            manners: Arc::new(error::EdsManners),
        }
    }

    /// What delivers the webhooks of all backends, once it is started. It comes apart from the service, because it
    /// calls out, and Pilvi's own doors among its targets must be there first.
    pub fn deliverer(&self, egress: Egress, tasks: TaskGroup) -> Deliverer {
        Deliverer::new(Arc::clone(&self.0), egress, tasks)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now().into()
    }
}
