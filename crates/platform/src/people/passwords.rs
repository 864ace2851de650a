//! Changing a password, and getting a new one by mail when the old one is forgotten.

use std::net::IpAddr;

use pilvi_base::Secret;
use pilvi_core::passwords::BYTES_MAX;
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::{CodePurpose, Person};

use super::SignInFailure;
use super::mails::{Letter, PASSWORD_LIFE, worthless};
use super::sign_in::attempt;
use crate::Platform;
use crate::drafts::Faults;

/// Shorter ones are guessed.
pub(crate) const CHARS_MIN: usize = 10;

/// Refuses a new password that protects nobody.
pub(super) fn check(password: &Secret, email: &str, property: &str, faults: &mut Faults) {
    let text = password.expose();
    let mut letters = text.chars();
    let first = letters.next();
    if text.chars().count() < CHARS_MIN {
        faults.add(
            property,
            format!("must have at least {CHARS_MIN} characters"),
        );
    } else if text.len() > BYTES_MAX {
        faults.add(
            property,
            format!("must not have more than {BYTES_MAX} bytes"),
        );
    } else if letters.all(|letter| Some(letter) == first) {
        faults.add(property, "is one character over and over; choose another");
    } else if !email.is_empty() && text.eq_ignore_ascii_case(email) {
        faults.add(property, "is the e-mail address; choose another");
    }
}

impl Platform {
    /// Sets a password. Who has one already must know it. All sessions end but `kept`.
    pub async fn change_password(
        &self,
        person: &Person,
        current: Option<&Secret>,
        new: &Secret,
        kept: Option<i64>,
        peer: IpAddr,
    ) -> Result<(), SignInFailure> {
        let mut faults = Faults::default();
        check(new, &person.email, "password", &mut faults);
        faults.finish()?;
        let known = self.check_current(person, current, "password", peer);
        let old = known.await?;
        let hash = self.people.passwords.hash(new).await?;
        match self
            .store
            .change_password(person.id, old, hash, kept)
            .await?
        {
            true => {
                if person.verified {
                    self.tell(person, Letter::PasswordSet).await?;
                }
                Ok(())
            }
            false => Err(Error::conflict(
                "the password was changed by somebody else in the same moment; try again",
            )
            .into()),
        }
    }

    /// Lets through who knows the person's present password, and who has none. `wanted` is what they want another one
    /// of. Returns the password as it is kept.
    pub(super) async fn check_current(
        &self,
        person: &Person,
        current: Option<&Secret>,
        wanted: &str,
        peer: IpAddr,
    ) -> Result<Option<String>, SignInFailure> {
        let login = self.store.find_login_of(person.id).await?;
        let login = login.ok_or_else(|| Error::not_found("there is no such person"))?;
        let kept = login.password.clone();
        if kept.is_some() {
            let attempt = attempt(&person.email, peer);
            self.people.logins.check(&attempt)?;
            let current = current.ok_or_else(|| {
                let message = format!("is required to set another {wanted}");
                Error::invalid("currentPassword", message)
            })?;
            let compared = self.compare(Some(login), current, &attempt).await;
            compared.map_err(|failure| match failure {
                SignInFailure::Wrong => {
                    Error::invalid("currentPassword", "is not the present password").into()
                }
                failure => failure,
            })?;
        }
        Ok(kept)
    }

    /// Somebody forgot the password of this address. If it is a person's, they get a code by mail.
    pub async fn ask_for_password(&self, email: &str, peer: IpAddr) -> Result<(), SignInFailure> {
        let email = email.trim().to_owned();
        let mut faults = Faults::default();
        faults.check_email(&email);
        faults.finish()?;
        self.count_mail(&attempt(&email, peer))?;
        self.in_the_background(move |platform| async move {
            let Some(person) = platform.store.find_person_by_email(email).await? else {
                return Ok(());
            };
            // A slip in an address that nobody has proven must not hand a stranger the whole server.
            if person.operator && !person.verified {
                tracing::warn!(
                    "an operator's password was asked for at an address that is not confirmed, and no mail was sent; \
                     `pilvi admin set-password` sets it"
                );
                return Ok(());
            }
            let purpose = CodePurpose::Password(person.id);
            platform
                .send_code(&person.email, purpose, PASSWORD_LIFE, Letter::Password)
                .await
        });
        Ok(())
    }

    /// Whose password this code sets; an error when it is worth nothing.
    pub async fn find_password_code(&self, code: &Secret) -> Result<Person> {
        let found = self.store.find_password_code(code.digest(), self.now());
        found.await?.ok_or_else(worthless)
    }

    /// Sets the password that comes with a code from a mail. All sessions end; with `revoke`, the personal access
    /// tokens and account tokens are deleted, too.
    pub async fn reset_password(
        &self,
        code: &Secret,
        new: &Secret,
        revoke: bool,
    ) -> Result<Person> {
        // Before it costs a hash.
        let person = self.find_password_code(code).await?;
        let mut faults = Faults::default();
        check(new, &person.email, "password", &mut faults);
        faults.finish()?;
        let hash = self.people.passwords.hash(new).await?;
        let done = self
            .store
            .reset_person_password(code.digest(), hash, revoke, self.now());
        let person = done.await?.ok_or_else(worthless)?;
        self.tell(&person, Letter::PasswordChanged).await?;
        Ok(person)
    }

    /// Sets a password without asking, for the administrator's commands.
    pub async fn set_password(&self, person: PersonId, new: &Secret) -> Result<()> {
        let found = self.store.find_person(person).await?;
        let found = found.ok_or_else(|| Error::not_found("there is no such person"))?;
        let mut faults = Faults::default();
        check(new, &found.email, "password", &mut faults);
        faults.finish()?;
        let hash = self.people.passwords.hash(new).await?;
        let login = self.store.find_login_of(person).await?;
        let old = login.and_then(|login| login.password);
        match self.store.change_password(person, old, hash, None).await? {
            true => Ok(()),
            false => Err(Error::conflict(
                "the password was changed by somebody else in the same moment; try again",
            )),
        }
    }
}
