//! Accounts: what clients call clouds.

use pilvi_model::{AccountId, PersonId, Result};
use pilvi_store::platform::{Account, Role};

use crate::access::no_such_account;
use crate::drafts::Faults;
use crate::{AccountDraft, Caller, Platform};

impl Platform {
    /// Creates an account with its owner as the first member and with the owner's account token, which clients
    /// ask for before anything else.
    pub async fn create_account(&self, owner: PersonId, draft: AccountDraft) -> Result<Account> {
        let account = self.plan_account(draft)?;
        let token = self.new_member_token(account.id, owner);
        let accounts_max = self.settings.limits.accounts_per_person;
        self.store
            .insert_account(account.clone(), owner, token, accounts_max)
            .await?;
        Ok(account)
    }

    /// Gives an account another name.
    pub async fn rename_account(
        &self,
        caller: &Caller,
        id: AccountId,
        name: String,
    ) -> Result<Account> {
        self.get_account_as(Role::Owner, caller, id).await?;
        let mut faults = Faults::default();
        faults.check_name(&name);
        faults.finish()?;
        let renamed = self.store.rename_account(id, name).await?;
        renamed.ok_or_else(no_such_account)
    }

    /// Deletes an account, which must be empty.
    pub async fn remove_account(&self, caller: &Caller, id: AccountId) -> Result<()> {
        self.get_account_as(Role::Owner, caller, id).await?;
        match self.store.delete_account(id).await? {
            true => Ok(()),
            false => Err(no_such_account()),
        }
    }

    pub(crate) fn plan_account(&self, draft: AccountDraft) -> Result<Account> {
        let mut faults = Faults::default();
        faults.check_name(&draft.name);
        let datacenter = match draft.datacenter {
            Some(asked) => {
                self.check_datacenter("datacenter", &asked, &mut faults);
                asked
            }
            None => self.settings.datacenter.id().to_owned(),
        };
        faults.finish()?;
        Ok(Account {
            id: AccountId::random(),
            name: draft.name,
            datacenter,
            vpc: draft.vpc,
            created_at: self.now(),
        })
    }

    pub(crate) fn check_datacenter(&self, property: &str, asked: &str, faults: &mut Faults) {
        let known: Vec<&str> = self
            .settings
            .datacenters()
            .map(|known| known.id())
            .collect();
        if !known.contains(&asked) {
            faults.add(
                property,
                format!(
                    "is not a datacenter of this server, which has {}",
                    known.join(", ")
                ),
            );
        }
    }
}
