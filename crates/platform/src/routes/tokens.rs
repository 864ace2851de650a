//! Tokens of all three kinds.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use http::StatusCode;
use pilvi_model::{AccountId, Error, Result as ModelResult};
use pilvi_store::platform::Holder;
use pilvi_web::{Body, Reply};

use super::{Answer, Asked};
use crate::wire::{self, Authorization, List};
use crate::{Caller, Platform};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route(
            "/v1/authorizations",
            get(list_person_tokens).post(create_person_token),
        )
        .route("/v1/authorizations/{token}", delete(remove_person_token))
        .route(
            "/v1/accounts/{id}/authorizations",
            get(list_account_tokens).post(create_account_token),
        )
        .route(
            "/v1/accounts/{id}/authorizations/{token}",
            delete(remove_account_token),
        )
        .route(
            "/v1/instances/{id}/authorizations",
            get(list_instance_tokens).post(create_instance_token),
        )
        .route(
            "/v1/instances/{id}/authorizations/{token}",
            delete(remove_instance_token),
        )
}

async fn list_person_tokens(State(platform): State<Platform>, caller: Caller) -> Answer {
    let holder = Holder::Person(caller.person()?);
    let tokens = platform.store.list_tokens(holder).await?;
    Ok(Reply::ok(&List::from_iter(
        tokens.into_iter().map(Authorization::hidden),
    )))
}

async fn create_person_token(State(platform): State<Platform>, asked: Asked, body: Body) -> Answer {
    let draft = wire::token_draft(body.or_empty())?;
    let person = asked.caller.person()?;
    let token = platform.create_person_token(person, draft).await?;
    let act = asked.act("person.token.create", token.record.id);
    platform.audit.note(act).await;
    Ok(Reply::created(&Authorization::shown(token)))
}

async fn remove_person_token(
    State(platform): State<Platform>,
    asked: Asked,
    Path(token): Path<String>,
) -> Answer {
    let (person, token) = (asked.caller.person()?, token_id(&token)?);
    platform.remove_person_token(person, token).await?;
    let act = asked.act("person.token.remove", token);
    platform.audit.note(act).await;
    Ok(Reply::empty())
}

async fn list_account_tokens(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let token = platform.find_account_token(&caller, id.parse()?).await?;
    Ok(Reply::ok(&List::from_iter(token.map(Authorization::shown))))
}

async fn create_account_token(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
) -> Answer {
    let account: AccountId = id.parse()?;
    let (token, new) = platform
        .create_account_token(&asked.caller, account)
        .await?;
    let status = if new {
        let act = asked.act("account.token.create", token.record.id);
        platform.audit.note(act.in_account(account)).await;
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(Reply::json(status, &Authorization::shown(token)))
}

async fn remove_account_token(
    State(platform): State<Platform>,
    asked: Asked,
    Path((id, token)): Path<(String, String)>,
) -> Answer {
    let (account, token): (AccountId, _) = (id.parse()?, token_id(&token)?);
    platform
        .remove_account_token(&asked.caller, account, token)
        .await?;
    let act = asked.act("account.token.remove", token);
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::empty())
}

async fn list_instance_tokens(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let tokens = platform.list_instance_tokens(&caller, &id).await?;
    Ok(Reply::ok(&List::from_iter(
        tokens.into_iter().map(Authorization::shown),
    )))
}

async fn create_instance_token(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
) -> Answer {
    let (instance, token) = platform.create_instance_token(&asked.caller, &id).await?;
    let act = asked
        .act("instance.token.create", &instance.id)
        .with("token", token.record.id);
    platform.audit.note(act.in_account(instance.account)).await;
    Ok(Reply::created(&Authorization::shown(token)))
}

async fn remove_instance_token(
    State(platform): State<Platform>,
    asked: Asked,
    Path((id, token)): Path<(String, String)>,
) -> Answer {
    let token = token_id(&token)?;
    let instance = platform
        .remove_instance_token(&asked.caller, &id, token)
        .await?;
    let act = asked
        .act("instance.token.remove", &instance.id)
        .with("token", token);
    platform.audit.note(act.in_account(instance.account)).await;
    Ok(Reply::empty())
}

fn token_id(text: &str) -> ModelResult<i64> {
    text.parse()
        .map_err(|_| Error::not_found("there is no such token"))
}
