//! Object types.

use axum::extract::{Path, State};
use pilvi_model::Error;
use pilvi_web::{Body, Params, Reply};
use serde_json::json;

use super::Answer;
use crate::Eds;
use crate::caller::Caller;
use crate::types::to_json;

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    let types = eds.list_types(&caller).await?;
    let results: Vec<_> = types.iter().map(to_json).collect();
    Ok(Reply::ok(&json!({ "results": results })))
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

pub(crate) async fn remove(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let with_objects = match params.given("objects") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(Error::bad_request("`objects` must be true or false").into()),
    };
    let removed = eds.remove_type(&caller, &id, with_objects).await?;
    Ok(Reply::ok(&json!({"objects": removed.objects})))
}

pub(crate) async fn export(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(Reply::ok(&eds.export_schema(&caller).await?))
}

pub(crate) async fn import(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let imported = eds.import_schema(&caller, body.required()?).await?;
    let results: Vec<_> = imported.types.iter().map(to_json).collect();
    Ok(Reply::ok(
        &json!({"results": results, "warnings": imported.warnings}),
    ))
}
