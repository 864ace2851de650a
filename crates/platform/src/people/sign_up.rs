//! Signing up.

use std::net::IpAddr;

use pilvi_base::Secret;
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::{CodePurpose, Person};

use super::mails::{Letter, SIGN_UP_LIFE};
use super::sign_in::attempt;
use super::{Registration, SignInFailure, passwords};
use crate::Platform;
use crate::drafts::Faults;

/// Somebody who wants to become a person. A missing member is an empty one.
#[derive(Clone, Debug)]
pub struct SignUpDraft {
    pub email: String,
    pub name: String,
    pub password: Secret,
}

impl Platform {
    /// Who may sign up here.
    pub fn registration(&self) -> Registration {
        self.settings.registration
    }

    /// Takes a sign-up. What becomes of it is in a mail to the address: a code that finishes it, or, where the address
    /// is somebody's already, a word to them. Who may not sign up here gets none.
    pub async fn sign_up(&self, draft: SignUpDraft, peer: IpAddr) -> Result<(), SignInFailure> {
        if self.registration() == Registration::Closed {
            return Err(registration_is_closed().into());
        }
        let email = draft.email.trim().to_owned();
        let name = draft.name.trim().to_owned();
        let mut faults = Faults::default();
        faults.check_email(&email);
        faults.check_name(&name);
        passwords::check(&draft.password, &email, "password", &mut faults);
        faults.finish()?;
        self.count_mail(&attempt(&email, peer))?;
        // Hashed for every address, so that the time of the answer tells of none.
        let password = self.people.passwords.hash(&draft.password).await?;
        self.in_the_background(move |platform| async move {
            platform.answer_sign_up(email, name, password).await
        });
        Ok(())
    }

    async fn answer_sign_up(&self, email: String, name: String, password: String) -> Result<()> {
        if let Some(person) = self.store.find_person_by_email(email.clone()).await? {
            return self.tell(&person, Letter::SignUpOfKnown).await;
        }
        let is_welcome = match self.registration() {
            Registration::Closed => false,
            Registration::Invited => self.store.has_invitation(email.clone(), self.now()).await?,
            Registration::Open => true,
        };
        if !is_welcome {
            tracing::info!("somebody who is not invited wanted to sign up");
            return Ok(());
        }
        let purpose = CodePurpose::SignUp { name, password };
        self.send_code(&email, purpose, SIGN_UP_LIFE, Letter::SignUp)
            .await
    }

    /// Makes the person of a sign-up, for whoever brings its code and its password.
    pub async fn finish_sign_up(
        &self,
        code: &Secret,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Person, SignInFailure> {
        let digest = code.digest();
        let waiting = self.store.find_sign_up(digest, self.now()).await?;
        let waiting = waiting.ok_or_else(super::mails::worthless)?;
        let attempt = attempt(&waiting.email, peer);
        self.people.logins.check(&attempt)?;
        let turn = self.people.passwords.turn().await?;
        self.people.logins.check(&attempt)?;
        let (right, turn) = turn.verify(password, Some(&waiting.password)).await?;
        if !right {
            self.people.logins.failed(&attempt);
        }
        drop(turn);
        if !right {
            return Err(SignInFailure::Wrong);
        }
        self.people.logins.succeeded(&attempt);
        let made = self
            .store
            .finish_sign_up(digest, PersonId::random(), self.now())
            .await?;
        Ok(made.ok_or_else(super::mails::worthless)?)
    }
}

fn registration_is_closed() -> Error {
    Error::forbidden("nobody can sign up on this server; ask its operator for a login")
}
