//! Removing what nobody needs, when an administrator wants it now.

use axum::extract::State;
use pilvi_web::{Body, Reply};
use serde_json::json;

use super::Answer;
use crate::Eds;
use crate::caller::Caller;

pub(crate) async fn collect(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let collected = eds.collect_files(&caller, body.or_empty()).await?;
    Ok(Reply::ok(&json!({
        "files": collected.files,
        "uploads": collected.uploads,
        "blobs": collected.blobs,
        "bytes": collected.bytes,
    })))
}
