//! Signing in with the e-mail address and the password of a person. The tokens open this interface alone.

use std::net::IpAddr;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_base::secret::random_hex;
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::NewLogin;
use pilvi_web::form::Credentials;

use crate::people::SignInFailure;
use crate::{Caller, Platform};

/// What the documentation of the old service says of tokens, in seconds (`eds.md` §8.1).
pub(crate) const LIFE: Duration = Duration::from_secs(28_799);
/// So many logins of one person last at the same time.
const LOGINS_MAX: u32 = 100;
const PREFIX: &str = "pilvi_log_";

impl Platform {
    /// Begins a login for the first of these credentials that is right.
    pub(crate) async fn log_in(
        &self,
        credentials: &[Credentials],
        peer: IpAddr,
    ) -> Result<(PersonId, Secret), SignInFailure> {
        for pair in credentials {
            match self
                .verify_password(&pair.username, &pair.password, peer)
                .await
            {
                Ok(person) => return Ok((person, self.begin_login(person).await?)),
                Err(SignInFailure::Wrong) => {}
                Err(other) => return Err(other),
            }
        }
        Err(SignInFailure::Wrong)
    }

    async fn begin_login(&self, person: PersonId) -> Result<Secret> {
        let token = Secret::new(format!("{PREFIX}{}", random_hex::<20>()));
        let now = self.now();
        let login = NewLogin {
            person,
            digest: token.digest(),
            created_at: now,
            expires_at: now.plus(LIFE),
        };
        self.store.insert_login(login, LOGINS_MAX).await?;
        Ok(token)
    }

    /// Who calls with this token: it is that of a login, or one that opens the platform.
    pub(crate) async fn caller_by_login(&self, token: Option<Secret>) -> Result<Caller> {
        let token = token.ok_or_else(|| {
            Error::unauthenticated(
                "sign in at /v1/account/auth/oauth2/token and send `Authorization: Bearer TOKEN`",
            )
        })?;
        if token.expose().starts_with(PREFIX) {
            let person = self.store.find_login(token.digest(), self.now()).await?;
            let person = person.ok_or_else(|| {
                Error::unauthenticated("the token is not valid, or no longer; sign in again")
            })?;
            return Ok(Caller::Person(person));
        }
        self.caller(Some(token)).await
    }

    /// Ends the login of a token. One that is none is as good as ended.
    pub(crate) async fn log_out(&self, token: &Secret) -> Result<()> {
        self.store.delete_login(token.digest()).await
    }
}
