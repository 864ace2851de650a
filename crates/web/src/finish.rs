//! Requests that come to their end although their clients hang up.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use pilvi_base::TaskGroup;
use pilvi_core::complete;

use crate::Refusal;

/// Carries out to its end whatever may change something: an act and its line in the audit log belong together. What
/// only reads ends with its client. A layer, for `axum::middleware::from_fn_with_state`.
pub async fn finish(State(tasks): State<TaskGroup>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let answered = complete(&tasks, "answer a request", async move {
        Ok(next.run(request).await)
    });
    answered
        .await
        .unwrap_or_else(|error| Refusal::from(error).into_response())
}
