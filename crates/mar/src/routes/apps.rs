//! The handlers of an app itself.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use pilvi_store::platform::Wanted;
use pilvi_web::{Body, Params, Refusal, Reply};
use serde_json::json;

use super::Answer;
use crate::caller::Caller;
use crate::wire::{self, Shown};
use crate::{Mar, logs};

pub(super) async fn show(State(mar): State<Mar>, caller: Caller) -> Answer {
    let app = mar.app(&caller.app).await?;
    let (state, _) = mar.status(&app).await?;
    Ok(Reply::ok(&wire::app(Shown {
        app: &app,
        state,
        structure: mar.structure(&app.id).await?,
        certificate: mar.store().find_certificate(&app.id).await?,
        settings: &mar.parts().settings,
    })))
}

pub(super) async fn set_stack(state: State<Mar>, caller: Caller, body: Body) -> Answer {
    let stack = wire::stack(body.or_empty())?;
    state.set_stack(&caller, &stack).await?;
    show(state, caller).await
}

pub(super) async fn status(State(mar): State<Mar>, caller: Caller) -> Answer {
    let app = mar.app(&caller.app).await?;
    let (state, processes) = mar.status(&app).await?;
    Ok(Reply::ok(&wire::status(state, &processes)))
}

pub(super) async fn list_vars(State(mar): State<Mar>, caller: Caller) -> Answer {
    Ok(Reply::ok(&mar.show_vars(&caller.app).await?))
}

pub(super) async fn change_vars(State(mar): State<Mar>, caller: Caller, body: Body) -> Answer {
    let asked = wire::object(body.or_empty())?;
    mar.change_vars(&caller, asked).await?;
    Ok(Reply::ok(&mar.show_vars(&caller.app).await?))
}

pub(super) async fn scale(State(mar): State<Mar>, caller: Caller, body: Body) -> Answer {
    let asked = wire::object(body.or_empty())?;
    mar.scale(&caller, &asked).await?;
    let structure = mar.structure(&caller.app).await?;
    Ok(Reply::ok(&json!({ "structure": structure })))
}

pub(super) async fn restart(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.restart(&caller).await?;
    Ok(Reply::empty())
}

pub(super) async fn start(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.set_wanted(&caller, Wanted::Running).await?;
    Ok(Reply::empty())
}

pub(super) async fn stop(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.set_wanted(&caller, Wanted::Stopped).await?;
    Ok(Reply::empty())
}

pub(super) async fn logs(
    State(mar): State<Mar>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = logs::page(&params)?;
    if logs::is_followed(&params) {
        let form = logs::Form::asked(&headers);
        return Ok(mar.follow_log(&caller.app, page, form).await?);
    }
    let entries = mar.read_log(&caller.app, page).await?;
    let results = wire::results(entries.iter().map(logs::shown));
    Ok(Reply::ok(&results).into_response())
}

pub(super) async fn exec(State(mar): State<Mar>, caller: Caller, body: Body) -> Answer {
    let (command, process) = wire::command(body.or_empty())?;
    let executed = mar.execute(&caller, &process.parse()?, &command).await?;
    Ok(Reply::ok(&wire::executed(&executed)))
}

pub(super) async fn list_domains(State(mar): State<Mar>, caller: Caller) -> Answer {
    let domains = mar.store().list_domains(&caller.app).await?;
    let domains = domains
        .iter()
        .map(|domain| json!({"name": domain.as_str()}));
    Ok(Reply::ok(&wire::results(domains)))
}

pub(super) async fn add_domain(State(mar): State<Mar>, caller: Caller, body: Body) -> Answer {
    let name = wire::domain(body.or_empty())?;
    let domain = mar.add_domain(&caller, &name).await?;
    Ok(Reply::created(&json!({"name": domain.as_str()})))
}

pub(super) async fn remove_domain(
    State(mar): State<Mar>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    mar.remove_domain(&caller, &name).await?;
    Ok(Reply::empty())
}

pub(super) async fn set_certificate(State(mar): State<Mar>, caller: Caller, body: Body) -> Answer {
    let upload = wire::certificate(body.or_empty())?;
    let certificate = mar.set_certificate(&caller, &upload).await?;
    let app = mar.app(&caller.app).await?;
    Ok(Reply::created(&wire::ssl_certificate(&app, &certificate)))
}

pub(super) async fn remove_certificate(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.remove_certificate(&caller).await?;
    Ok(Reply::empty())
}

pub(super) async fn purge_cache(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.purge_cache(&caller).await?;
    Ok(Reply::empty())
}

pub(super) async fn reset_repository(State(mar): State<Mar>, caller: Caller) -> Answer {
    mar.reset_repository(&caller).await?;
    Ok(Reply::empty())
}
