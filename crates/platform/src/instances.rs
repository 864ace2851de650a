//! Instances: made and removed together with what their service keeps for them.

use std::sync::Arc;

use pilvi_core::{Provisioner, complete};
use pilvi_model::{AccountId, Error, Instance, Provider, Result};
use pilvi_store::platform::{Account, InstanceChange, Role};
use serde_json::{Map, Value};

use crate::access::no_such_instance;
use crate::drafts::Faults;
use crate::{Caller, InstanceDraft, Platform};

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

    /// Removes an instance and all that its service keeps for it. It is gone for everybody at once; when the rest
    /// fails, its owner can ask again, and the next start finishes it.
    pub async fn remove_instance(&self, caller: &Caller, id: &str) -> Result<()> {
        let account = self.store.find_instance_account(id).await?;
        match account {
            Some(account) if self.can_see(caller, account).await? => {
                self.check_role(Role::Developer, caller, account).await?;
            }
            _ => return Err(no_such_instance()),
        }
        let (platform, id) = (self.clone(), id.to_owned());
        complete(&self.tasks, "remove an instance", async move {
            platform.clear_away(&id).await
        })
        .await
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
        let datacenter = match draft.datacenter {
            Some(asked) => {
                self.check_datacenter("datacenterId", &asked, &mut faults);
                asked
            }
            None => account.datacenter.clone(),
        };
        let offered = self.offered(&draft.provider).and_then(|provisioner| {
            let config = provisioner.initial_config(draft.config)?;
            Ok((provisioner, config))
        });
        let (provisioner, config) = match offered {
            Ok(offered) => offered,
            Err(error) => return Err(faults.and(error)),
        };
        faults.finish()?;
        let created_at = self.now();
        let id = provisioner.new_id(&datacenter);
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
        let found = provider
            .ok()
            .and_then(|provider| self.provisioner(provider));
        found.ok_or_else(|| {
            let offered: Vec<&str> = self.providers().map(Provider::as_str).collect();
            let offered = offered.join(", ");
            Error::invalid(
                PROPERTY,
                format!("is not offered by this server, which offers {offered}"),
            )
        })
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

    async fn clear_away(&self, id: &str) -> Result<()> {
        let retired = self.directory.retire(id).await?;
        let instance = retired.ok_or_else(no_such_instance)?;
        let provisioner = self.provisioner(instance.provider).ok_or_else(|| {
            Error::internal(format!(
                "no service here removes a {} instance",
                instance.provider
            ))
        })?;
        provisioner.remove(&instance).await?;
        self.store.delete_instance(id).await
    }
}
