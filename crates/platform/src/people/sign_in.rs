//! Signing in by e-mail address and password.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use pilvi_base::Secret;
use pilvi_core::throttle::{Attempt, TooManyFailures};
use pilvi_model::{BackendId, Error, PersonId, Result};
use pilvi_store::platform::PersonLogin;
use pilvi_web::Refusal;

use crate::{IssuedToken, Platform, TokenDraft};

/// What a program signs in with.
#[derive(Clone, Debug)]
pub struct SignInDraft {
    pub email: String,
    pub password: Secret,
    /// What the token is called.
    pub client: String,
}

/// Why somebody is not signed in.
#[derive(Debug)]
pub enum SignInFailure {
    /// The address is nobody's, or the password is not theirs: one answer for both.
    Wrong,
    /// Too many failures; in this time another try will be heard.
    TooMany(Duration),
    Other(Error),
}

/// One text for every reason, so that it tells nothing of any address.
pub(crate) const WRONG: &str =
    "the e-mail address or the password is wrong, or the address has not been confirmed yet";

impl Platform {
    /// Whose address and password these are.
    pub async fn verify_password(
        &self,
        email: &str,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<PersonId, SignInFailure> {
        let email = email.trim();
        let attempt = attempt(email, peer);
        self.people.logins.check(&attempt)?;
        let login = self.store.find_person_login(email.to_owned()).await?;
        let login = self.compare(login, password, &attempt).await?;
        self.people.logins.succeeded(&attempt);
        Ok(login.id)
    }

    /// Signs a program in: it gets a personal access token.
    pub async fn sign_in(
        &self,
        draft: SignInDraft,
        peer: IpAddr,
    ) -> Result<(PersonId, IssuedToken), SignInFailure> {
        let person = self
            .verify_password(&draft.email, &draft.password, peer)
            .await?;
        let token = TokenDraft {
            name: Some(draft.client),
            ..TokenDraft::default()
        };
        let token = self.create_person_token(person, token).await?;
        Ok((person, token))
    }

    /// Lets `login` through if this is its password. A failure is counted before the next attempt is looked at, so that
    /// of many that come together no more are heard than of those that come one by one.
    pub(super) async fn compare(
        &self,
        login: Option<PersonLogin>,
        password: &Secret,
        attempt: &Attempt,
    ) -> Result<PersonLogin, SignInFailure> {
        let turn = self.people.passwords.turn().await?;
        self.people.logins.check(attempt)?;
        let stored = login.as_ref().and_then(|login| login.password.as_deref());
        let (right, turn) = turn.verify(password, stored).await?;
        if !right {
            self.people.logins.failed(attempt);
        }
        drop(turn);
        login.filter(|_| right).ok_or(SignInFailure::Wrong)
    }
}

/// Somebody at `peer` tries something in the name of `email`.
pub(super) fn attempt(email: &str, peer: IpAddr) -> Attempt {
    // Persons are those of the server, not of a backend.
    let nowhere = BackendId::from_bytes([0; 12]);
    Attempt::new(nowhere, &email.to_lowercase(), peer)
}

impl From<TooManyFailures> for SignInFailure {
    fn from(too_many: TooManyFailures) -> Self {
        Self::TooMany(too_many.retry_after)
    }
}

impl From<Error> for SignInFailure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<SignInFailure> for Refusal {
    fn from(failure: SignInFailure) -> Self {
        match failure {
            SignInFailure::Wrong => Error::unauthenticated(WRONG).into(),
            SignInFailure::TooMany(after) => {
                let mut refusal = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many attempts failed; wait a while and try again",
                );
                refusal.retry_after = Some(after);
                refusal
            }
            SignInFailure::Other(error) => error.into(),
        }
    }
}
