//! The two calls of a program that signs in: to begin, and to ask how it stands. Nobody is known behind them; the codes
//! are in bodies, never in addresses.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use pilvi_base::Secret;
use pilvi_model::Error;
use pilvi_web::{Arrival, Body, Refusal, Reply};
use serde::Serialize;

use super::Polled;
use crate::Platform;
use crate::oidc::Visit;
use crate::routes::Answer;
use crate::wire::{Authorization, Fields};

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/device_codes", post(begin))
        .route("/v1/device_codes/token", post(poll))
}

/// The shape of RFC 8628, §3.2.
#[derive(Serialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

async fn begin(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let client = fields.text("client");
    fields.faults.finish()?;
    let client = client.unwrap_or_else(|| "a program".to_owned());
    let codes = platform
        .begin_device_login(&client, arrival.peer.ip())
        .await?;
    let page = format!("{}/console/device", platform.address_for(&arrival));
    Ok(Reply::created(&Begun {
        device_code: codes.device_code.expose().to_owned(),
        verification_uri_complete: format!("{page}?user_code={}", codes.user_code),
        user_code: codes.user_code,
        verification_uri: page,
        expires_in: codes.expires_in.as_secs(),
        interval: codes.interval.as_secs(),
    }))
}

async fn poll(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let code = fields.text("device_code");
    fields.faults.finish()?;
    let code = code.filter(|code| !code.is_empty());
    let code = code.ok_or_else(|| Error::invalid("device_code", "is required"))?;
    let visit = Visit {
        request: arrival.request_id,
        peer: arrival.peer.ip(),
    };
    let code = Secret::new(code);
    let (reason, message) = match platform.poll_device_login(&code, &visit).await? {
        Polled::Issued(_, token) => return Ok(Reply::created(&Authorization::shown(token))),
        Polled::Pending => ("AuthorizationPending", "nobody has decided yet; ask again"),
        Polled::TooFast => (
            "SlowDown",
            "this is asked too often; wait five seconds longer from now on",
        ),
        Polled::Denied => ("AccessDenied", "the sign-in was denied in the browser"),
        Polled::Over => (
            "ExpiredToken",
            "this sign-in is over or was never begun; begin another",
        ),
    };
    Err(Refusal::new(StatusCode::BAD_REQUEST, message).with_reason(reason))
}
