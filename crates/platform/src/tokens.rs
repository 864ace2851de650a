//! The three kinds of token (`platform.md` §3).
//!
//! A personal access token is random and shown once. Account and instance tokens must be shown again and again,
//! because old clients read them from a list before every call; they are derived from the server's key, so that
//! the database alone gives none away. Each begins with a word that says what it is: nobody takes one for a number,
//! and a scanner for leaked secrets finds it.

use std::sync::Arc;

use pilvi_base::secret::{random_bytes, random_hex};
use pilvi_base::{Keyring, Secret};
use pilvi_model::{AccountId, Error, Instance, PersonId, Result, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{Holder, NewToken, Role, Token};

use crate::access::no_such_account;
use crate::drafts::Faults;
use crate::{Caller, Platform};

/// A token together with its value.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    pub record: Token,
    pub secret: Secret,
}

/// A wished-for personal access token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenDraft {
    /// What its owner calls it.
    pub name: Option<String>,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// What a derived token is for, and thereby what it is derived from beside its generation.
pub(crate) struct Derivation {
    holder: Holder,
    prefix: &'static str,
    purpose: String,
}

impl Derivation {
    fn of_member(account: AccountId, person: PersonId) -> Self {
        Self {
            holder: Holder::Member { account, person },
            prefix: "pilvi_acc_",
            purpose: format!("account {account} {person}"),
        }
    }

    pub(crate) fn of_instance(id: &str) -> Self {
        Self {
            holder: Holder::Instance(id.to_owned()),
            prefix: "pilvi_ins_",
            purpose: format!("instance {id}"),
        }
    }
}

impl Platform {
    /// Makes a personal access token, whose value is never seen again.
    pub async fn create_person_token(
        &self,
        person: PersonId,
        draft: TokenDraft,
    ) -> Result<IssuedToken> {
        let mut faults = Faults::default();
        if let Some(name) = &draft.name {
            faults.check_name(name);
        }
        if draft.expires_at.is_some_and(|end| end <= self.now()) {
            faults.add("expiresAt", "must be in the future");
        }
        faults.finish()?;
        let (token, secret) = self.new_person_token(person, draft.name, draft.expires_at);
        let record = self.insert_token(token).await?;
        Ok(IssuedToken { record, secret })
    }

    /// Deletes a personal access token, which is refused from now on.
    pub async fn remove_person_token(&self, person: PersonId, id: i64) -> Result<()> {
        self.remove_token(Holder::Person(person), id).await
    }

    /// The member's own account token. Clients ask for it before every call to a service, so it costs one look-up
    /// beyond that of the caller.
    pub async fn find_account_token(
        &self,
        caller: &Caller,
        account: AccountId,
    ) -> Result<Option<IssuedToken>> {
        let person = Self::member(caller, account)?;
        let token = self.store.find_member_token(account, person).await?;
        let derivation = Derivation::of_member(account, person);
        Ok(token.map(|record| self.reveal(&derivation, record)))
    }

    /// The member's account token, made when there is none. The `bool` says whether it is new.
    pub async fn create_account_token(
        &self,
        caller: &Caller,
        account: AccountId,
    ) -> Result<(IssuedToken, bool)> {
        let person = Self::member(caller, account)?;
        let derivation = Derivation::of_member(account, person);
        let token = self.new_derived_token(&derivation);
        let (record, new) = self
            .store
            .insert_member_token(account, person, token)
            .await?;
        Ok((self.reveal(&derivation, record), new))
    }

    /// Deletes the member's account token. Clients that find none ask for a new one, which differs.
    pub async fn remove_account_token(
        &self,
        caller: &Caller,
        account: AccountId,
        id: i64,
    ) -> Result<()> {
        self.get_account_as(Role::Viewer, caller, account).await?;
        let person = caller.person()?;
        self.remove_token(Holder::Member { account, person }, id)
            .await
    }

