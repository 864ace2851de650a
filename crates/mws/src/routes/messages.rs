//! Messages, by whoever may send and from webhooks of data backends.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderName;
use pilvi_web::{Body, Reply};

use super::callers::{Admin, Writer};
use super::{Result, object};
use crate::gateway::Gateway;
use crate::mws::Mws;
use crate::wire;

/// The name of the message that was accepted, by which a history is read on.
const MESSAGE_ID: HeaderName = HeaderName::from_static("x-message-id");

pub(super) async fn send(
    State(mws): State<Arc<Mws>>,
    Writer(gateway): Writer,
    body: Body,
) -> Result {
    let message = wire::Message::read(object(body)?, &mws.limits)?;
    accept(&mws, &gateway, &message).await
}

pub(super) async fn receive_webhook(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    body: Body,
) -> Result {
    let message = wire::Message::read_webhook(object(body)?, &mws.limits)?;
    accept(&mws, &gateway, &message).await
}

/// The body is that of the open-source server, whose users compare it; what is new is in the head.
async fn accept(mws: &Mws, gateway: &Gateway, message: &wire::Message) -> Result {
    let id = mws.publish(gateway, message).await?;
    Ok(Reply::created(message).with_header(MESSAGE_ID, &id.to_string()))
}
