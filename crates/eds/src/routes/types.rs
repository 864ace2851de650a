//! Object types.

use axum::extract::{Path, State};
use pilvi_web::{Body, Reply};

use super::Answer;
use crate::Eds;
use crate::caller::Caller;
use crate::types::to_json;

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    let types = eds.list_types(&caller).await?;
    let results: Vec<_> = types.iter().map(to_json).collect();
    Ok(Reply::ok(&serde_json::json!({ "results": results })))
}

pub(crate) async fn merge(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let (object_type, is_new) = eds.merge_type(&caller, body.required()?).await?;
    let json = to_json(&object_type);
    Ok(match is_new {
        true => Reply::created(&json),
        false => Reply::ok(&json),
    })
}

pub(crate) async fn get(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(Reply::ok(&to_json(&eds.get_type(&caller, &id).await?)))
}

pub(crate) async fn replace(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let object_type = eds.replace_type(&caller, &id, body.required()?).await?;
    Ok(Reply::ok(&to_json(&object_type)))
}
