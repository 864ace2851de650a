//! The person who calls.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use pilvi_model::Error;
use pilvi_web::Reply;

use super::{Answer, show_account};
use crate::wire::{self, List};
use crate::{Caller, Platform};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/user", get(get_user))
        .route("/v1/user/accounts", get(list_accounts))
}

async fn get_user(State(platform): State<Platform>, caller: Caller) -> Answer {
    let person = platform.store.find_person(caller.person()?).await?;
    let person = person.ok_or_else(|| Error::not_found("there is no such person"))?;
    Ok(Reply::ok(&wire::Person::from(person)))
}

async fn list_accounts(State(platform): State<Platform>, caller: Caller) -> Answer {
    let accounts = platform.list_memberships(caller.person()?).await?;
    let accounts = accounts
        .into_iter()
        .map(|(account, role)| show_account(&platform, account, Some(role)));
    Ok(Reply::ok(&List::from_iter(accounts)))
}
