//! Accounts, which clients call clouds.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use pilvi_model::AccountId;
use pilvi_store::platform::Role;
use pilvi_web::{Body, Reply};

use super::{Answer, Asked, show_account};
use crate::wire;
use crate::{Caller, Platform};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/accounts", post(create_account))
        .route(
            "/v1/accounts/{id}",
            get(get_account).put(rename_account).delete(remove_account),
        )
}

async fn create_account(State(platform): State<Platform>, asked: Asked, body: Body) -> Answer {
    let owner = asked.caller.person()?;
    let draft = wire::account_draft(body.or_empty())?;
    let account = platform.create_account(owner, draft).await?;
    let act = asked
        .act("account.create", account.id)
        .with("name", account.name.as_str());
    platform.audit.note(act.in_account(account.id)).await;
    let role = Some(Role::Owner);
    Ok(Reply::created(&show_account(&platform, account, role)))
}

async fn get_account(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let account = platform.get_account(&caller, id.parse()?).await?;
    let role = platform.role_of(&caller, account.id).await?;
    Ok(Reply::ok(&show_account(&platform, account, role)))
}

async fn remove_account(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
) -> Answer {
    let account: AccountId = id.parse()?;
    platform.remove_account(&asked.caller, account).await?;
    let act = asked.act("account.remove", account);
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::empty())
}

async fn rename_account(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let account: AccountId = id.parse()?;
    let name = wire::account_name(body.or_empty())?;
    let account = platform
        .rename_account(&asked.caller, account, name)
        .await?;
    let act = asked
        .act("account.rename", account.id)
        .with("name", account.name.as_str());
    platform.audit.note(act.in_account(account.id)).await;
    let role = platform.role_of(&asked.caller, account.id).await?;
    Ok(Reply::ok(&show_account(&platform, account, role)))
}
