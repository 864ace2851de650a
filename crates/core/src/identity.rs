//! Who holds a token: the one answer for all services.
//!
//! Nothing is cached here. The store finds a token by its digest, and remembers it only while nothing was written
//! since: a deleted token is refused from the very next request on.

use pilvi_base::{Clock, Secret};
use pilvi_model::{AccountId, Error, Instance, PersonId, Result};
use pilvi_store::Store;
use pilvi_store::platform::{Holder, Role};

/// Knows tokens. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Identity {
    store: Store,
    clock: Clock,
}

/// Whom a token makes its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The bearer of a personal access token.
    Person(PersonId),
    /// The bearer of an account token: what its member's role allows on the account's instances.
    Account { id: AccountId, person: PersonId },
    /// The bearer of an instance's security token.
    Instance { id: String },
}

impl Identity {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            clock: Clock::system(),
        }
    }

    /// Tells by this clock whether the time of a token is over.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Who holds this token; `None`: nobody.
    pub async fn authenticate(&self, token: &Secret) -> Result<Option<Principal>> {
        // Old clients send `Bearer` with nothing behind it when they have no token (`platform.md` §3).
        if token.expose().is_empty() {
            return Ok(None);
        }
        let holder = self
            .store
            .find_token_holder(token.digest(), self.clock.now().into())
            .await?;
        Ok(holder.map(|holder| match holder {
            Holder::Person(person) => Principal::Person(person),
            Holder::Member { account, person } => Principal::Account {
                id: account,
                person,
            },
            Holder::Instance(id) => Principal::Instance { id },
        }))
    }

    /// What the bearer of a token may do with an instance; `None`: it does not exist for them.
    pub async fn role(&self, who: &Principal, instance: &Instance) -> Result<Option<Role>> {
        match who {
            Principal::Person(person) => self.store.find_role(instance.account, *person).await,
            Principal::Account { id, person } if *id == instance.account => {
                self.store.find_role(*id, *person).await
            }
            Principal::Instance { id } if *id == instance.id => Ok(Some(Role::Owner)),
            Principal::Account { .. } | Principal::Instance { .. } => Ok(None),
        }
    }

    /// Whether the token is a security token of this instance, or an account token of its account that belongs to
    /// somebody who may change instances.
    pub async fn administers(&self, token: &Secret, instance: &Instance) -> Result<bool> {
        Ok(match self.authenticate(token).await? {
            Some(Principal::Person(_)) | None => false,
            Some(who) => {
                let role = self.role(&who, instance).await?;
                role.is_some_and(Role::may_change)
            }
        })
    }
}

/// What somebody hears whose role in the account is not enough.
pub fn role_too_low(needed: Role) -> Error {
    Error::forbidden(match needed {
        Role::Owner => {
            "only an owner of the account may do this; ask one to do it or to give you that role"
        }
        Role::Developer | Role::Viewer => {
            "your role in this account is that of a viewer, who may look at things but not change them, and not read \
             secrets; ask an owner of the account for the role of a developer"
        }
    })
}
