//! Who may do what.
//!
//! | bearer of | its own account and instances | everything else |
//! | --- | --- | --- |
//! | a personal access token | all, in every account the person is a member of | not found |
//! | an account token | reading | not found, or forbidden where no id is named |
//! | an instance's security token | forbidden | forbidden |
//!
//! An id that belongs to somebody else is answered like one that does not exist, so that nobody learns of it.

use std::sync::Arc;

use pilvi_base::Secret;
use pilvi_core::Principal;
use pilvi_model::{AccountId, Error, Instance, PersonId, Result};
use pilvi_store::platform::Account;

use crate::Platform;

/// Whoever may call the platform at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Person(PersonId),
    /// The bearer of an account token, who reads.
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
            Some(Principal::Account(account)) => Ok(Caller::Account(account)),
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

    /// The account, if the caller may change it.
    pub(crate) async fn get_own_account(&self, caller: &Caller, id: AccountId) -> Result<Account> {
        let account = self.get_account(caller, id).await?;
        caller.person()?;
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
        caller.person()?;
        Ok(instance)
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
