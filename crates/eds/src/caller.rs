//! Who asks, and of which backend (`eds.md` §2.1, §8.3).

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use pilvi_base::Secret;
use pilvi_core::{InFlight, api_key};
use pilvi_model::{AccountId, Asker, BackendId, Error, Instance, Provider, RequestId, Result};
use pilvi_store::Backend;
use pilvi_store::backend::Author;
use pilvi_web::{Arrival, Refusal, Scheme, bearer};

use crate::Eds;

/// Whoever sent a request, and the backend that it concerns. A handler without one has nobody to act for.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub backend: Backend,
    /// Whose backend it is.
    pub account: AccountId,
    pub asker: Asker,
    pub request: RequestId,
    /// How the request came, for addresses in its reply.
    pub arrival: Arrival,
    /// As long as the request is under way; `None`: nobody counts it.
    _in_flight: Option<InFlight>,
}

/// The backend that a request concerns, whoever sent it: for calls that bring their credentials in another way and
/// must not look at those in the headers (`eds.md` §8.1).
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub backend: Backend,
    pub arrival: Arrival,
}

impl Caller {
    /// Only for whoever holds the security token.
    pub(crate) fn require_admin(&self) -> Result<()> {
        self.asker.require_admin()
    }

    /// Who writes, and when.
    pub(crate) fn author(&self, eds: &Eds) -> Author {
        Author {
            asker: self.asker.clone(),
            request: self.request.clone(),
            at: eds.now(),
        }
    }
}

impl FromRequestParts<Eds> for Tenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, eds).await;
        let (id, _) = backend(&parts.headers, eds).await?;
        Ok(Self {
            backend: eds.0.store.backend(id),
            arrival,
        })
    }
}

impl FromRequestParts<Eds> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, eds).await;
        let (id, instance) = backend(&parts.headers, eds).await?;
        eds.0.fairness.give_way(&instance.id).await?;
        // Writes wait for the disk in a line of their backend, and their bodies may be slow to come.
        let in_flight = match parts.method {
            Method::GET | Method::HEAD => Some(eds.0.fairness.enter(&instance.id).await?),
            _ => None,
        };
        let backend = eds.0.store.backend(id);
        let shown = Shown::of(&parts.headers)?;
        let asker = shown.asker(eds, &instance, &backend).await?;
        Ok(Self {
            backend,
            account: instance.account,
            asker,
            request: arrival.request_id.clone(),
            arrival,
            _in_flight: in_flight,
        })
    }
}

async fn backend(headers: &HeaderMap, eds: &Eds) -> Result<(BackendId, std::sync::Arc<Instance>)> {
    let unknown = || {
        Error::bad_request(
            "the header Enginio-Backend-Id must name a backend of this server, by its 24 hex characters",
        )
    };
    let text = headers
        .get("enginio-backend-id")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(unknown)?;
    let id: BackendId = text.trim().parse().map_err(|_| unknown())?;
    let instance = eds
        .0
        .directory
        .find(Provider::Eds, text.trim())
        .await?
        .ok_or_else(unknown)?;
    let shown = non_empty(headers, "enginio-backend-secret");
    if shown.is_some_and(|key| key != api_key(&instance.id)) {
        return Err(Error::bad_request(
            "the header Enginio-Backend-Secret is wrong; send the backend's API key, or leave the header out",
        ));
    }
    Ok((id, instance))
}

/// What a request carries to say who asks. A valid master key comes first, then the bearer token, then the session;
/// whatever is looked at must be valid.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Nothing,
    MasterKey(Secret),
    /// An administrator's or a user's.
    Bearer(Secret),
    Session(Secret),
}

impl Shown {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        if let Some(key) = non_empty(headers, "enginio-backend-masterkey") {
            return Ok(Self::MasterKey(Secret::new(strip_bearer(key))));
        }
        if headers.contains_key(AUTHORIZATION) {
            let token = bearer(headers, Scheme::AnyCase);
            return token
                .map(Self::Bearer)
                .ok_or_else(|| Self::not_valid("the Authorization header"));
        }
        Ok(match session_token(headers) {
            Some(token) => Self::Session(Secret::new(token)),
            None => Self::Nothing,
        })
    }

    /// Who asks with this now. It may be worth nothing any more.
    pub(crate) async fn asker(
        &self,
        eds: &Eds,
        instance: &Instance,
        backend: &Backend,
    ) -> Result<Asker> {
        match self {
            Self::Nothing => Ok(Asker::Anonymous),
            Self::MasterKey(key) => match eds.0.identity.administers(key, instance).await? {
                true => Ok(Asker::Admin),
                false => Err(Self::not_valid("the master key")),
            },
            Self::Bearer(token) => match known(token, eds, instance, backend).await? {
                Some(asker) => Ok(asker),
                None => Err(Self::not_valid("the token")),
            },
            Self::Session(token) => {
                let user = signed_in(token, eds, backend).await?;
                user.ok_or_else(|| Self::not_valid("the session token"))
            }
        }
    }

    /// What tells it from others, without being of use to anybody.
    pub(crate) fn key(&self) -> (u8, [u8; 32]) {
        match self {
            Self::Nothing => (0, [0; 32]),
            Self::MasterKey(key) => (1, key.digest()),
            Self::Bearer(token) => (2, token.digest()),
            Self::Session(token) => (3, token.digest()),
        }
    }

    fn not_valid(what: &str) -> Error {
        Error::unauthenticated(format!(
            "{what} is not valid for this backend, or no longer"
        ))
    }
}

/// The token that may be an administrator's, from where [`Shown`] looks for one.
pub(crate) fn admin_token(headers: &HeaderMap) -> Option<Secret> {
    match non_empty(headers, "enginio-backend-masterkey") {
        Some(key) => Some(Secret::new(strip_bearer(key))),
        None => bearer(headers, Scheme::AnyCase),
    }
}

/// Whoever holds a bearer token: an administrator, or a user of the backend.
async fn known(
    token: &Secret,
    eds: &Eds,
    instance: &Instance,
    backend: &Backend,
) -> Result<Option<Asker>> {
    if eds.0.identity.administers(token, instance).await? {
        return Ok(Some(Asker::Admin));
    }
    signed_in(token, eds, backend).await
}

/// The user of the backend who holds a token.
async fn signed_in(token: &Secret, eds: &Eds, backend: &Backend) -> Result<Option<Asker>> {
    let member = backend.find_session(token.digest(), eds.now()).await?;
    Ok(member.map(|member| Asker::User {
        id: member.id,
        groups: member.groups,
    }))
}

/// The token of a session of before OAuth2.
pub(crate) fn session_token(headers: &HeaderMap) -> Option<&str> {
    non_empty(headers, "enginio-backend-session")
}

fn non_empty<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("?").trim())
        .filter(|text| !text.is_empty())
}

/// One client writes `BEARER KEY` into the master key's header.
fn strip_bearer(key: &str) -> &str {
    match key.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start(),
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_may_come_with_a_scheme() {
        assert_eq!(strip_bearer("BEARER abc"), "abc");
        assert_eq!(strip_bearer("abc"), "abc");
        assert_eq!(strip_bearer("a bc"), "a bc");
    }
}
