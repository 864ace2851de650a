//! Objects of custom and built-in types, and their access lists.

use axum::extract::State;
use http::StatusCode;
use pilvi_model::query::Include;
use pilvi_model::{AccessChange, AccessList, Properties};
use pilvi_store::backend::Mutation;
use pilvi_web::{Body, Params, Reply};

use super::{Answer, Collection, Target, query};
use crate::caller::Caller;
use crate::once::OnceHeader;
use crate::{Eds, wire};

pub(crate) async fn list(
    State(eds): State<Eds>,
    caller: Caller,
    Collection(object_type): Collection,
    params: Params,
) -> Answer {
    let query = query(&params)?;
    let echo = query.echo();
    if params.has("count") {
        let count = eds.count_objects(&caller, object_type, query).await?;
        return Ok(wire::count(&echo, count));
    }
    let results = eds.list_objects(&caller, object_type, query).await?;
    Ok(wire::list(&echo, &results))
}

pub(crate) async fn create(
    State(eds): State<Eds>,
    caller: Caller,
    Collection(object_type): Collection,
    once: OnceHeader,
    body: Body,
) -> Answer {
    let body = body.required()?;
    let once = once.key(&caller, &object_type, &body);
    let mutation = Mutation::Create {
        id: eds.new_id(),
        object_type,
        properties: Properties::from_json(body)?,
    };
    let text = eds.create(&caller, mutation, once).await?;
    Ok(Reply::raw(StatusCode::CREATED, text))
}

pub(crate) async fn get(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    params: Params,
) -> Answer {
    let include = match params.given("include") {
        Some(text) => Include::parse(text)?,
        None => Include::default(),
    };
    let object = eds
        .get_object(&caller, target.object_type, target.id)
        .await?;
    let text = eds.with_included(&caller, &include, object.text).await?;
    Ok(Reply::raw(StatusCode::OK, text))
}

pub(crate) async fn update(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    let mutation = Mutation::Update {
        object_type: target.object_type,
        id: target.id,
        changes: Properties::from_json(body.required()?)?,
    };
    let written = eds.write(&caller, mutation).await?;
    Ok(Reply::raw(StatusCode::OK, written.object.text))
}

pub(crate) async fn update_atomically(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    let object = eds
        .update_atomically(&caller, target, &body.required()?)
        .await?;
    Ok(Reply::raw(StatusCode::OK, object.text))
}

pub(crate) async fn delete(State(eds): State<Eds>, caller: Caller, target: Target) -> Answer {
    let mutation = Mutation::Delete {
        object_type: target.object_type,
        id: target.id,
    };
    eds.write(&caller, mutation).await?;
    Ok(Reply::empty())
}

pub(crate) async fn get_access(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    params: Params,
) -> Answer {
    let expand = params
        .get("expand")
        .is_some_and(|value| !matches!(value, "0" | "false"));
    Ok(Reply::ok(&eds.get_access(&caller, target, expand).await?))
}

pub(crate) async fn set_access(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    change_access(&eds, &caller, target, body, AccessChange::Replace).await
}

pub(crate) async fn add_access(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    change_access(&eds, &caller, target, body, AccessChange::Add).await
}

pub(crate) async fn withdraw_access(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    change_access(&eds, &caller, target, body, AccessChange::Withdraw).await
}

async fn change_access(
    eds: &Eds,
    caller: &Caller,
    target: Target,
    body: Body,
    change: fn(AccessList) -> AccessChange,
) -> Answer {
    let list = AccessList::from_json(&body.required()?)?;
    Ok(Reply::ok(
        &eds.change_access(caller, target, change(list)).await?,
    ))
}

pub(crate) async fn batch(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    eds.batch(&caller, body.required()?)
        .await
        .map_err(Into::into)
}
