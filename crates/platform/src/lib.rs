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
mod account_api;
mod accounts;
mod audit;
mod backups;
mod device;
mod drafts;
mod error;
mod housekeeping;
mod instances;
mod invitations;
mod members;
mod oidc;
mod people;
mod persons;
mod quotas;
mod routes;
mod settings;
mod ssh_keys;
#[cfg(test)]
mod tests;
mod tokens;
mod turns;
mod usage;
mod wire;

use std::sync::Arc;

use pilvi_base::secret::random_bytes;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::{Audit, Directory, Identity, Mailer, Passwords, Provisioner, Quotas, Resource};
use pilvi_model::id::IdMaker;
use pilvi_model::{Provider, Timestamp};
use pilvi_store::Store;
use pilvi_web::{Arrival, Site};

use turns::Turns;

pub use access::Caller;
pub use backups::{BackupPlaces, DATABASE, INSTANCES, KEY, counts_of};
pub use device::DeviceCodes;
pub use drafts::{AccountDraft, InstanceDraft};
pub use instances::{Removal, Removed};
pub use invitations::{InvitationDraft, InvitationKey};
pub use oidc::{
    Departure, OfferedIdentity, OfferedProvider, Outcome, ProviderSettings, Purpose, Returned,
    ShownIdentity, Visit,
};
pub use people::{PersonChange, Registration, Renewal, SignInDraft, SignInFailure, SignUpDraft};
pub use persons::FirstStart;
pub use settings::{Datacenter, Limits, Settings};
pub use ssh_keys::SshKeyDraft;
pub use tokens::{IssuedToken, TokenDraft, renew_derived_tokens};

/// The control plane. Cloning gives another handle.
#[derive(Clone)]
pub struct Platform {
    store: Store,
    identity: Identity,
    directory: Directory,
    keyring: Keyring,
    clock: Clock,
    tasks: TaskGroup,
    audit: Audit,
    mailer: Mailer,
    people: Arc<people::People>,
    sign_on: oidc::SignOn,
    devices: device::Devices,
    /// Deletions and restorations of one instance wait for one another, and so do the invitations of one person.
    turns: Turns,
    backups: Option<backups::Backups>,
    ids: Arc<IdMaker>,
    settings: Arc<Settings>,
    provisioners: Arc<[Arc<dyn Provisioner>]>,
    quotas: Quotas,
    meter: usage::Meter,
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
    /// Hashes the passwords of persons; the services share one queue.
    pub passwords: Passwords,
    pub mailer: Mailer,
    /// The one that all services share.
    pub audit: Audit,
    pub settings: Settings,
    /// One for each provider that is offered, in the order in which lists show them.
    pub provisioners: Vec<Arc<dyn Provisioner>>,
}

impl Platform {
    pub fn new(parts: Parts) -> Self {
        let people = people::People::new(parts.passwords, &parts.clock);
        Self {
            audit: parts.audit,
            mailer: parts.mailer,
            people: Arc::new(people),
            sign_on: oidc::SignOn::new(&parts.settings.sign_on, &parts.clock),
            devices: device::Devices::new(&parts.clock),
            turns: Turns::default(),
            backups: None,
            quotas: Quotas::new(parts.store.clone(), quota_defaults(&parts.settings.limits)),
            meter: usage::Meter::default(),
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

    /// The quotas that all services share. Until this is called the platform has some of its own.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// What the door needs to know.
    pub fn site(&self) -> Site {
        Site {
            router: routes::router(self.clone()),
            manners: Arc::new(error::PlatformManners),
        }
    }

    /// The same for the account interface of the original: its calls are among the others, and refuse differently.
    pub fn account_site(&self) -> Site {
        Site {
            router: routes::router(self.clone()),
            manners: Arc::new(account_api::AccountManners),
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

    /// The address under which somebody finds this server, for links that they are to follow: the public one, where
    /// they use its name, because a proxy may hide that it is reached over https.
    pub fn address_for(&self, arrival: &Arrival) -> String {
        let public = &self.settings.public_url;
        match public.split_once("://") {
            Some((_, name)) if name.eq_ignore_ascii_case(&arrival.host) => public.clone(),
            _ => arrival.base("http"),
        }
    }

    /// The time of this server's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

/// What the settings name goes for accounts for which nobody set anything.
fn quota_defaults(limits: &Limits) -> pilvi_core::quotas::Limits {
    pilvi_core::quotas::Limits::default()
        .with(Resource::Instances, limits.instances_per_account.into())
        .with(Resource::Members, limits.members_per_account.into())
}