    /// The security tokens of an instance, oldest first.
    pub async fn list_instance_tokens(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Vec<IssuedToken>> {
        let instance = self.get_own_instance(caller, id).await?;
        let derivation = Derivation::of_instance(&instance.id);
        let tokens = self.store.list_tokens(derivation.holder.clone()).await?;
        let revealed = tokens
            .into_iter()
            .map(|record| self.reveal(&derivation, record));
        Ok(revealed.collect())
    }

    /// Adds a security token to an instance.
    pub async fn create_instance_token(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(Arc<Instance>, IssuedToken)> {
        let instance = self.get_own_instance(caller, id).await?;
        let derivation = Derivation::of_instance(&instance.id);
        let record = self
            .insert_token(self.new_derived_token(&derivation))
            .await?;
        Ok((instance, self.reveal(&derivation, record)))
    }

    /// Deletes a security token of an instance.
    pub async fn remove_instance_token(
        &self,
        caller: &Caller,
        id: &str,
        token: i64,
    ) -> Result<Arc<Instance>> {
        let instance = self.get_own_instance(caller, id).await?;
        self.remove_token(Holder::Instance(instance.id.clone()), token)
            .await?;
        Ok(instance)
    }

    pub(crate) fn new_person_token(
        &self,
        person: PersonId,
        name: Option<String>,
        expires_at: Option<Timestamp>,
    ) -> (NewToken, Secret) {
        let secret = Secret::new(format!("pilvi_pat_{}", random_hex::<20>()));
        let token = NewToken {
            holder: Holder::Person(person),
            digest: secret.digest(),
            generation: 0,
            name,
            created_at: self.now(),
            expires_at,
        };
        (token, secret)
    }

    pub(crate) fn new_member_token(&self, account: AccountId, person: PersonId) -> NewToken {
        self.new_derived_token(&Derivation::of_member(account, person))
    }

    pub(crate) fn new_instance_token(&self, id: &str) -> NewToken {
        self.new_derived_token(&Derivation::of_instance(id))
    }

    fn new_derived_token(&self, derivation: &Derivation) -> NewToken {
        // Drawn at random, so that a deleted token never comes back.
        let generation = i64::from_be_bytes(random_bytes::<8>());
        self.derived_token(derivation, generation)
    }

    pub(crate) fn derived_token(&self, derivation: &Derivation, generation: i64) -> NewToken {
        NewToken {
            holder: derivation.holder.clone(),
            digest: self.derive(derivation, generation).digest(),
            generation,
            name: None,
            created_at: self.now(),
            expires_at: None,
        }
    }

    async fn insert_token(&self, token: NewToken) -> Result<Token> {
        let tokens_max = self.settings.limits.tokens_per_holder;
        self.store.insert_token(token, tokens_max).await
    }

    async fn remove_token(&self, holder: Holder, id: i64) -> Result<()> {
        match self.store.delete_token(holder, id).await? {
            true => Ok(()),
            false => Err(Error::not_found("there is no such token")),
        }
    }

    /// The person behind the call, whom the store then looks for among the members.
    fn member(caller: &Caller, account: AccountId) -> Result<PersonId> {
        match caller {
            Caller::Account(own) if *own != account => Err(no_such_account()),
            _ => caller.person(),
        }
    }

    fn reveal(&self, derivation: &Derivation, record: Token) -> IssuedToken {
        let secret = self.derive(derivation, record.generation);
        IssuedToken { record, secret }
    }

    fn derive(&self, derivation: &Derivation, generation: i64) -> Secret {
        derive(&self.keyring, derivation, generation)
    }
}

fn derive(keyring: &Keyring, derivation: &Derivation, generation: i64) -> Secret {
    let purpose = format!("{} {generation}", derivation.purpose);
    let tail = keyring.derive_token(&purpose);
    Secret::new(format!("{}{}", derivation.prefix, tail.expose()))
}

/// Makes every account token and security token the one that the newest key gives; the old ones open nothing from now
/// on. Returns how many changed.
pub async fn renew_derived_tokens(store: &Store, keyring: &Keyring) -> Result<u64> {
    let keyring = keyring.clone();
    store
        .rederive_tokens(move |holder, generation| {
            let derivation = match holder {
                Holder::Member { account, person } => Derivation::of_member(*account, *person),
                Holder::Instance(id) => Derivation::of_instance(id),
                // The store asks for none of these: they are random.
                Holder::Person(_) => return [0; 32],
            };
            derive(&keyring, &derivation, generation).digest()
        })
        .await
}
