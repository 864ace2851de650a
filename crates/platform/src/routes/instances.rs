//! Instances, whoever provides them.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use pilvi_model::{Error, Provider};
use pilvi_web::{Body, Params, Reply};

use super::{Answer, Asked, show_instance};
use crate::wire::{self, List};
use crate::{Caller, Platform, Removal};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route(
            "/v1/accounts/{id}/instances",
            get(list_instances).post(create_instance),
        )
        .route(
            "/v1/instances/{id}",
            get(get_instance)
                .put(change_instance)
                .delete(remove_instance),
        )
        .route("/v1/instances/{id}/restore", post(restore_instance))
}

async fn list_instances(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let account = platform.get_account(&caller, id.parse()?).await?;
    let provider = match params.given("provider") {
        None => None,
        Some(asked) => match asked.to_ascii_lowercase().parse::<Provider>() {
            Ok(provider) => Some(provider),
            // Nobody has an instance of a provider that does not exist.
            Err(_) => return Ok(Reply::ok(&List::<()>::from_iter([]))),
        },
    };
    if is_given(&params, "deleted")? {
        let deleted = platform
            .list_deleted_instances(account.id, provider)
            .await?;
        let deleted = deleted.iter().map(|deleted| {
            wire::DeletedInstance::new(
                show_instance(&platform, &deleted.instance),
                deleted.deleted_at,
                platform.removed_at(deleted.deleted_at),
            )
        });
        return Ok(Reply::ok(&List::from_iter(deleted)));
    }
    let instances = platform.store.list_instances(account.id, provider).await?;
    Ok(Reply::ok(&List::from_iter(
        instances
            .iter()
            .map(|instance| show_instance(&platform, instance)),
    )))
}

async fn create_instance(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let draft = wire::instance_draft(body.or_empty())?;
    let instance = platform
        .create_instance(&asked.caller, id.parse()?, draft)
        .await?;
    let act = asked
        .act("instance.create", &instance.id)
        .with("name", instance.name.as_str());
    platform.audit.note(act.in_account(instance.account)).await;
    Ok(Reply::created(&show_instance(&platform, &instance)))
}

async fn get_instance(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let instance = platform.get_instance(&caller, &id).await?;
    Ok(Reply::ok(&show_instance(&platform, &instance)))
}

async fn change_instance(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (name, tags) = wire::instance_change(body.or_empty())?;
    let instance = platform
        .change_instance(&asked.caller, &id, name, tags)
        .await?;
    let act = asked
        .act("instance.change", &instance.id)
        .with("name", instance.name.as_str())
        .with("tags", instance.tags.clone());
    platform.audit.note(act.in_account(instance.account)).await;
    Ok(Reply::ok(&show_instance(&platform, &instance)))
}

async fn remove_instance(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let how = match is_given(&params, "now")? {
        true => Removal::Now,
        false => Removal::AfterGrace,
    };
    let removed = platform.remove_instance(&asked.caller, &id, how).await?;
    let event = match removed.is_gone {
        true => "instance.remove",
        false => "instance.delete",
    };
    let act = asked.act(event, &id);
    platform.audit.note(act.in_account(removed.account)).await;
    Ok(Reply::empty())
}

async fn restore_instance(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
) -> Answer {
    let instance = platform.restore_instance(&asked.caller, &id).await?;
    let act = asked.act("instance.restore", &instance.id);
    platform.audit.note(act.in_account(instance.account)).await;
    Ok(Reply::ok(&show_instance(&platform, &instance)))
}

/// Whether a parameter says yes. Anything but yes and no is refused: a misspelt wish must not do the opposite.
fn is_given(params: &Params, name: &'static str) -> Result<bool, Error> {
    match params.given(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Error::invalid(name, "must be true or false")),
    }
}
