//! Who asks, and for which app.
//!
//! | bearer of | may use |
//! | --- | --- |
//! | an account token | every app of the account |
//! | an app's own security token | that app |
//! | a personal access token | every app of the accounts that the person is a member of |
//!
//! Everybody else's apps do not exist for them.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use pilvi_core::Principal;
use pilvi_model::{AppId, Error, Instance, Provider, RequestId, Result};
use pilvi_web::{Arrival, Refusal, Scheme, bearer};

use crate::Mar;

/// Whoever sent a request, and the app that they administer.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub app: AppId,
    who: Principal,
    pub request: RequestId,
}

impl Caller {
    /// Whom a release is attributed to, in words for people.
    pub(crate) async fn author(&self, mar: &Mar) -> Result<String> {
        let person = match &self.who {
            Principal::Person(id) => mar.store().find_person(*id).await?,
            Principal::Account(_) => return Ok("the account token".to_owned()),
            Principal::Instance { .. } => return Ok("the app's own token".to_owned()),
        };
        Ok(person.map_or_else(|| "somebody who is gone".to_owned(), |person| person.email))
    }

    /// Writes an administrative act into the server's log.
    pub(crate) fn note(&self, act: &str) {
        let who = match &self.who {
            Principal::Person(id) => format!("person {id}"),
            Principal::Account(id) => format!("account {id}"),
            Principal::Instance { id } => format!("instance {id}"),
        };
        tracing::info!(target: "pilvi::audit", app = %self.app, who, request = %self.request, "{act}");
    }
}

impl FromRequestParts<Mar> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, mar: &Mar) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, mar).await;
        let token = bearer(&parts.headers, Scheme::AnyCase).ok_or_else(|| {
            Error::unauthenticated("the header `Authorization: Bearer TOKEN` is required")
        })?;
        let who = mar.parts().identity.authenticate(&token).await?;
        let who = who.ok_or_else(|| Error::unauthenticated("the token is not known"))?;
        let app: AppId = param(parts, mar, "id").await?.parse()?;
        let instance = mar
            .parts()
            .directory
            .find(Provider::Mar, app.as_str())
            .await?;
        match instance {
            Some(instance) if administers(mar, &who, &instance).await? => Ok(Self {
                app,
                who,
                request: arrival.request_id,
            }),
            _ => Err(Error::not_found("there is no such app").into()),
        }
    }
}

async fn administers(mar: &Mar, who: &Principal, instance: &Instance) -> Result<bool> {
    Ok(match who {
        Principal::Person(person) => {
            let account = mar.store().find_account_of(*person, instance.account);
            account.await?.is_some()
        }
        Principal::Account(account) => *account == instance.account,
        Principal::Instance { id } => *id == instance.id,
    })
}

/// A part of the path, decoded.
pub(crate) async fn param(parts: &mut Parts, mar: &Mar, name: &str) -> Result<String> {
    let unreadable = || Error::bad_request("the path cannot be read");
    let params = RawPathParams::from_request_parts(parts, mar).await;
    let params = params.map_err(|_| unreadable())?;
    let mut params = params.iter();
    let found = params.find(|(key, _)| *key == name);
    found
        .map(|(_, value)| value.to_owned())
        .ok_or_else(unreadable)
}
