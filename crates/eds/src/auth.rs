//! Signing in and out, by OAuth2 and as clients did before it (`eds.md` §8), and what helps whoever cannot: a new
//! password by mail, and the proof that an address is one's own.
//!
//! Nothing here tells whether a name or an address is known. A wrong name takes as long as a wrong password, and mail
//! is sent behind the back of whoever asked for it.

mod mails;

pub(crate) use mails::{LETTER_BOX_RULES, RULES as MAIL_RULES};

use std::time::Duration;

use http::StatusCode;
use pilvi_base::Secret;
use pilvi_base::secret::{hex, random_bytes, random_hex, sha256};
use pilvi_core::passwords;
use pilvi_core::throttle::{Attempt, TooManyFailures};
use pilvi_core::{AppUser, AppUsers, Asking};
use pilvi_model::{BackendId, Error, FieldError, Result, Timestamp};
use pilvi_store::backend::{
    Presented, Purpose, Refresh, Renewal, SessionKind, SignedIn, StoredLogin, Tokens,
};
use pilvi_web::form::{Credentials, Form};
use pilvi_web::{Refusal, Reply};
use serde_json::{Value, json};

use crate::Eds;
use crate::caller::Tenant;

/// What the documentation of the old service says, in seconds (`eds.md` §8.1).
const ACCESS_LIFE: Duration = Duration::from_secs(28_799);
const REFRESH_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clients of before OAuth2 cannot renew what they have.
const SESSION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why nobody is signed in.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The name, the password or the token is wrong.
    Wrong,
    TooMany(TooManyFailures),
    Fault(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

impl From<TooManyFailures> for Failure {
    fn from(too_many: TooManyFailures) -> Self {
        Self::TooMany(too_many)
    }
}

/// Tokens that are handed out now and never again.
#[derive(Debug)]
pub(crate) struct Issued {
    access: Secret,
    refresh: Option<Secret>,
    digests: Tokens,
}

/// A refresh token. It begins with what all that go back to the same login have in common; so one that served before
/// is known again without a record of it.
struct RefreshToken(Secret);

impl RefreshToken {
    const FAMILY: usize = 32;

    fn of_new_family() -> Self {
        Self(new_token())
    }

    /// The token that comes after this one.
    fn next(&self) -> Self {
        Self(Secret::new(format!(
            "{}{}",
            self.family(),
            random_hex::<16>()
        )))
    }

    /// What somebody came with, if it has the shape of one.
    fn presented(text: &str) -> Option<Self> {
        let is_one = text.len() == 2 * Self::FAMILY && text.is_ascii();
        is_one.then(|| Self(Secret::new(text)))
    }

    fn family(&self) -> &str {
        &self.0.expose()[..Self::FAMILY]
    }

    fn family_digest(&self) -> [u8; 32] {
        sha256(self.family().as_bytes())
    }
}

impl Issued {
    fn oauth2(now: Timestamp, refresh: RefreshToken) -> Self {
        let access = new_token();
        let digests = Tokens {
            access: access.digest(),
            access_expires: now.plus(ACCESS_LIFE),
            refresh: Some(Refresh {
                digest: refresh.0.digest(),
                family: refresh.family_digest(),
                expires: now.plus(REFRESH_LIFE),
            }),
        };
        Self {
            access,
            refresh: Some(refresh.0),
            digests,
        }
    }

    fn session(now: Timestamp) -> Self {
        let access = new_token();
        let digests = Tokens {
            access: access.digest(),
            access_expires: now.plus(SESSION_LIFE),
            refresh: None,
        };
        Self {
            access,
            refresh: None,
            digests,
        }
    }
}

fn new_token() -> Secret {
    Secret::new(random_hex::<32>())
}

impl Eds {
    /// `POST /v1/auth/oauth2/token`.
    pub(crate) async fn grant(&self, tenant: &Tenant, form: &Form) -> Result<Reply, Refusal> {
        let outcome = match form.get("grant_type") {
            Some("password") => {
                let issued = Issued::oauth2(self.now(), RefreshToken::of_new_family());
                let credentials = form.credentials();
                self.sign_in(tenant, &credentials, SessionKind::OAuth2, &issued)
                    .await
                    .map(|signed_in| (issued, signed_in))
            }
            Some("refresh_token") => self.renew(tenant, form.get("refresh_token")).await,
            Some(other) => {
                let message = format!(
                    "the grant type `{}` is not offered; use password or refresh_token",
                    other.chars().take(60).collect::<String>()
                );
                return Ok(oauth_error(
                    "unsupported_grant_type",
                    &message,
                    "BadRequest",
                ));
            }
            None => {
                let message =
                    "the parameter grant_type is missing; it is password or refresh_token";
                return Ok(oauth_error("invalid_request", message, "BadRequest"));
            }
        };
        match outcome {
            Ok((issued, signed_in)) => grant_reply(&issued, &signed_in),
            Err(Failure::Wrong) => Ok(oauth_error("invalid_grant", WRONG, "InvalidCredentials")),
            Err(failure) => Err(refusal(failure)),
        }
    }

    /// `POST /v1/auth/oauth2/revoke`. A token that is none is as good as revoked.
    pub(crate) async fn revoke(&self, tenant: &Tenant, form: &Form) -> Result<Reply, Refusal> {
        if let Some(token) = form.get("token") {
            let digest = Secret::new(token).digest();
            tenant.backend.end_session(digest, self.now()).await?;
        }
        Ok(Reply::empty())
    }

    /// `POST /v1/auth/identity`.
    pub(crate) async fn identify(&self, tenant: &Tenant, form: &Form) -> Result<Reply, Refusal> {
        let issued = Issued::session(self.now());
        let credentials = form.credentials();
        let signed_in = self
            .sign_in(tenant, &credentials, SessionKind::Identity, &issued)
            .await
            .map_err(refusal)?;
        session_reply(issued.access.expose(), &signed_in)
    }

    /// `GET /v1/session`.
    pub(crate) async fn show_session(
        &self,
        tenant: &Tenant,
        token: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let token = token.ok_or_else(no_session)?;
        let digest = Secret::new(token).digest();
        let signed_in = tenant.backend.find_signed_in(digest, self.now()).await?;
        session_reply(token, &signed_in.ok_or_else(no_session)?)
    }

    /// `DELETE /v1/session`.
    pub(crate) async fn end_session(
        &self,
        tenant: &Tenant,
        token: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let token = token.ok_or_else(no_session)?;
        let digest = Secret::new(token).digest();
        match tenant.backend.end_session(digest, self.now()).await? {
            true => Ok(Reply::empty()),
            false => Err(no_session().into()),
        }
    }

    async fn renew(
        &self,
        tenant: &Tenant,
        token: Option<&str>,
    ) -> Result<(Issued, SignedIn), Failure> {
        let token = token.and_then(RefreshToken::presented);
        let token = token.ok_or(Failure::Wrong)?;
        let now = self.now();
        let issued = Issued::oauth2(now, token.next());
        let digests = issued.digests.clone();
        let presented = Presented::new(token.0.digest(), token.family_digest());
        match tenant
            .backend
            .renew_session(presented, digests, now)
            .await?
        {
            Renewal::Done(signed_in) => Ok((issued, signed_in)),
            Renewal::Unknown => Err(Failure::Wrong),
            Renewal::Reused(user) => {
                tracing::warn!(
                    backend = %tenant.backend.id,
                    %user,
                    "a refresh token came a second time; the sessions that go back to the same login were ended"
                );
                Err(Failure::Wrong)
            }
        }
    }

    /// Begins a session for the first of these credentials that is right.
    async fn sign_in(
        &self,
        tenant: &Tenant,
        credentials: &[Credentials],
        kind: SessionKind,
        issued: &Issued,
    ) -> Result<SignedIn, Failure> {
        let attempts: Vec<Attempt> = credentials
            .iter()
            .map(|pair| Attempt::new(tenant.backend.id, &pair.username, tenant.arrival.peer.ip()))
            .collect();
        let logins = &self.0.people.logins;
        let mut refused = None;
        for (place, pair) in credentials.iter().enumerate() {
            let attempt = &attempts[place];
            let same_name = |other: &usize| credentials[*other].username == pair.username;
            let is_last = !(place + 1..credentials.len()).any(|other| same_name(&other));
            // What is tried with one name fails or succeeds together; another name is another guess.
            let fail = || {
                if is_last {
                    let tried = (0..=place).filter(same_name);
                    tried.for_each(|tried| logins.failed(&attempts[tried]));
                }
            };
            let login = match logins.check(attempt) {
                Ok(()) => self.verify(tenant, pair, attempt, fail).await,
                Err(too_many) => Err(too_many.into()),
            };
            let login = match login {
                Ok(Some(login)) => login,
                Ok(None) => continue,
                // Another name may still be heard: a client that means it cannot help the first one.
                Err(Failure::TooMany(too_many)) => {
                    refused = Some(too_many);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let now = self.now();
            let digests = issued.digests.clone();
            let begun = tenant
                .backend
                .open_session(login.id, login.password, kind, digests, now);
            if let Some(signed_in) = begun.await? {
                logins.succeeded(attempt);
                return Ok(signed_in);
            }
        }
        Err(refused.map_or(Failure::Wrong, Failure::TooMany))
    }

    /// Whose name and password these are. Otherwise `fail` is called before the next attempt is looked at, so that of
    /// many that come together no more are heard than of those that come one by one.
    async fn verify(
        &self,
        tenant: &Tenant,
        pair: &Credentials,
        attempt: &Attempt,
        fail: impl FnOnce(),
    ) -> Result<Option<StoredLogin>, Failure> {
        let login = tenant.backend.find_login(pair.username.clone()).await?;
        let turn = self.0.people.passwords.turn().await?;
        self.0.people.logins.check(attempt)?;
        let stored = login.as_ref().map(|login| login.password.as_str());
        let (right, turn) = turn.verify(&pair.password, stored).await?;
        if !right {
            fail();
        }
        drop(turn);
        Ok(login.filter(|_| right))
    }

    /// Sets the password that comes with a voucher.
    pub(crate) async fn reset_password(
        &self,
        tenant: &Tenant,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let voucher = voucher(body);
        let password = body.get("password").and_then(Value::as_str);
        let password = Secret::new(password.unwrap_or_default());
        passwords::check(&password)?;
        // Before it costs a hash.
        let known = tenant
            .backend
            .find_voucher(voucher, Purpose::Password, self.now());
        known.await?.ok_or_else(worthless)?;
        let hash = self.0.people.passwords.hash(&password).await?;
        let done = tenant.backend.reset_password(voucher, hash, self.now());
        done.await?.ok_or_else(worthless)?;
        Ok(Reply::empty())
    }

    /// Takes the voucher that proves an address.
    pub(crate) async fn confirm_email(
        &self,
        tenant: &Tenant,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let done = tenant
            .backend
            .redeem_email_voucher(voucher(body), self.now());
        done.await?.ok_or_else(worthless)?;
        Ok(Reply::empty())
    }
}

/// Gateways ask who their callers are.
impl AppUsers for Eds {
    fn who<'a>(&'a self, backend: BackendId, token: &'a Secret) -> Asking<'a> {
        Box::pin(async move {
            let backend = self.0.store.backend(backend);
            let found = backend.find_session(token.digest(), self.now()).await?;
            Ok(found.map(|member| AppUser {
                id: member.id,
                groups: member.groups,
            }))
        })
    }
}

/// The digest of the voucher in a body. People copy it by hand, so spaces, dashes and capitals do not matter.
fn voucher(body: &Value) -> [u8; 32] {
    let token = body
        .get("token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let typed = token.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = typed
        .map(|letter| letter.to_ascii_lowercase())
        .take(64)
        .collect();
    sha256(plain.as_bytes())
}

/// A voucher as it is mailed, with its digest.
fn new_voucher() -> (String, [u8; 32]) {
    let plain = hex(&random_bytes::<10>());
    let groups: Vec<&str> = plain
        .as_bytes()
        .chunks(5)
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    (groups.join("-"), sha256(plain.as_bytes()))
}

const WRONG: &str = "the name, the password or the token is wrong";

fn no_session() -> Error {
    Error::unauthenticated("there is no such session, or it has ended; sign in again")
}

/// Nobody learns whether it was wrong, spent or too old.
fn worthless() -> Error {
    Error::invalid_fields(vec![FieldError {
        property: "token".to_owned(),
        message: "is not valid, or no longer; ask for a new mail".to_owned(),
    }])
}

pub(crate) fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Wrong => Error::unauthenticated(WRONG).into(),
        Failure::Fault(error) => error.into(),
        Failure::TooMany(TooManyFailures { retry_after }) => {
            let seconds = retry_after.as_secs().max(1);
            let error = Error::over_limit(format!(
                "too many attempts have failed; try again in {seconds} seconds"
            ));
            let mut refusal = Refusal::from(error);
            // Rounded up: one that comes at the stated second is heard.
            refusal.retry_after = Some(retry_after + Duration::from_secs(1));
            refusal
        }
    }
}

/// Both what OAuth2 says of a failure and what old clients read.
fn oauth_error(error: &str, message: &str, reason: &str) -> Reply {
    let body = json!({
        "error": error,
        "error_description": message,
        "errors": [{"message": message, "reason": reason}],
    });
    Reply::json(StatusCode::BAD_REQUEST, &body)
}

fn grant_reply(issued: &Issued, signed_in: &SignedIn) -> Result<Reply, Refusal> {
    Ok(Reply::ok(&json!({
        "access_token": issued.access.expose(),
        "refresh_token": issued.refresh.as_ref().map(Secret::expose),
        "token_type": "bearer",
        "expires_in": ACCESS_LIFE.as_secs(),
        "enginio_data": {"user": parse(&signed_in.user)?, "usergroups": groups(signed_in)?},
    })))
}

fn session_reply(token: &str, signed_in: &SignedIn) -> Result<Reply, Refusal> {
    Ok(Reply::ok(&json!({
        "sessionToken": token,
        "user": parse(&signed_in.user)?,
        "usergroups": groups(signed_in)?,
    })))
}

pub(crate) fn groups(signed_in: &SignedIn) -> Result<Vec<Value>> {
    signed_in.groups.iter().map(|text| parse(text)).collect()
}

pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voucher_may_be_typed_as_it_is_read() {
        let (mailed, digest) = new_voucher();
        assert_eq!(mailed.len(), 23, "{mailed}");
        for typed in [
            mailed.clone(),
            mailed.to_uppercase(),
            mailed.replace('-', " "),
            format!("  {}\n", mailed.replace('-', "")),
        ] {
            assert_eq!(voucher(&json!({ "token": typed })), digest, "{typed}");
        }
        for wrong in [json!({}), json!({"token": ""}), json!({"token": 5})] {
            assert_ne!(voucher(&wrong), digest);
        }
    }

    #[test]
    fn old_clients_and_new_ones_can_read_why_a_login_failed() {
        use axum::response::IntoResponse;
        let reply = oauth_error("invalid_grant", WRONG, "InvalidCredentials");
        assert_eq!(reply.into_response().status(), StatusCode::BAD_REQUEST);
        let too_many = TooManyFailures {
            retry_after: Duration::from_secs(30),
        };
        let refused = refusal(too_many.into());
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(31)));
    }
}
