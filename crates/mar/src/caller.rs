//! Who asks, and for which app.
//!
//! | bearer of | may use |
//! | --- | --- |
//! | an account token | every app of the account, as far as its member's role goes |
//! | an app's own security token | that app |
//! | a personal access token | every app of the accounts that the person is a member of, as far as their role goes |
//!
//! Owners and developers may all, viewers what the table of calls says (`routes.rs`). Everybody else's apps do not
//! exist for them.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use pilvi_core::{Act, Actor, Principal, role_too_low};
use pilvi_model::{AccountId, AppId, Error, Provider, RequestId, Result};
use pilvi_store::platform::Role;
use pilvi_web::{Arrival, Refusal, Scheme, Visitor, bearer};

use crate::Mar;
use crate::routes::Who;

/// Whoever sent a request, and the app that they may do this with.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub app: AppId,
    pub(crate) account: AccountId,
    who: Principal,
    request: RequestId,
    peer: IpAddr,
}

impl Caller {
    /// Whom a release is attributed to, in words for people.
    pub(crate) async fn author(&self, mar: &Mar) -> Result<String> {
        let person = match &self.who {
            Principal::Person(id) => mar.store().find_person(*id).await?,
            Principal::Account { .. } => return Ok("the account token".to_owned()),
            Principal::Instance { .. } => return Ok("the app's own token".to_owned()),
        };
        Ok(person.map_or_else(|| "somebody who is gone".to_owned(), |person| person.email))
    }

    /// An act of this caller upon the app, for the audit log.
    pub(crate) fn act(&self, event: &'static str) -> Act {
        Act::new(Actor::from(&self.who), event, &self.app)
            .in_account(self.account)
            .asked_by(&self.request, Some(self.peer))
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
        let Ok(visitor) = Visitor::from_request_parts(parts, mar).await;
        match &who {
            Principal::Person(person) | Principal::Account { person, .. } => {
                visitor.is_person(*person)?;
            }
            Principal::Instance { .. } => visitor.is_good(),
        }
        let app: AppId = param(parts, mar, "id").await?.parse()?;
        let instance = mar
            .parts()
            .directory
            .find(Provider::Mar, app.as_str())
            .await?;
        let no_such_app = || Error::not_found("there is no such app");
        let instance = instance.ok_or_else(no_such_app)?;
        let role = mar.parts().identity.role(&who, &instance).await?;
        let role = role.ok_or_else(no_such_app)?;
        // A call that nobody marked as one for viewers is none.
        let is_for_viewers = parts.extensions.get::<Who>() == Some(&Who::Viewer);
        if !is_for_viewers && !role.may_change() {
            return Err(role_too_low(Role::Developer).into());
        }
        Ok(Self {
            app,
            account: instance.account,
            who,
            request: arrival.request_id,
            peer: arrival.peer.ip(),
        })
    }
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
