//! Instances: made and removed together with what their service keeps for them.
//!
//! Deleting one hides it and stops what runs for it; everything it holds stays for a time, in which its owner can have
//! it back as it was. Then, or at once where that is wanted, it is removed for good.

use std::sync::Arc;

use pilvi_core::{Provisioner, complete};
use pilvi_model::{AccountId, BackendId, Error, Instance, Provider, Result, Timestamp};
use pilvi_store::platform::{Account, DeletedInstance, InstanceChange, Revival, Role};
use serde_json::{Map, Value};

use crate::access::no_such_instance;
use crate::drafts::Faults;
use crate::{Caller, InstanceDraft, Platform};

/// How an instance is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It can be restored for as long as the server keeps what was deleted.
    AfterGrace,
    /// For good.
    Now,
}

/// An instance that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub account: AccountId,
    /// It cannot be restored.
    pub is_gone: bool,
}

impl Platform {
    /// Creates an instance and its first security token.
    ///
    /// The row comes first, unseen by everybody; then the service makes what it keeps; then the instance becomes
    /// visible. What breaks off in between is undone at once, or by [`Platform::clear_unfinished`] at the next
    /// start. A client that hangs up does not break it off.
    pub async fn create_instance(
        &self,
        caller: &Caller,
        account: AccountId,
        draft: InstanceDraft,
    ) -> Result<Instance> {
        let account = self
            .get_account_as(Role::Developer, caller, account)
            .await?;
        if draft.id.is_some() {
            self.check_operator(caller).await?;
        }
        let (provisioner, instance) = self.plan_instance(&account, draft)?;
        let platform = self.clone();
        complete(&self.tasks, "create an instance", async move {
            platform.build(provisioner.as_ref(), instance).await
        })
        .await
    }

    /// Changes an instance's name and tags.
    pub async fn change_instance(
        &self,
        caller: &Caller,
        id: &str,
        name: Option<String>,
        tags: Option<Vec<String>>,
    ) -> Result<Arc<Instance>> {
        let instance = self.get_own_instance(caller, id).await?;
        let mut faults = Faults::default();
        if let Some(name) = &name {
            faults.check_name(name);
        }
        if let Some(tags) = &tags {
            faults.check_tags(tags);
        }
        faults.finish()?;
        let change = InstanceChange {
            name,
            tags,
            config: None,
        };
        self.directory.change(&instance.id, change).await
    }

    /// Deletes an instance. It is gone for everybody at once, also where it can be restored; when the rest fails, its
    /// owner can ask again, and the next start finishes it.
    pub async fn remove_instance(
        &self,
        caller: &Caller,
        id: &str,
        how: Removal,
    ) -> Result<Removed> {
        let account = self.check_removable(caller, id).await?;
        let is_gone = how == Removal::Now || self.settings.deleted_instances_kept.is_zero();
        let (platform, id) = (self.clone(), id.to_owned());
        let is_gone = complete(&self.tasks, "delete an instance", async move {
            let _turn = platform.turns.take(&id).await;
            if !is_gone && platform.put_away(&id).await? {
                return Ok(false);
            }
            platform.clear_away(&id).await?;
            Ok(true)
        })
        .await?;
        Ok(Removed { account, is_gone })
    }

    /// Brings a deleted instance back as it was: with its id, its tokens, and everything it holds.
    pub async fn restore_instance(&self, caller: &Caller, id: &str) -> Result<Instance> {
        self.check_removable(caller, id).await?;
        let (platform, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "restore an instance", async move {
            let _turn = platform.turns.take(&id).await;
            platform.bring_back(&id).await
        })
        .await
    }

    /// The account's instances that can be restored.
    pub(crate) async fn list_deleted_instances(
        &self,
        account: AccountId,
        provider: Option<Provider>,
    ) -> Result<Vec<DeletedInstance>> {
        self.store.list_deleted_instances(account, provider).await
    }

