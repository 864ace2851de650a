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
mod collector;
mod deliver;
mod downloads;
mod error;
pub mod files;
mod include;
mod indexes;
mod live;
mod objects;
mod once;
pub mod openapi;
mod people;
pub mod portable;
mod portable_files;
mod provisioner;
mod routes;
mod search;
#[cfg(test)]
mod tests;
mod transfers;
mod types;
mod usergroups;
mod users;
pub mod variants;
mod webhooks;
mod wire;

use std::sync::{Arc, OnceLock};

use pilvi_base::secret::random_bytes;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_blobs::Blobs;
use pilvi_core::{Audit, Directory, Egress, Fairness, Identity};
use pilvi_model::Timestamp;
use pilvi_model::id::IdMaker;
use pilvi_store::Store;
use pilvi_web::Site;

use collector::Collecting;
pub use collector::{Ages, Collected, Collector};
pub use deliver::Deliverer;
use deliver::{Pings, Wakes};
use files::Uploads;
use live::Live;
pub use people::People;
pub use pilvi_web::form;
pub use routes::{Membership, ROUTES, Route, Verb, Who};
use search::Indexers;
pub use transfers::Transfers;
pub use variants::{Workshop, Workspace};

/// The service. Cloning gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Eds(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    /// The bytes of files.
    blobs: Blobs,
    uploads: Uploads,
    identity: Identity,
    directory: Directory,
    keyring: Keyring,
    clock: Clock,
    ids: IdMaker,
    wakes: Wakes,
    /// Who has variants to be made.
    variants: variants::Wakes,
    collecting: Collecting,
    pings: Pings,
    /// Absent where nothing is exported or imported.
    transfers: Option<Transfers>,
    people: People,
    fairness: Fairness,
    audit: Audit,
    indexers: Indexers,
    /// Absent until the streams are opened.
    live: OnceLock<Live>,
}

impl Eds {
    pub fn new(
        store: Store,
        blobs: Blobs,
        identity: Identity,
        directory: Directory,
        keyring: Keyring,
        clock: Clock,
        people: People,
    ) -> Self {
        let ids = IdMaker::new(random_bytes());
        Self(Arc::new(Parts {
            store,
            blobs,
            uploads: Uploads::default(),
            identity,
            directory,
            keyring,
            clock,
            ids,
            wakes: Wakes::default(),
            variants: variants::Wakes::default(),
            collecting: Collecting::default(),
            pings: Pings::default(),
            transfers: None,
            people,
            fairness: Fairness::unbounded(),
            audit: Audit::unkept(),
            indexers: Indexers::new(TaskGroup::new()),
            live: OnceLock::new(),
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

    /// Has what goes on in the background run in this group. Until this is called it runs in one that nobody waits for.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_tasks(mut self, tasks: TaskGroup) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.indexers = Indexers::new(tasks);
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

    /// Takes files of at most so many bytes.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_file_bytes_max(mut self, bytes: u64) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.uploads = Uploads::new(bytes);
        self
    }

    /// Offers exports and imports.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_transfers(mut self, transfers: Transfers) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.transfers = Some(transfers);
        self
    }

    /// Finds out what became of imports that ran when the server stopped, and looks after imports from then on.
    pub fn start_imports(&self, tasks: &TaskGroup) {
        let eds = self.clone();
        tasks.spawn("imports", async move { eds.look_after_imports().await });
    }

    /// What the door needs to serve this service.
    pub fn site(&self) -> Site {
        Site {
            router: routes::table(self.clone()),
            manners: Arc::new(error::EdsManners {
                file_bytes_max: self.0.uploads.bytes_max(),
            }),
        }
    }

    /// What delivers the webhooks of all backends, once it is started. It comes apart from the service, because it
    /// calls out, and Pilvi's own doors among its targets must be there first.
    pub fn deliverer(&self, egress: Egress, tasks: TaskGroup) -> Deliverer {
        Deliverer::new(Arc::clone(&self.0), egress, tasks)
    }

    /// Removes files that nobody needs when they are so old.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_ages(mut self, ages: Ages) -> Self {
        let parts = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        parts.collecting = Collecting::new(ages);
        self
    }

    /// What removes files that nobody needs, once it is started.
    pub fn collector(&self, tasks: TaskGroup) -> Collector {
        Collector::new(Arc::clone(&self.0), tasks)
    }

    /// What makes variants of images in the background, once it is started.
    pub fn workshop(&self, workspace: Workspace, tasks: TaskGroup) -> Workshop {
        Workshop::new(Arc::clone(&self.0), workspace, tasks)
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now().into()
    }
}
