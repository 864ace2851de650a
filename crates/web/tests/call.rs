//! Requests that never see a socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use axum::body::Body;
use common::door;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use pilvi_model::RequestId;
use pilvi_web::{Arrival, Limits};
use serde_json::{Value, json};

async fn call(method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let id = RequestId::from_caller("delivery-1").unwrap();
    let arrival = Arrival::in_process("localhost", id);
    let response = door(Limits::default()).call(request, arrival).await;
    assert_eq!(response.headers()["x-request-id"], "delivery-1");
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_call_in_process_takes_the_same_way() {
    let (status, body) = call("POST", "/v1//gateways/1/messages/", r#"{"data":"x"}"#).await;
    assert_eq!(
        (status, body),
        (StatusCode::CREATED, json!({ "data": "x" }))
    );
    let (status, body) = call("POST", "/v1/gateways/1/messages", "{").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"]["reason"], "BadRequest");
    let (status, body) = call("GET", "/v1/objects/x?q=1", "").await;
    assert_eq!((status, &body["q"]), (StatusCode::OK, &json!("1")));
    let (status, _) = call("GET", "/v1/nothing", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