    /// Until when what was deleted at this moment can be restored.
    pub(crate) fn removed_at(&self, deleted_at: Timestamp) -> Timestamp {
        deleted_at.plus(self.settings.deleted_instances_kept)
    }

    /// Removes an instance that was deleted until then for good, unless it was brought back meanwhile.
    pub(crate) async fn remove_expired(&self, id: &str, until: Timestamp) -> Result<bool> {
        let (platform, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "remove a deleted instance", async move {
            let _turn = platform.turns.take(&id).await;
            match platform.directory.retire_deleted(&id, until).await? {
                Some(instance) => platform.remove_retired(&instance).await.map(|()| true),
                None => Ok(false),
            }
        })
        .await
    }

    /// The account of an instance that the caller may delete, or had deleted.
    async fn check_removable(&self, caller: &Caller, id: &str) -> Result<AccountId> {
        let account = self.store.find_instance_account(id).await?;
        match account {
            Some(account) if self.can_see(caller, account).await? => {
                self.check_role(Role::Developer, caller, account).await?;
                Ok(account)
            }
            _ => Err(no_such_instance()),
        }
    }

    /// Hides an instance and stops what runs for it. `false`: an earlier removal of it did not come to its end.
    async fn put_away(&self, id: &str) -> Result<bool> {
        let Some(hidden) = self.directory.hide(id, self.now()).await? else {
            return Ok(false);
        };
        let instance = &hidden.instance;
        self.service_of(instance)?.suspend(instance).await?;
        Ok(true)
    }

    async fn bring_back(&self, id: &str) -> Result<Instance> {
        let instance = match self.directory.revive(id).await? {
            Revival::Done(instance) => instance,
            Revival::NotDeleted => {
                return Err(Error::conflict(
                    "this instance is not deleted, so there is nothing to restore",
                ));
            }
            Revival::Gone => return Err(no_such_instance()),
        };
        // It is there again. A service that cannot take it up now does so when it starts the next time.
        if let Err(error) = self.service_of(&instance)?.resume(&instance).await {
            tracing::error!(
                instance = instance.id,
                error = &error as &dyn std::error::Error,
                "what belongs to a restored instance could not be started again"
            );
        }
        Ok(instance)
    }

    /// Clears away instances whose creation or removal was interrupted by the end of an earlier run. To be called
    /// before the first request. An instance that cannot be cleared away is logged and left for the next start.
    pub async fn clear_unfinished(&self) -> Result<()> {
        for (state, instance) in self.store.list_unfinished_instances().await? {
            tracing::info!(
                instance = instance.id,
                ?state,
                "clearing away an unfinished instance"
            );
            if let Err(error) = self.clear_away(&instance.id).await {
                tracing::error!(
                    instance = instance.id,
                    error = &error as &dyn std::error::Error,
                    "an unfinished instance could not be cleared away"
                );
            }
        }
        Ok(())
    }

    /// What the owner of an instance sees of its configuration.
    pub(crate) fn shown_config(&self, instance: &Instance) -> Map<String, Value> {
        match self.provisioner(instance.provider) {
            Some(provisioner) => provisioner.shown_config(instance),
            None => instance.config.clone(),
        }
    }

    fn plan_instance(
        &self,
        account: &Account,
        draft: InstanceDraft,
    ) -> Result<(Arc<dyn Provisioner>, Instance)> {
        let mut faults = Faults::default();
        faults.check_name(&draft.name);
        faults.check_tags(&draft.tags);
        let asked_provider = Self::asked_provider(&draft).to_owned();
        let datacenter = match draft.datacenter {
            Some(asked) => {
                self.check_datacenter("datacenterId", &asked, &mut faults);
                asked
            }
            None => account.datacenter.clone(),
        };
        let offered = self.offered(&asked_provider).and_then(|provisioner| {
            let config = provisioner.initial_config(draft.config)?;
            Ok((provisioner, config))
        });
        let (provisioner, config) = match offered {
            Ok(offered) => offered,
            Err(error) => return Err(faults.and(error)),
        };
        if let Some(id) = &draft.id {
            check_chosen_id(provisioner.provider(), id, &mut faults);
        }
        faults.finish()?;
        let created_at = self.now();
        let id = draft.id.or_else(|| provisioner.new_id(&datacenter));
        let instance = Instance {
            id: id.unwrap_or_else(|| self.ids.next(created_at).to_string()),
            provider: provisioner.provider(),
            account: account.id,
            name: draft.name,
            tags: draft.tags,
            config,
            datacenter,
            created_at,
        };
        Ok((provisioner, instance))
    }

