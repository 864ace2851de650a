//! What EDS answers to. Shape only: typed in, typed out, no rules.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use http::StatusCode;
use pilvi_model::query::{Page, Parameters, Query};
use pilvi_model::{Error, ObjectId, ObjectType, Properties, WebhookId};
use pilvi_web::{Body, Params, Refusal, Reply};

use crate::Eds;
use crate::caller::Caller;
use crate::wire;

type Answer = Result<Reply, Refusal>;

pub(crate) fn table(eds: Eds) -> Router {
    Router::new()
        .route("/v1/objects/{type}", get(list_objects).post(create_object))
        // PATCH is no verb of the old clients; it means what PUT means here: change what is named.
        .route(
            "/v1/objects/{type}/{id}",
            get(get_object)
                .put(update_object)
                .patch(update_object)
                .delete(delete_object),
        )
        // No published client manages webhooks; these five are Pilvi's own, with the security token.
        .route("/v1/webhooks", get(list_webhooks).post(create_webhook))
        .route(
            "/v1/webhooks/{id}",
            get(get_webhook).put(update_webhook).delete(delete_webhook),
        )
        .route("/v1/webhooks/{id}/deliveries", get(list_deliveries))
        .with_state(eds)
}

async fn list_objects(
    State(eds): State<Eds>,
    caller: Caller,
    Path(name): Path<String>,
    params: Params,
) -> Answer {
    let object_type = ObjectType::custom(&name)?;
    let query = query(&params)?;
    let echo = query.echo();
    if params.has("count") {
        let count = eds.count_objects(&caller, object_type, query).await?;
        return Ok(wire::count(&echo, count));
    }
    let results = eds.list_objects(&caller, object_type, query).await?;
    Ok(wire::list(&echo, &results))
}

async fn create_object(
    State(eds): State<Eds>,
    caller: Caller,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let object_type = ObjectType::custom(&name)?;
    let object = eds
        .create_object(
            &caller,
            object_type,
            Properties::from_json(body.required()?)?,
        )
        .await?;
    Ok(Reply::raw(StatusCode::CREATED, object.text))
}

async fn get_object(
    State(eds): State<Eds>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (object_type, id) = object(&path)?;
    Ok(Reply::raw(
        StatusCode::OK,
        eds.get_object(&caller, object_type, id).await?.text,
    ))
}

async fn update_object(
    State(eds): State<Eds>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    body: Body,
) -> Answer {
    let (object_type, id) = object(&path)?;
    let changes = Properties::from_json(body.required()?)?;
    Ok(Reply::raw(
        StatusCode::OK,
        eds.update_object(&caller, object_type, id, changes)
            .await?
            .text,
    ))
}

async fn delete_object(
    State(eds): State<Eds>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (object_type, id) = object(&path)?;
    eds.delete_object(&caller, object_type, id).await?;
    Ok(Reply::empty())
}

async fn list_webhooks(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(wire::webhooks(&eds.list_webhooks(&caller).await?))
}

async fn create_webhook(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let webhook = eds.create_webhook(&caller, body.required()?).await?;
    Ok(Reply::created(&wire::webhook(&webhook)))
}

async fn get_webhook(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    let webhook = eds.get_webhook(&caller, webhook_id(&id)?).await?;
    Ok(Reply::ok(&wire::webhook(&webhook)))
}

async fn update_webhook(
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

async fn delete_webhook(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    eds.delete_webhook(&caller, webhook_id(&id)?).await?;
    Ok(Reply::empty())
}

async fn list_deliveries(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let page = Page::parse(params.given("limit"), params.given("offset"))?;
    let deliveries = eds.list_deliveries(&caller, webhook_id(&id)?, page).await?;
    Ok(wire::deliveries(&deliveries))
}

fn query(params: &Params) -> Result<Query, Error> {
    Query::parse(&Parameters {
        q: params.given("q"),
        sort: params.given("sort"),
        limit: params.given("limit"),
        offset: params.given("offset"),
        include: params.given("include"),
    })
}

fn object((name, id): &(String, String)) -> Result<(ObjectType, ObjectId), Error> {
    let id = id.parse().map_err(|_| {
        Error::not_found("there is no such object; an id is 24 lower-case hex characters")
    })?;
    Ok((ObjectType::custom(name)?, id))
}

fn webhook_id(id: &str) -> Result<WebhookId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such webhook"))
}
