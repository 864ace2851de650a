//! How much an account may have, how much it has, and what an instance takes.
//!
//! What is counted in rows (instances, members, the memory of processes) is checked by the store in the transaction
//! that adds some. What must be measured (bytes on the disk, sockets) is measured in the background
//! (`pilvi_platform::usage`), which writes the sums down here for those who are about to add to them.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lru::LruCache;
use pilvi_model::{AccountId, Error, Result};
use pilvi_store::Store;
use pilvi_store::platform::QuotaChange;

pub use pilvi_store::platform::{Quotas as Limits, Resource};

/// What one instance takes. `None`: there is no such thing for its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of data on the disk.
    pub storage_bytes: Option<u64>,
    /// Bytes of memory that its processes may take.
    pub memory_bytes: Option<u64>,
    /// Bytes of its slugs, cache and repository.
    pub disk_bytes: Option<u64>,
    /// Processes that are wanted.
    pub processes: Option<u64>,
    /// Web sockets that are open.
    pub sockets: Option<u64>,
}

impl Usage {
    /// What both take together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            storage_bytes: sum(self.storage_bytes, other.storage_bytes),
            memory_bytes: sum(self.memory_bytes, other.memory_bytes),
            disk_bytes: sum(self.disk_bytes, other.disk_bytes),
            processes: sum(self.processes, other.processes),
            sockets: sum(self.sockets, other.sockets),
        }
    }

    /// What counts against a quota, of what is measured.
    pub fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::EdsStorageBytes => self.storage_bytes,
            Resource::AppDiskBytes => self.disk_bytes,
            Resource::Sockets => self.sockets,
            Resource::AppMemoryBytes => self.memory_bytes,
            Resource::Instances | Resource::Members => None,
        }
    }
}

/// Knows quotas. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Quotas(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    defaults: Limits,
    /// A plain mutex: held for a look-up.
    known: Mutex<Known>,
    /// What accounts take, as it was measured last.
    measured: RwLock<HashMap<AccountId, Usage>>,
}

#[derive(Debug)]
struct Known {
    limits: LruCache<AccountId, Limits>,
    /// Counts changes. Whoever began to read before one must not write what they read after it.
    changes: u64,
}

/// Enough for every busy account of one server; the others cost one indexed read.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

impl Quotas {
    pub fn new(store: Store, defaults: Limits) -> Self {
        Self(Arc::new(Parts {
            store,
            defaults,
            known: Mutex::new(Known {
                limits: LruCache::new(KNOWN_MAX),
                changes: 0,
            }),
            measured: RwLock::default(),
        }))
    }

    /// What an account may have for which nobody set anything.
    pub fn defaults(&self) -> &Limits {
        &self.0.defaults
    }

    pub async fn limits(&self, account: AccountId) -> Result<Limits> {
        let changes = {
            let mut known = self.known();
            if let Some(limits) = known.limits.get(&account) {
                return Ok(*limits);
            }
            known.changes
        };
        let limits = self.0.store.quotas(account, self.0.defaults).await?;
        let mut known = self.known();
        if known.changes == changes {
            known.limits.put(account, limits);
        }
        Ok(limits)
    }

    pub async fn most(&self, account: AccountId, resource: Resource) -> Result<u64> {
        Ok(self.limits(account).await?.most(resource))
    }

    /// Changes quotas; what is not named stays. `false`: there is no such account.
    pub async fn set(&self, account: AccountId, changes: Vec<QuotaChange>) -> Result<bool> {
        let set = self.0.store.set_quotas(account, changes).await;
        // Forgotten also after an error, which may hide a change that was made.
        let mut known = self.known();
        known.changes += 1;
        known.limits.pop(&account);
        drop(known);
        set
    }

    /// Refuses to add to what an account has as much of as it may, as far as it was measured.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`]
    pub async fn check_measured(&self, account: AccountId, resource: Resource) -> Result<()> {
        let most = self.most(account, resource).await?;
        let used = self.measured(account).of(resource).unwrap_or(0);
        if used < most {
            return Ok(());
        }
        Err(Error::over_limit(match resource {
            Resource::AppDiskBytes => format!(
                "the account's apps take {} MB on the disk, and its quota is {} MB; remove slugs, empty build caches \
                 or delete an app first, or ask the server's operator for more",
                used >> 20,
                most >> 20
            ),
            other => format!(
                "the account has {used} of {} that its quota gives of {}; ask the server's operator for more",
                most,
                other.as_str()
            ),
        }))
    }

    /// What an account takes, as it was measured last.
    pub fn measured(&self, account: AccountId) -> Usage {
        let measured = self.0.measured.read();
        let measured = measured.unwrap_or_else(PoisonError::into_inner);
        measured.get(&account).copied().unwrap_or_default()
    }

    /// Writes down what an account takes.
    pub fn note(&self, account: AccountId, usage: Usage) {
        let measured = self.0.measured.write();
        let mut measured = measured.unwrap_or_else(PoisonError::into_inner);
        measured.insert(account, usage);
    }

    /// Forgets all accounts that are not among these.
    pub fn retain(&self, is_there: impl Fn(&AccountId) -> bool) {
        let measured = self.0.measured.write();
        let mut measured = measured.unwrap_or_else(PoisonError::into_inner);
        measured.retain(|account, _| is_there(account));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_instances_take_adds_up_kind_by_kind() {
        let backend = Usage {
            storage_bytes: Some(5),
            ..Usage::default()
        };
        let gateway = Usage {
            sockets: Some(7),
            ..Usage::default()
        };
        let both = backend.plus(gateway).plus(backend);
        assert_eq!(both.of(Resource::EdsStorageBytes), Some(10));
        assert_eq!(both.of(Resource::Sockets), Some(7));
        assert_eq!(both.of(Resource::AppDiskBytes), None);
    }

    #[tokio::test]
    async fn who_has_as_much_as_they_may_is_told_what_to_do() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default());
        let limits = Limits::default().with(Resource::AppDiskBytes, 10 << 20);
        let quotas = Quotas::new(store.await.unwrap(), limits);
        let account = AccountId::random();
        let check = || quotas.check_measured(account, Resource::AppDiskBytes);
        check().await.unwrap();
        let usage = |bytes| Usage {
            disk_bytes: Some(bytes),
            ..Usage::default()
        };
        quotas.note(account, usage(10 << 20));
        let refused = check().await.unwrap_err();
        assert_eq!(refused.kind, pilvi_model::Kind::OverLimit);
        assert!(refused.message.contains("10 MB"), "{refused:?}");
        quotas.note(account, usage((10 << 20) - 1));
        check().await.unwrap();
        quotas.note(account, usage(u64::MAX));
        quotas.retain(|_| false);
        check().await.unwrap();
    }
}
