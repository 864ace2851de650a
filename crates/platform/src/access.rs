//! Who may do what.
//!
//! | bearer of | its own account and instances | everything else |
//! | --- | --- | --- |
//! | a personal access token | what the role allows, in every account the person is a member of | not found |
//! | an account token | reading | not found, or forbidden where no id is named |
//! | an instance's security token | forbidden | forbidden |
//!
//! An owner may all. A developer may all but delete the account. A viewer reads, but no security token of an instance
//! (`design.md` §8), and has an account token of their own, which opens no more than they may.
//!
//! An operator (`design.md` §8) looks after the server: quotas, copies, its log. That lets nobody into accounts: to
//! see into one, an operator must be a member of it, as everybody else.
//!
//! An id that belongs to somebody else is answered like one that does not exist, so that nobody learns of it.

use std::sync::Arc;

use pilvi_base::Secret;
use pilvi_core::{Actor, Principal, role_too_low};
use pilvi_model::{AccountId, Error, Instance, PersonId, Result};
use pilvi_store::platform::{Account, Role};

use crate::Platform;

/// Whoever may call the platform at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Person(PersonId),
    /// The bearer of an account token, who reads, as every role may.
    Account(AccountId),
}

impl Caller {
    /// The person, for everything that an account token is not enough for.
    pub fn person(&self) -> Result<PersonId> {
        match self {
            Self::Person(person) => Ok(*person),
            Self::Account(_) => Err(Error::forbidden(
                "an account token may only read its account and instances; use a personal access token",
            )),
        }
    }
}

impl Caller {
    /// Who the audit log says it was.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Person(person) => Actor::Person(*person),
            // Whose account token it is, nothing that it may do depends on; none of that changes anything either.
            Self::Account(_) => Actor::Nobody,
        }
    }
}

pub(crate) fn no_such_account() -> Error {
    Error::not_found("there is no such account")
}

pub(crate) fn no_such_instance() -> Error {
    Error::not_found("there is no such instance")
}

impl Platform {
    /// Who calls.
    pub(crate) async fn caller(&self, token: Option<Secret>) -> Result<Caller> {
        let token = token.ok_or_else(|| {
            Error::unauthenticated("the header `Authorization: Bearer TOKEN` is required")
        })?;
        match self.identity.authenticate(&token).await? {
            Some(Principal::Person(person)) => Ok(Caller::Person(person)),
            Some(Principal::Account { id, .. }) => Ok(Caller::Account(id)),
            Some(Principal::Instance { .. }) => Err(Error::forbidden(
                "this is the security token of an instance; use a personal access token",
            )),
            None => Err(Error::unauthenticated("the token is not known")),
        }
    }

    /// The account, if the caller may know of it.
    pub(crate) async fn get_account(&self, caller: &Caller, id: AccountId) -> Result<Account> {
        let found = match caller {
            Caller::Person(person) => self.store.find_account_of(*person, id).await?,
            Caller::Account(own) if *own == id => self.store.find_account(id).await?,
            Caller::Account(_) => None,
        };
        found.ok_or_else(no_such_account)
    }

    /// What the person who calls is in the account; nothing for a token of the account itself.
    pub(crate) async fn role_of(
        &self,
        caller: &Caller,
        account: AccountId,
    ) -> Result<Option<Role>> {
        match caller {
            Caller::Person(person) => self.store.find_role(account, *person).await,
            Caller::Account(_) => Ok(None),
        }
    }

    /// The account, if the caller is at least a `needed` in it.
    pub(crate) async fn get_account_as(
        &self,
        needed: Role,
        caller: &Caller,
        id: AccountId,
    ) -> Result<Account> {
        let account = self.get_account(caller, id).await?;
        self.check_role(needed, caller, id).await?;
        Ok(account)
    }

    /// The instance, if the caller may know of it.
    pub(crate) async fn get_instance(&self, caller: &Caller, id: &str) -> Result<Arc<Instance>> {
        match self.directory.find_any(id).await? {
            Some(instance) if self.can_see(caller, instance.account).await? => Ok(instance),
            _ => Err(no_such_instance()),
        }
    }

    /// The instance, if the caller may change it.
    pub(crate) async fn get_own_instance(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Arc<Instance>> {
        let instance = self.get_instance(caller, id).await?;
        self.check_role(Role::Developer, caller, instance.account)
            .await?;
        Ok(instance)
    }

    /// Refuses a caller who sees the account and is less than `needed` in it.
    pub(crate) async fn check_role(
        &self,
        needed: Role,
        caller: &Caller,
        account: AccountId,
    ) -> Result<()> {
        let role = self.store.find_role(account, caller.person()?).await?;
        let role = role.ok_or_else(no_such_account)?;
        let is_enough = match needed {
            Role::Viewer => true,
            Role::Developer => role.may_change(),
            Role::Owner => role == Role::Owner,
        };
        match is_enough {
            true => Ok(()),
            false => Err(role_too_low(needed)),
        }
    }

    /// Refuses everybody who does not look after the whole server.
    pub async fn check_operator(&self, caller: &Caller) -> Result<()> {
        match self.store.is_operator(caller.person()?).await? {
            true => Ok(()),
            false => Err(Error::forbidden(
                "only an operator of this server may do this; ask one, or have them make you one",
            )),
        }
    }

    pub(crate) async fn can_see(&self, caller: &Caller, account: AccountId) -> Result<bool> {
        match caller {
            Caller::Person(person) => {
                let found = self.store.find_account_of(*person, account).await?;
                Ok(found.is_some())
            }
            Caller::Account(own) => Ok(*own == account),
        }
    }
}
