//! Which instances there are: the look-up that begins every request to a backend or gateway.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use pilvi_base::TaskGroup;
use pilvi_model::{Error, Instance, Provider, Result, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{DeletedInstance, InstanceChange, Revival};
use serde_json::{Map, Value};

use crate::completion::complete;

/// Finds instances, and changes them so that no cache keeps the old state. Cloning gives another handle.
///
/// Instances that are still being created, that were deleted, or that are being removed are not found.
#[derive(Clone, Debug)]
pub struct Directory {
    store: Store,
    tasks: TaskGroup,
    /// A plain mutex: held for a look-up, never across a query or an await.
    cache: Arc<Mutex<Cache>>,
}

#[derive(Debug)]
struct Cache {
    instances: LruCache<String, Arc<Instance>>,
    /// Counts changes. A reader that began before a change must not put what it read into the cache after it.
    changes: u64,
}

/// Enough for every busy instance of one server; the others cost one indexed read.
const INSTANCES_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

impl Directory {
    /// `tasks` runs changes, which must not stop between the write and the cache when a caller goes away.
    pub fn new(store: Store, tasks: TaskGroup) -> Self {
        let cache = Cache {
            instances: LruCache::new(INSTANCES_MAX),
            changes: 0,
        };
        Self {
            store,
            tasks,
            cache: Arc::new(Mutex::new(cache)),
        }
    }

    /// The instance of this provider.
    pub async fn find(&self, provider: Provider, id: &str) -> Result<Option<Arc<Instance>>> {
        let found = self.find_any(id).await?;
        Ok(found.filter(|instance| instance.provider == provider))
    }

    /// The instance, whoever provides it.
    pub async fn find_any(&self, id: &str) -> Result<Option<Arc<Instance>>> {
        let changes = match self.recall(id) {
            Ok(instance) => return Ok(Some(instance)),
            Err(changes) => changes,
        };
        let found = self.store.find_instance(id).await?.map(Arc::new);
        if let Some(instance) = &found {
            self.remember(instance, changes);
        }
        Ok(found)
    }

    /// Stores a new configuration, and a new name when there is one.
    pub async fn configure(
        &self,
        id: &str,
        name: Option<String>,
        config: Map<String, Value>,
    ) -> Result<Arc<Instance>> {
        let change = InstanceChange {
            name,
            config: Some(config),
            ..InstanceChange::default()
        };
        self.change(id, change).await
    }

    /// Changes what the change names.
    pub async fn change(&self, id: &str, change: InstanceChange) -> Result<Arc<Instance>> {
        let (directory, id) = (self.clone(), id.to_owned());
        let changed = complete(&self.tasks, "change an instance", async move {
            let changed = directory.store.update_instance(&id, change).await;
            // Forgotten also after an error, which may hide a change that was made.
            directory.forget(&id);
            changed
        });
        changed
            .await?
            .map(Arc::new)
            .ok_or_else(|| Error::not_found("there is no such instance"))
    }

    /// Hides an instance that can be brought back; `None`: there is no such instance, or not for long.
    pub async fn hide(&self, id: &str, now: Timestamp) -> Result<Option<DeletedInstance>> {
        let (directory, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "hide an instance", async move {
            let hidden = directory.store.hide_instance(&id, now).await;
            directory.forget(&id);
            hidden
        })
        .await
    }

    /// Brings a hidden instance back.
    pub async fn revive(&self, id: &str) -> Result<Revival> {
        let (directory, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "bring an instance back", async move {
            let revived = directory.store.revive_instance(&id).await;
            directory.forget(&id);
            revived
        })
        .await
    }

    /// As [`Self::retire`], for an instance that has been hidden since then at the latest.
    pub async fn retire_deleted(&self, id: &str, since: Timestamp) -> Result<Option<Instance>> {
        let (directory, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "retire a deleted instance", async move {
            let retired = directory.store.retire_deleted_instance(&id, since).await;
            directory.forget(&id);
            retired
        })
        .await
    }

    /// Hides an instance that is to be removed and revokes its tokens. Its row stays until
    /// [`Store::delete_instance`], so that an interrupted removal can be finished.
    pub async fn retire(&self, id: &str) -> Result<Option<Instance>> {
        let (directory, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "retire an instance", async move {
            let retired = directory.store.retire_instance(&id).await;
            directory.forget(&id);
            retired
        })
        .await
    }

    /// The instance from the cache; else the count of changes, which is to be taken before the store is read.
    fn recall(&self, id: &str) -> Result<Arc<Instance>, u64> {
        let mut cache = self.cache();
        let changes = cache.changes;
        cache.instances.get(id).map(Arc::clone).ok_or(changes)
    }

    /// Puts what was read into the cache, unless there was a change since the reading began.
    fn remember(&self, instance: &Arc<Instance>, changes: u64) {
        let mut cache = self.cache();
        if cache.changes == changes {
            cache
                .instances
                .put(instance.id.clone(), Arc::clone(instance));
        }
    }

    fn forget(&self, id: &str) {
        let mut cache = self.cache();
        cache.changes += 1;
        cache.instances.pop(id);
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::{AccountId, PersonId};
    use pilvi_store::platform::{Account, FirstRecords, Holder, NewToken, Person};
    use tempfile::TempDir;

    use super::*;

    const ID: &str = "5417e5485a3d8b418a01adb7";

    /// A directory with one ready instance.
    async fn directory() -> (Directory, TempDir) {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default())
            .await
            .unwrap();
        let (account, person) = (AccountId::random(), PersonId::random());
        let created_at = Timestamp::from_millis(1_400_000_000_000);
        let token = |holder, number| NewToken {
            holder,
            digest: [number; 32],
            generation: 0,
            name: None,
            created_at,
            expires_at: None,
        };
        let first = FirstRecords {
            person: Person::new(person, "a@localhost", "A", created_at),
            person_token: token(Holder::Person(person), 1),
            account: Account {
                id: account,
                name: "A".to_owned(),
                datacenter: "eu-1".to_owned(),
                vpc: false,
                created_at,
            },
            account_token: token(Holder::Member { account, person }, 2),
        };
        assert!(store.insert_first_records(first).await.unwrap());
        let instance = Instance {
            id: ID.to_owned(),
            provider: Provider::Mws,
            account,
            name: "0".to_owned(),
            tags: Vec::new(),
            config: Map::new(),
            datacenter: "eu-1".to_owned(),
            created_at,
        };
        store.insert_instance(instance, 1).await.unwrap();
        let security = token(Holder::Instance(ID.to_owned()), 3);
        assert!(store.release_instance(ID, security).await.unwrap());
        (Directory::new(store, TaskGroup::new()), folder)
    }

    #[tokio::test]
    async fn a_second_look_up_needs_no_database() {
        let (directory, _folder) = directory().await;
        let first = directory.find_any(ID).await.unwrap().unwrap();
        let second = directory.find_any(ID).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn a_slow_reader_never_brings_an_old_state_back() {
        let (directory, _folder) = directory().await;
        let changes = directory.recall(ID).unwrap_err();
        let old = directory.store.find_instance(ID).await.unwrap().unwrap();
        let changed = directory.configure(ID, Some("new".to_owned()), Map::new());
        assert_eq!(changed.await.unwrap().name, "new");
        directory.remember(&Arc::new(old), changes);
        assert_eq!(directory.find_any(ID).await.unwrap().unwrap().name, "new");
    }

    #[tokio::test]
    async fn a_change_reaches_the_cache_although_its_caller_is_gone() {
        let (directory, _folder) = directory().await;
        directory.find_any(ID).await.unwrap();
        let mut change = Box::pin(directory.configure(ID, Some("new".to_owned()), Map::new()));
        let begun = std::future::poll_fn(|context| {
            std::task::Poll::Ready(change.as_mut().poll(context).is_pending())
        });
        assert!(begun.await);
        drop(change);
        assert!(
            directory
                .tasks
                .drain(std::time::Duration::from_secs(10))
                .await
        );
        assert_eq!(directory.find_any(ID).await.unwrap().unwrap().name, "new");
    }

    #[tokio::test]
    async fn a_retired_instance_is_not_found() {
        let (directory, _folder) = directory().await;
        assert!(directory.find(Provider::Eds, ID).await.unwrap().is_none());
        assert!(directory.find(Provider::Mws, ID).await.unwrap().is_some());
        assert!(directory.retire(ID).await.unwrap().is_some());
        assert!(directory.find(Provider::Mws, ID).await.unwrap().is_none());
        assert!(directory.configure(ID, None, Map::new()).await.is_err());
    }
}
