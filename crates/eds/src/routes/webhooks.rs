//! Webhooks and the logs of their deliveries.

use axum::extract::{Path, State};
use pilvi_model::query::Page;
use pilvi_model::{Error, WebhookId};
use pilvi_web::{Arrival, Body, Params, Reply};

use super::Answer;
use crate::caller::Caller;
use crate::{Eds, wire};

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(wire::webhooks(&eds.list_webhooks(&caller).await?))
}

pub(crate) async fn create(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let webhook = eds.create_webhook(&caller, body.required()?).await?;
    Ok(Reply::created(&wire::new_webhook(&webhook)))
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
    let deliveries = eds
        .list_deliveries(&caller, webhook_id(&id)?, params.given("state"), page)
        .await?;
    Ok(wire::deliveries(&deliveries))
}

pub(crate) async fn delivery(
    State(eds): State<Eds>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Answer {
    let (delivery, letter) = eds
        .get_delivery(&caller, webhook_id(&id)?, &delivery)
        .await?;
    Ok(wire::whole_delivery(
        caller.backend.id,
        &delivery,
        letter.as_ref(),
    ))
}

pub(crate) async fn replay(
    State(eds): State<Eds>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Answer {
    let delivery = eds
        .replay_delivery(&caller, webhook_id(&id)?, &delivery)
        .await?;
    Ok(Reply::ok(&wire::delivery(&delivery)))
}

pub(crate) async fn replay_failed(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let replayed = eds.replay_failed(&caller, webhook_id(&id)?).await?;
    Ok(Reply::ok(&wire::replayed(replayed)))
}

pub(crate) async fn ping(
    State(eds): State<Eds>,
    caller: Caller,
    arrival: Arrival,
    Path(id): Path<String>,
) -> Answer {
    let attempt = eds
        .ping_webhook(&caller, webhook_id(&id)?, arrival.request_id)
        .await?;
    Ok(Reply::ok(&wire::attempt(&attempt)))
}

pub(crate) async fn rotate(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let id = webhook_id(&id)?;
    let fresh = eds.rotate_signing(&caller, id, &body.or_empty()).await?;
    Ok(Reply::ok(&wire::fresh_secret(id, &fresh)))
}

fn webhook_id(id: &str) -> Result<WebhookId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such webhook"))
}
