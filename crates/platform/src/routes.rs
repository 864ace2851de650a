//! The platform's routes: typed in, typed out, no rules. One file for each noun; what came later has its routes beside
//! its rules.

mod accounts;
mod instances;
mod persons;
mod server;
mod ssh_keys;
mod tokens;

use std::net::IpAddr;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use pilvi_core::Act;
use pilvi_model::{Instance, RequestId};
use pilvi_web::{Arrival, Refusal, Reply, Scheme, Visitor, bearer, finish};

use crate::wire;
use crate::{Caller, Platform};

pub(crate) type Answer = Result<Reply, Refusal>;

/// All routes. Who may call them is in `access.rs`, and for each of them in `tests/who_may.rs`.
pub(crate) fn router(platform: Platform) -> Router {
    Router::new()
        .merge(persons::routes())
        .merge(crate::people::routes())
        .merge(tokens::routes())
        .merge(ssh_keys::routes())
        .merge(accounts::routes())
        .merge(crate::members::routes())
        .merge(crate::invitations::routes())
        .merge(crate::audit::routes())
        .merge(instances::routes())
        .merge(crate::quotas::routes())
        .merge(crate::usage::routes())
        .merge(crate::backups::routes())
        .merge(crate::device::routes())
        .merge(crate::account_api::routes())
        .merge(server::routes())
        .layer(from_fn_with_state(platform.tasks.clone(), finish))
        .layer(map_response(forbid_storing))
        .with_state(platform)
}

/// Many of these replies hold tokens, and none gains from being kept.
async fn forbid_storing(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A caller, and what the audit log says of the request.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    request: RequestId,
    peer: IpAddr,
}

impl Asked {
    /// An act of this caller, to be given to [`pilvi_core::Audit::note`] once it is done.
    pub(crate) fn act(&self, event: &'static str, subject: impl ToString) -> Act {
        Act::new(self.caller.actor(), event, subject).asked_by(&self.request, Some(self.peer))
    }
}

impl FromRequestParts<Platform> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, platform).await;
        Ok(Self {
            caller: Caller::from_request_parts(parts, platform).await?,
            request: arrival.request_id,
            peer: arrival.peer.ip(),
        })
    }
}

/// `role` is what the caller is in the account; nothing for a token of the account itself.
pub(crate) fn show_account(
    platform: &Platform,
    account: pilvi_store::platform::Account,
    role: Option<pilvi_store::platform::Role>,
) -> wire::Account<'_> {
    let datacenter = platform
        .settings
        .datacenters()
        .find(|known| known.id() == account.datacenter);
    wire::Account::new(account, datacenter, role)
}

pub(crate) fn show_instance<'a>(platform: &Platform, instance: &'a Instance) -> wire::Instance<'a> {
    wire::Instance::new(instance, platform.shown_config(instance))
}

impl FromRequestParts<Platform> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, Refusal> {
        let caller = platform
            .caller(bearer(&parts.headers, Scheme::AnyCase))
            .await?;
        let Ok(visitor) = Visitor::from_request_parts(parts, platform).await;
        match &caller {
            Caller::Person(person) => visitor.is_person(*person)?,
            Caller::Account(_) => visitor.is_good(),
        }
        Ok(caller)
    }
}
