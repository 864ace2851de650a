//! Who asks, and of which backend (`eds.md` §2.1, §8.3).

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use pilvi_base::Secret;
use pilvi_model::{BackendId, Error, Instance, Provider, RequestId, Result};
use pilvi_store::Backend;
use pilvi_store::backend::Origin;
use pilvi_web::{Arrival, Refusal, Scheme, bearer};

use crate::Eds;

/// Whoever sent a request, and the backend that it concerns. A handler without one has nobody to act for.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub backend: Backend,
    pub rights: Rights,
    pub request: RequestId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Nobody in particular.
    Anonymous,
    /// Holds the backend's security token, or the token of the account that owns it: no access list stops them.
    Admin,
}

impl Caller {
    /// Only for whoever holds the security token.
    pub(crate) fn require_admin(&self) -> Result<()> {
        match self.rights {
            Rights::Admin => Ok(()),
            Rights::Anonymous => Err(Error::unauthenticated(
                "this needs the backend's security token; send it as `Authorization: Bearer TOKEN`",
            )),
        }
    }

    /// What the outbox remembers of this request.
    pub(crate) fn origin(&self, eds: &Eds) -> Origin {
        Origin {
            request: self.request.clone(),
            user: None,
            at: eds.now(),
        }
    }
}

impl FromRequestParts<Eds> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, eds).await;
        let (id, instance) = backend(&parts.headers, eds).await?;
        let rights = rights(&parts.headers, eds, &instance).await?;
        Ok(Self {
            backend: eds.0.store.backend(id),
            rights,
            request: arrival.request_id,
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
    if non_empty(headers, "enginio-backend-secret").is_some() {
        return Err(Error::bad_request(
            "the header Enginio-Backend-Secret is wrong: this backend has no secret; leave the header out",
        ));
    }
    Ok((id, instance))
}

/// A valid master key comes first, then the bearer token; whatever is presented must be valid.
async fn rights(headers: &HeaderMap, eds: &Eds, instance: &Instance) -> Result<Rights> {
    let wrong = |what| {
        Error::unauthenticated(format!(
            "{what} is not valid for this backend, or no longer"
        ))
    };
    if let Some(key) = non_empty(headers, "enginio-backend-masterkey") {
        let key = strip_bearer(key);
        return match eds
            .0
            .identity
            .administers(&Secret::new(key), instance)
            .await?
        {
            true => Ok(Rights::Admin),
            false => Err(wrong("the master key")),
        };
    }
    if headers.contains_key(AUTHORIZATION) {
        let token =
            bearer(headers, Scheme::AnyCase).ok_or_else(|| wrong("the Authorization header"))?;
        return match eds.0.identity.administers(&token, instance).await? {
            true => Ok(Rights::Admin),
            false => Err(wrong("the token")),
        };
    }
    match non_empty(headers, "enginio-backend-session") {
        Some(_) => Err(wrong("the session token")),
        None => Ok(Rights::Anonymous),
    }
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
