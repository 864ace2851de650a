//! Webhooks and the logs of their deliveries.

use axum::extract::{Path, State};
use pilvi_model::query::Page;
use pilvi_model::{Error, WebhookId};
use pilvi_web::{Body, Params, Reply};

use super::Answer;
use crate::caller::Caller;
use crate::{Eds, wire};

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(wire::webhooks(&eds.list_webhooks(&caller).await?))
}

pub(crate) async fn create(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let webhook = eds.create_webhook(&caller, body.required()?).await?;
    Ok(Reply::created(&wire::webhook(&webhook)))
}

pub(crate) async fn get(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    let webhook = eds.get_webhook(&caller, webhook_id(&id)?).await?;
    Ok(Reply::ok(&wire::webhook(&webhook)))
}

pub(crate) async fn update(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let webhook = eds
        .update_webhook(&caller, webhook_id(&id)?, body.required()?)
        .await?;
    Ok(Reply::ok(&wire::webhook(&webhook)))
}

pub(crate) async fn delete(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    eds.delete_webhook(&caller, webhook_id(&id)?).await?;
    Ok(Reply::empty())
}

pub(crate) async fn deliveries(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let page = Page::parse(params.given("limit"), params.given("offset"))?;
    let deliveries = eds.list_deliveries(&caller, webhook_id(&id)?, page).await?;
    Ok(wire::deliveries(&deliveries))
}

fn webhook_id(id: &str) -> Result<WebhookId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such webhook"))
}