    /// The service that a request asks for by name.
    fn offered(&self, asked: &str) -> Result<Arc<dyn Provisioner>> {
        const PROPERTY: &str = "serviceProviderId";
        if asked.is_empty() {
            return Err(Error::invalid(PROPERTY, "is required"));
        }
        let provider = asked.to_ascii_lowercase().parse::<Provider>();
        let known = provider.ok();
        if let Some(found) = known.and_then(|provider| self.provisioner(provider)) {
            return Ok(found);
        }
        let offered: Vec<&str> = self.providers().map(Provider::as_str).collect();
        let offered = offered.join(", ");
        Err(Error::invalid(
            PROPERTY,
            match known {
                Some(Provider::Mdb) => format!(
                    "asks for a managed database, which this server does not offer yet; it offers {offered}"
                ),
                Some(_) | None => {
                    format!("is not offered by this server, which offers {offered}")
                }
            },
        ))
    }

    /// What to ask for: a database may also be asked for as an app whose type is `service_container`, as the npm
    /// client does (`platform.md` §6.1).
    fn asked_provider(draft: &InstanceDraft) -> &str {
        let provider = draft.provider.as_str();
        let is_database = provider.eq_ignore_ascii_case(Provider::Mar.as_str())
            && draft.config.get("runtimeType") == Some(&Value::from("service_container"));
        match is_database {
            true => Provider::Mdb.as_str(),
            false => provider,
        }
    }

    async fn build(&self, provisioner: &dyn Provisioner, instance: Instance) -> Result<Instance> {
        let instances_max = self.settings.limits.instances_per_account;
        self.store
            .insert_instance(instance.clone(), instances_max)
            .await?;
        let built = match provisioner.create(&instance).await {
            Ok(()) => {
                let token = self.new_instance_token(&instance.id);
                self.store.release_instance(&instance.id, token).await
            }
            Err(error) => Err(error),
        };
        match built {
            Ok(true) => Ok(instance),
            Ok(false) => Err(Error::internal(
                "a new instance was gone before it was ready",
            )),
            Err(error) => {
                // The caller is told why it was not created; why it could not be undone is for the log.
                if let Err(undo) = self.clear_away(&instance.id).await {
                    tracing::error!(
                        instance = instance.id,
                        error = &undo as &dyn std::error::Error,
                        "an instance that could not be created waits for the next start to be cleared away"
                    );
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn clear_away(&self, id: &str) -> Result<()> {
        let retired = self.directory.retire(id).await?;
        self.remove_retired(&retired.ok_or_else(no_such_instance)?)
            .await
    }

    async fn remove_retired(&self, instance: &Instance) -> Result<()> {
        self.service_of(instance)?.remove(instance).await?;
        self.store.delete_instance(&instance.id).await
    }

    pub(crate) fn service_of(&self, instance: &Instance) -> Result<Arc<dyn Provisioner>> {
        self.provisioner(instance.provider).ok_or_else(|| {
            Error::internal(format!(
                "no service here looks after a {} instance",
                instance.provider
            ))
        })
    }
}

/// Only backends have ids that programs carry in their code.
fn check_chosen_id(provider: Provider, id: &str, faults: &mut Faults) {
    if provider != Provider::Eds {
        faults.add("id", "can only be chosen for an EDS backend; leave it out");
    } else if id.parse::<BackendId>().is_err() {
        faults.add("id", "must be 24 lower-case hex characters");
    }
}
