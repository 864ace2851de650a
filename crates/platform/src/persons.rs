//! Persons, and the first of them: somebody must be there before anybody can sign in.

use pilvi_base::Secret;
use pilvi_model::{AccountId, PersonId, Result};
use pilvi_store::platform::{FirstRecords, Person};

use crate::drafts::Faults;
use crate::{AccountDraft, Platform};

/// The operator's way in, to be shown once.
#[derive(Clone, Debug)]
pub struct FirstStart {
    pub person: PersonId,
    pub account: AccountId,
    /// A personal access token; it cannot be shown again.
    pub token: Secret,
}

impl Platform {
    /// Adds a person, who has no account and no token yet.
    pub async fn create_person(&self, email: String, name: String) -> Result<PersonId> {
        let mut faults = Faults::default();
        faults.check_email(&email);
        faults.check_name(&name);
        faults.finish()?;
        let person = self.new_person(email, name);
        let id = person.id;
        self.store.insert_person(person).await?;
        Ok(id)
    }

    /// Makes the operator, an account and a personal access token, all or nothing. `None`: this server has persons
    /// already.
    pub async fn bootstrap(&self) -> Result<Option<FirstStart>> {
        let person = self.new_person("operator@localhost".to_owned(), "Operator".to_owned());
        let account = self.plan_account(AccountDraft {
            name: "My Cloud".to_owned(),
            ..AccountDraft::default()
        })?;
        let name = Some("First start".to_owned());
        let (person_token, token) = self.new_person_token(person.id, name, None);
        let first_start = FirstStart {
            person: person.id,
            account: account.id,
            token,
        };
        let records = FirstRecords {
            account_token: self.new_member_token(account.id, person.id),
            person,
            person_token,
            account,
        };
        let written = self.store.insert_first_records(records).await?;
        Ok(written.then_some(first_start))
    }

    /// The operator's account: the one that the first start made, as long as it is there.
    pub async fn operator_account(&self) -> Result<Option<AccountId>> {
        Ok(self
            .store
            .find_oldest_account()
            .await?
            .map(|account| account.id))
    }

    fn new_person(&self, email: String, name: String) -> Person {
        Person::new(PersonId::random(), email, name, self.now())
    }
}
