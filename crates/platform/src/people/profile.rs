//! What a person may change of themselves, and see of what is theirs.

use std::net::IpAddr;

use pilvi_base::Secret;
use pilvi_core::{Act, Actor};
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::{Account, CodePurpose, Holder, Person, Role, SshKey, Token};

use super::mails::{EMAIL_LIFE, Letter, worthless};
use super::sign_in::attempt;
use super::{SignInFailure, sessions};
use crate::Platform;
use crate::drafts::Faults;

/// What is to be different; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct PersonChange {
    pub name: Option<String>,
    pub email: Option<String>,
    /// Who has a password must know it to have another address: whoever reads their mail can get another password.
    pub current: Option<Secret>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal {
    pub person: Person,
    /// An address that becomes theirs once they bring the code that was sent to it.
    pub awaited_email: Option<String>,
}

/// Ended tokens are shown for so long.
const ENDED_TOKENS_KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

impl Platform {
    /// The person, who may have been deleted since they were known.
    pub async fn get_person(&self, id: PersonId) -> Result<Person> {
        let found = self.store.find_person(id).await?;
        found.ok_or_else(|| Error::not_found("there is no such person"))
    }

    /// Writes an act down that is done, for whoever carries one out outside of this crate.
    pub async fn note(&self, act: Act) {
        self.audit.note(act).await;
    }

    /// Writes down what a person did about what is theirs.
    pub async fn note_person(
        &self,
        person: PersonId,
        event: &'static str,
        subject: impl ToString,
        peer: IpAddr,
    ) {
        let mut act = Act::new(Actor::Person(person), event, subject);
        act.peer = Some(peer.to_canonical());
        self.audit.note(act).await;
    }

    /// Changes name and address. An address must be proven before it is theirs; only an operator, who made the server,
    /// has it at once.
    pub async fn change_person(
        &self,
        id: PersonId,
        change: PersonChange,
        peer: IpAddr,
    ) -> Result<Renewal, SignInFailure> {
        let person = self.get_person(id).await?;
        let trimmed = |text: Option<String>| text.map(|text| text.trim().to_owned());
        let (name, email) = (trimmed(change.name), trimmed(change.email));
        let mut faults = Faults::default();
        if let Some(name) = &name {
            faults.check_name(name);
        }
        if let Some(email) = &email {
            faults.check_email(email);
        }
        faults.finish()?;
        let email = email.filter(|email| *email != person.email || !person.verified);
        let is_another = |email: &String| !email.eq_ignore_ascii_case(&person.email);
        if email.as_ref().is_some_and(is_another) {
            self.check_current(&person, change.current.as_ref(), "e-mail address", peer)
                .await?;
        }
        if let Some(name) = name.filter(|name| *name != person.name) {
            self.store.rename_person(id, name).await?;
        }
        let awaited_email = match email {
            None => None,
            Some(email) => {
                self.count_mail(&attempt(&email, peer))?;
                if person.operator {
                    self.store.set_unproven_email(id, email.clone()).await?;
                    self.tell_email_changed(&person, &email).await?;
                }
                self.prove_email(&person, email.clone());
                Some(email)
            }
        };
        Ok(Renewal {
            person: self.get_person(id).await?,
            awaited_email,
        })
    }

    fn prove_email(&self, person: &Person, email: String) {
        let (id, login) = (person.id, person.email.clone());
        self.in_the_background(move |platform| async move {
            let holder = platform.store.find_person_by_email(email.clone()).await?;
            if let Some(holder) = holder.filter(|holder| holder.id != id) {
                return platform.tell(&holder, Letter::SignUpOfKnown).await;
            }
            let purpose = CodePurpose::Email(id);
            platform
                .send_code(&email, purpose, EMAIL_LIFE, Letter::Email { login })
                .await
        });
    }

    /// Whose address a code proves, and which; `None`: it is no such code.
    pub async fn find_email_code(&self, code: &Secret) -> Result<Option<(Person, String)>> {
        self.store.find_email_code(code.digest(), self.now()).await
    }

    /// Gives a person the address that the code went to. Only they may: otherwise somebody could name a stranger's
    /// address as theirs, and have it as soon as the stranger follows the link in the mail.
    pub async fn confirm_email(&self, person: PersonId, code: &Secret) -> Result<String> {
        let done = self
            .store
            .confirm_email(person, code.digest(), self.now())
            .await?;
        let (before, email) = done.ok_or_else(worthless)?;
        self.tell_email_changed(&before, &email).await?;
        Ok(email)
    }

    /// Who had a proven address is told there that it is theirs no more.
    async fn tell_email_changed(&self, before: &Person, email: &str) -> Result<()> {
        if !before.verified || before.email.eq_ignore_ascii_case(email) {
            return Ok(());
        }
        let email = email.to_owned();
        self.tell(before, Letter::EmailChanged { email }).await
    }

    /// The accounts that the person is a member of, and as what.
    pub async fn list_memberships(&self, person: PersonId) -> Result<Vec<(Account, Role)>> {
        let mut memberships = Vec::new();
        for account in self.store.list_accounts(person).await? {
            if let Some(role) = self.store.find_role(account.id, person).await? {
                memberships.push((account, role));
            }
        }
        Ok(memberships)
    }

    /// The person's personal access tokens, oldest first, without their values.
    pub async fn list_person_tokens(&self, person: PersonId) -> Result<Vec<Token>> {
        self.store.list_tokens(Holder::Person(person)).await
    }

    /// The person's ssh keys, oldest first.
    pub async fn list_ssh_keys(&self, person: PersonId) -> Result<Vec<SshKey>> {
        self.store.list_ssh_keys(person).await
    }

    /// Forgets sessions, codes and tokens whose time is over. Meant to be called now and then.
    pub async fn clear_ended(&self) -> Result<()> {
        let now = self.now();
        self.store
            .delete_ended_sessions(sessions::LIFE, now)
            .await?;
        self.store.delete_ended_codes(now).await?;
        let millis = u64::try_from(ENDED_TOKENS_KEPT.as_millis()).unwrap_or(u64::MAX);
        let before = pilvi_model::Timestamp::from_millis(now.as_millis().saturating_sub(millis));
        self.store.delete_ended_tokens(before).await?;
        Ok(())
    }
}
