//! Who holds a token: the one answer for all services.
//!
//! Nothing is cached here. The store finds a token by its digest, and remembers it only while nothing was written
//! since: a deleted token is refused from the very next request on.

use pilvi_base::Secret;
use pilvi_model::{AccountId, Instance, PersonId, Result};
use pilvi_store::Store;
use pilvi_store::platform::Holder;

/// Knows tokens. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Identity {
    store: Store,
}

/// Whom a token makes its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The bearer of a personal access token.
    Person(PersonId),
    /// The bearer of an account token: all rights on the account's instances.
    Account(AccountId),
    /// The bearer of an instance's security token.
    Instance { id: String },
}

impl Identity {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Who holds this token; `None`: nobody.
    pub async fn authenticate(&self, token: &Secret) -> Result<Option<Principal>> {
        // Old clients send `Bearer` with nothing behind it when they have no token (`platform.md` §3).
        if token.expose().is_empty() {
            return Ok(None);
        }
        let holder = self.store.find_token_holder(token.digest()).await?;
        Ok(holder.map(|holder| match holder {
            Holder::Person(person) => Principal::Person(person),
            Holder::Member { account, .. } => Principal::Account(account),
            Holder::Instance(id) => Principal::Instance { id },
        }))
    }

    /// Whether the token is a security token of this instance, or an account token of its account.
    pub async fn administers(&self, token: &Secret, instance: &Instance) -> Result<bool> {
        Ok(match self.authenticate(token).await? {
            Some(Principal::Instance { id }) => id == instance.id,
            Some(Principal::Account(account)) => account == instance.account,
            Some(Principal::Person(_)) | None => false,
        })
    }
}
