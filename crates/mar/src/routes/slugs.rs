//! The handlers of slugs and releases.

use axum::extract::{Path, Request, State};
use pilvi_base::Secret;
use pilvi_model::{AppId, Error};
use pilvi_web::{Arrival, Body, Params, Reply};
use serde_json::json;

use super::Answer;
use crate::Mar;
use crate::caller::Caller;
use crate::slugs::Ticket;
use crate::wire;

pub(super) async fn list(State(mar): State<Mar>, caller: Caller) -> Answer {
    let slugs = mar.store().list_slugs(&caller.app).await?;
    Ok(Reply::ok(&wire::results(slugs.iter().map(wire::slug))))
}

/// The classic command line takes host, path and query of the address, and sends the bytes to port 80 of that host.
pub(super) async fn announce(
    State(mar): State<Mar>,
    caller: Caller,
    arrival: Arrival,
    body: Body,
) -> Answer {
    let (tag, process_types) = wire::new_slug(body.or_empty())?;
    let (slug, ticket) = mar.announce_slug(&caller, tag, process_types).await?;
    let url = format!(
        "{}/v1/apps/{}/blobs/{}?expires={}&signature={}",
        arrival.base("http"),
        caller.app,
        ticket.slug,
        ticket.expires,
        ticket.signature.expose()
    );
    let mut shown = wire::slug(&slug);
    shown["blob"] = json!({"url": url, "method": "put"});
    Ok(Reply::created(&shown))
}

pub(super) async fn receive(
    State(mar): State<Mar>,
    Path((app, number)): Path<(String, String)>,
    params: Params,
    arrival: Arrival,
    request: Request,
) -> Answer {
    let app: AppId = app.parse()?;
    let ticket = Ticket {
        slug: number.parse().unwrap_or_default(),
        expires: params
            .given("expires")
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        signature: Secret::new(params.given("signature").unwrap_or_default()),
    };
    let from = (arrival.request_id, arrival.peer.ip());
    mar.receive_slug(&app, &ticket, request.into_body(), from)
        .await?;
    Ok(Reply::empty())
}

pub(super) async fn deploy(
    State(mar): State<Mar>,
    caller: Caller,
    Path((_, tag)): Path<(String, String)>,
) -> Answer {
    let tag = tag.parse().map_err(|_| no_such("slug"))?;
    let release = mar.deploy_slug(&caller, &tag).await?;
    Ok(Reply::ok(&wire::deployed(release.as_ref())))
}

pub(super) async fn remove(
    State(mar): State<Mar>,
    caller: Caller,
    Path((_, tag)): Path<(String, String)>,
) -> Answer {
    let tag = tag.parse().map_err(|_| no_such("slug"))?;
    mar.remove_slug(&caller, &tag).await?;
    Ok(Reply::empty())
}

pub(super) async fn list_releases(State(mar): State<Mar>, caller: Caller) -> Answer {
    const SHOWN: u32 = 100;
    let releases = mar.store().list_releases(&caller.app, SHOWN).await?;
    Ok(Reply::ok(&wire::results(
        releases.iter().map(wire::release),
    )))
}

pub(super) async fn roll_back(
    State(mar): State<Mar>,
    caller: Caller,
    Path((_, number)): Path<(String, String)>,
) -> Answer {
    let number = number
        .trim_start_matches('v')
        .parse()
        .map_err(|_| no_such("release"))?;
    let release = mar.roll_back(&caller, number).await?;
    Ok(Reply::ok(&wire::deployed(release.as_ref())))
}

fn no_such(what: &str) -> Error {
    Error::not_found(format!("there is no such {what}"))
}
