//! The routes of backups.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use pilvi_backup::Bounds;
use pilvi_core::{Act, complete};
use pilvi_model::{Error, Instance};
use pilvi_store::platform::Role;
use pilvi_web::pieces::{inlet, outlet};
use pilvi_web::{Params, Refusal, Reply};
use serde_json::json;

use super::{KeyFile, Pieces, RestoreDraft, blocking, of_the_archive};
use crate::Platform;
use crate::routes::{Answer, Asked, show_instance};

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/server/backup", get(back_up_server))
        .route("/v1/instances/{id}/backup", get(back_up_instance))
        .route("/v1/accounts/{id}/instances/restore", post(restore))
}

/// Whether this is the path of the one request that brings an archive.
pub(crate) fn is_restore(path: &str) -> bool {
    path.starts_with("/v1/accounts/") && path.ends_with("/instances/restore")
}

/// What a backup is made of.
enum Subject {
    Server(KeyFile),
    Instance(Arc<Instance>),
}

async fn back_up_server(
    State(platform): State<Platform>,
    asked: Asked,
    params: Params,
) -> Result<Response, Refusal> {
    platform.check_operator(&asked.caller).await?;
    let key = match yes(&params, "include_key")? {
        true => KeyFile::Included,
        false => KeyFile::LeftOut,
    };
    let act = asked
        .act("server.backup", "server")
        .with("includes_key", key == KeyFile::Included);
    let room = platform.server_room().await?;
    send(&platform, Subject::Server(key), act, room)
}

async fn back_up_instance(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let instance = platform.get_own_instance(&asked.caller, &id).await?;
    let act = asked
        .act("instance.backup", &instance.id)
        .in_account(instance.account);
    let room = platform.instance_room(instance.account).await?;
    send(&platform, Subject::Instance(instance), act, room)
}

/// Answers with an archive while it is being written. A fault on the way becomes the archive's last entry; where the
/// server ends on the way, the archive has no end.
fn send(
    platform: &Platform,
    subject: Subject,
    act: Act,
    room: impl Send + 'static,
) -> Result<Response, Refusal> {
    let (outlet, body) = outlet();
    let name = match &subject {
        Subject::Server(_) => "server".to_owned(),
        Subject::Instance(instance) => instance.id.clone(),
    };
    let platform = platform.clone();
    let created_at = platform.now().to_millis_text();
    let tasks = platform.tasks.clone();
    let file = format!("attachment; filename=\"pilvi-{name}.tar\"");
    tasks.spawn("write a backup", async move {
        let _room = room;
        let mut pieces = Pieces::new(outlet);
        let outcome = match &subject {
            Subject::Server(key) => platform.write_server(*key, &mut pieces).await,
            Subject::Instance(instance) => platform.write_instance(instance, &mut pieces).await,
        };
        let ended = pieces.end(outcome, created_at, platform.keyring.clone());
        match ended.await {
            Ok(()) => platform.audit.note(act).await,
            Err(error) => tracing::error!(
                name,
                error = &error as &dyn std::error::Error,
                "a backup was given up"
            ),
        }
    });
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let file = HeaderValue::from_str(&file).map_err(Error::internal)?;
    headers.insert(CONTENT_DISPOSITION, file);
    Ok(response)
}

async fn restore(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> Answer {
    let account = platform
        .get_account_as(Role::Developer, &asked.caller, id.parse()?)
        .await?;
    let draft = RestoreDraft {
        name: params.given("name").map(str::to_owned),
        id: params.given("id").map(str::to_owned),
        replace: yes(&params, "replace")?,
    };
    if draft.replace && draft.id.is_none() {
        return Err(Error::invalid("replace", "needs the `id` that is to be kept").into());
    }
    let room = platform.instance_room(account.id).await?;
    let staging = platform.staging()?;
    let bounds = platform.restore_bounds(staging.path())?;
    let unpacked = receive(request.into_body(), staging.path().to_owned(), bounds).await?;
    let work = {
        let platform = platform.clone();
        async move {
            let _room = room;
            let restored = platform
                .restore(&asked.caller, &account, &unpacked, staging.path(), draft)
                .await?;
            let act = asked
                .act("instance.import", &restored.instance.id)
                .with("origin", restored.origin.as_str())
                .with("made_at", restored.made_at.as_str());
            let act = act.in_account(restored.instance.account);
            platform.audit.note(act).await;
            Ok(restored)
        }
    };
    let restored = complete(&platform.tasks, "restore an instance", work).await?;
    let mut shown = serde_json::to_value(show_instance(&platform, &restored.instance))
        .map_err(Error::internal)?;
    shown["restored"] = json!({
        "origin": restored.origin,
        "madeAt": restored.made_at,
        "missing": restored.missing,
    });
    Ok(Reply::created(&shown))
}

/// Takes an archive in, as it comes.
async fn receive(
    body: Body,
    folder: std::path::PathBuf,
    bounds: Bounds,
) -> pilvi_model::Result<pilvi_backup::Unpacked> {
    let (inlet, feeding) = inlet(body);
    let unpacking =
        blocking(move || pilvi_backup::unpack(inlet, &folder, bounds).map_err(of_the_archive));
    let (unpacked, ()) = tokio::join!(unpacking, feeding);
    unpacked
}

/// Whether a parameter says yes.
fn yes(params: &Params, name: &'static str) -> pilvi_model::Result<bool> {
    match params.given(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Error::invalid(name, "must be true or false")),
    }
}
