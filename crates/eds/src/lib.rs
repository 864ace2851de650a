//! Enginio Data Storage: objects of any shape behind a REST interface that Qt's old clients speak.
//!
//! One [`Eds`] serves all backends; the header `Enginio-Backend-Id` chooses. Start with `routes`: the table of
//! what there is. `caller` decides who asks, `objects` and `webhooks` hold the rules, `deliver` tells webhooks
//! what the outbox holds. This crate knows no SQL and no socket.

mod caller;
mod deliver;
mod error;
mod objects;
mod routes;
mod webhooks;
mod wire;

use std::sync::Arc;

use pilvi_base::secret::random_bytes;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::{Directory, Egress, Identity, Provisioner, Provisioning};
use pilvi_model::id::IdMaker;
use pilvi_model::{BackendId, Instance, Provider, Timestamp};
use pilvi_store::Store;
use pilvi_web::Site;

pub use deliver::Deliverer;
use deliver::Wakes;

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
}

impl Eds {
    pub fn new(
        store: Store,
        identity: Identity,
        directory: Directory,
        keyring: Keyring,
        clock: Clock,
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
        }))
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

/// A backend's file comes and goes with its instance.
impl Provisioner for Eds {
    fn provider(&self) -> Provider {
        Provider::Eds
    }

    fn create<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move { self.0.store.create_backend(instance.id.parse()?).await })
    }

    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let backend: BackendId = instance.id.parse()?;
            self.0.store.delete_backend(backend).await
        })
    }
}
