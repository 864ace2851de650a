//! Indexes, and the advice about them.

use axum::extract::{Path, State};
use pilvi_model::{Error, ObjectId};
use pilvi_web::{Body, Reply};
use serde_json::{Value, json};

use super::Answer;
use crate::Eds;
use crate::caller::Caller;
use crate::indexes::{slow_query_to_json, to_json};

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    let indexes = eds.list_indexes(&caller).await?;
    Ok(results(indexes.iter().map(to_json)))
}

pub(crate) async fn create(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let (index, is_new) = eds.create_index(&caller, &body.required()?).await?;
    Ok(match is_new {
        true => Reply::created(&to_json(&index)),
        false => Reply::ok(&to_json(&index)),
    })
}

pub(crate) async fn get(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    let index = eds.get_index(&caller, index_id(&id)?).await?;
    Ok(Reply::ok(&to_json(&index)))
}

pub(crate) async fn delete(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    eds.remove_index(&caller, index_id(&id)?).await?;
    Ok(Reply::empty())
}

pub(crate) async fn advice(State(eds): State<Eds>, caller: Caller) -> Answer {
    let slow = eds.list_slow_queries(&caller).await?;
    Ok(results(slow.iter().map(slow_query_to_json)))
}

pub(crate) async fn forget_advice(State(eds): State<Eds>, caller: Caller) -> Answer {
    eds.forget_slow_queries(&caller).await?;
    Ok(Reply::empty())
}

fn results(items: impl Iterator<Item = Value>) -> Reply {
    Reply::ok(&json!({"results": items.collect::<Vec<Value>>()}))
}

fn index_id(id: &str) -> Result<ObjectId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such index"))
}
