//! Apps: backends under the name that the original's account interface had for them.

use pilvi_core::api_key;
use pilvi_model::{AccountId, Error, Instance, Provider, Result};
use pilvi_store::platform::Role;
use serde_json::{Value, json};

use crate::{Caller, InstanceDraft, Platform, Removal};

/// The one environment that every app has.
const ENVIRONMENT: &str = "development";

/// An app as replies show it.
#[derive(Clone, Debug)]
pub(crate) struct App {
    instance: Instance,
    /// What opens it, where the caller may know.
    keys: Vec<String>,
}

impl App {
    pub(super) fn id(&self) -> &str {
        &self.instance.id
    }

    pub(super) fn account(&self) -> AccountId {
        self.instance.account
    }

    /// With the keys of its environment.
    pub(super) fn whole(&self) -> Value {
        let mut shown = self.brief();
        let environment = &mut shown["environments"][0];
        let keys = |keys: &mut dyn Iterator<Item = String>| -> Value {
            keys.map(|key| json!({ "key": key })).collect()
        };
        environment["apiKeys"] = keys(&mut [api_key(&self.instance.id)].into_iter());
        environment["masterKeys"] = keys(&mut self.keys.iter().cloned());
        shown
    }

    /// As lists show it: there, nobody needs the keys of all apps.
    pub(super) fn brief(&self) -> Value {
        let Instance {
            id,
            name,
            account,
            created_at,
            ..
        } = &self.instance;
        let environment = json!({"id": id, "appId": id, "name": ENVIRONMENT});
        json!({"id": id, "name": name, "accountId": account.to_string(), "createdAt": created_at.to_millis_text(),
               "environments": [environment]})
    }
}

impl Platform {
    /// The apps of all accounts that the caller is a member of.
    pub(crate) async fn list_apps(&self, caller: &Caller) -> Result<Vec<App>> {
        let mut apps = Vec::new();
        for account in self.store.list_accounts(caller.person()?).await? {
            let found = self
                .store
                .list_instances(account.id, Some(Provider::Eds))
                .await?;
            apps.extend(found.into_iter().map(|instance| App {
                instance,
                keys: Vec::new(),
            }));
        }
        Ok(apps)
    }

    /// Makes an app. Without a wish for anything else everybody may use it, as every new one of the original.
    pub(crate) async fn create_app(&self, caller: &Caller, name: String) -> Result<App> {
        let account = self.account_for_apps(caller).await?;
        let draft = InstanceDraft {
            name,
            provider: Provider::Eds.as_str().to_owned(),
            ..InstanceDraft::default()
        };
        let instance = self.create_instance(caller, account, draft).await?;
        self.find_app(caller, &instance.id).await
    }

    /// The first account in which the caller may make an instance.
    async fn account_for_apps(&self, caller: &Caller) -> Result<AccountId> {
        let person = caller.person()?;
        for account in self.store.list_accounts(person).await? {
            let role = self.store.find_role(account.id, person).await?;
            if role.is_some_and(Role::may_change) {
                return Ok(account.id);
            }
        }
        Err(Error::forbidden(
            "there is no account in which you may make an app; make one, or ask an owner for the role of a developer",
        ))
    }

    /// An app with its keys, for those who may see them.
    pub(crate) async fn find_app(&self, caller: &Caller, id: &str) -> Result<App> {
        let instance = self.app_instance(caller, id).await?;
        let tokens = self.list_instance_tokens(caller, id).await?;
        let keys = tokens.iter().map(|token| token.secret.expose().to_owned());
        Ok(App {
            keys: keys.collect(),
            instance,
        })
    }

    /// Removes an app with everything in it, at once (`eds.md` §19, 21).
    pub(crate) async fn remove_app(&self, caller: &Caller, id: &str) -> Result<AccountId> {
        self.app_instance(caller, id).await?;
        Ok(self
            .remove_instance(caller, id, Removal::Now)
            .await?
            .account)
    }

    async fn app_instance(&self, caller: &Caller, id: &str) -> Result<Instance> {
        let no_such_app = || Error::not_found("there is no such app");
        match self.get_instance(caller, id).await {
            Ok(instance) if instance.provider == Provider::Eds => Ok(Instance::clone(&instance)),
            Err(error) if error.kind != pilvi_model::Kind::NotFound => Err(error),
            Ok(_) | Err(_) => Err(no_such_app()),
        }
    }
}
