//! The keys that a person pushes with.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get};
use pilvi_web::{Body, Reply};

use super::{Answer, Asked};
use crate::ssh_keys::no_such_ssh_key;
use crate::wire::{self, List};
use crate::{Caller, Platform};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/user/ssh_keys", get(list_ssh_keys).post(create_ssh_key))
        .route("/v1/user/ssh_keys/{key}", delete(remove_ssh_key))
}

async fn list_ssh_keys(State(platform): State<Platform>, caller: Caller) -> Answer {
    let keys = platform.store.list_ssh_keys(caller.person()?).await?;
    Ok(Reply::ok(&List::from_iter(
        keys.into_iter().map(wire::SshKey::from),
    )))
}

async fn create_ssh_key(State(platform): State<Platform>, asked: Asked, body: Body) -> Answer {
    let person = asked.caller.person()?;
    let draft = wire::ssh_key_draft(body.or_empty())?;
    let key = platform.create_ssh_key(person, draft).await?;
    let act = asked
        .act("ssh_key.create", key.id)
        .with("fingerprint", key.fingerprint.as_str());
    platform.audit.note(act).await;
    Ok(Reply::created(&wire::SshKey::from(key)))
}

async fn remove_ssh_key(
    State(platform): State<Platform>,
    asked: Asked,
    Path(key): Path<String>,
) -> Answer {
    let person = asked.caller.person()?;
    let key: i64 = key.parse().map_err(|_| no_such_ssh_key())?;
    platform.remove_ssh_key(person, key).await?;
    let act = asked.act("ssh_key.remove", key);
    platform.audit.note(act).await;
    Ok(Reply::empty())
}
