//! Sockets: reserving them, and what their gateway's owner sees and does.

use std::sync::Arc;

use axum::extract::{Path, State};
use pilvi_web::{Body, Params, Reply};
use serde::Deserialize;

use super::callers::{Admin, Base, Reader};
use super::{Result, number, object};
use crate::mws::{Mws, Tagged};
use crate::wire;

/// The socket that a path names, behind the gateway's id or without one.
#[derive(Deserialize)]
pub(super) struct At {
    id: String,
}

pub(super) async fn reserve_uri(
    State(mws): State<Arc<Mws>>,
    reader: Reader,
    Base(base): Base,
) -> Result {
    let tags = reader.user.as_ref().map(wire::tags_of).unwrap_or_default();
    let reservation = mws.reserve(&reader.gateway, tags).await?;
    Ok(Reply::ok(&wire::SocketUri::new(&reservation, &base)))
}

pub(super) async fn create(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Base(base): Base,
    body: Body,
) -> Result {
    let tags = wire::read_tags(object(body)?, &mws.limits)?;
    let reservation = mws.reserve(&gateway, tags).await?;
    Ok(Reply::created(&wire::NewSocket::new(&reservation, &base)))
}

/// Clients ask for all sockets at once and few gateways have more than a page of them; the others can be had
/// with `limit` and `offset`, which no old client sends.
pub(super) async fn list(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    params: Params,
) -> Result {
    let max = mws.limits.page_max;
    let limit = number(&params, "limit")?.map_or(max, |limit| limit.min(max));
    let offset = number(&params, "offset")?.unwrap_or(0);
    let sockets = mws.hub.page(gateway.id, offset, limit).await?;
    Ok(Reply::ok(&wire::Page::from(&sockets[..])))
}

pub(super) async fn show(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Path(At { id }): Path<At>,
) -> Result {
    let socket = mws.find_socket(gateway.id, &id).await?;
    Ok(Reply::ok(&wire::Socket::from(&socket)))
}

pub(super) async fn retag(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Path(At { id }): Path<At>,
    Base(base): Base,
    body: Body,
) -> Result {
    let tags = wire::read_tags(object(body)?, &mws.limits)?;
    Ok(match mws.retag_socket(gateway.id, &id, tags).await? {
        Tagged::Connected(socket) => Reply::ok(&wire::Socket::from(&socket)),
        Tagged::Reserved(reservation) => Reply::ok(&wire::NewSocket::new(&reservation, &base)),
    })
}

pub(super) async fn delete(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Path(At { id }): Path<At>,
) -> Result {
    mws.delete_socket(gateway.id, &id).await?;
    Ok(Reply::empty())
}
