//! The notification stream (`eds.md` §12) and live queries.

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pilvi_model::query::Filter;
use pilvi_model::{Error, ObjectType};
use pilvi_web::{Arrival, Params, Refusal, Reply};
use serde_json::json;

use super::Answer;
use crate::caller::{Caller, Shown};
use crate::live::{Beginning, Subset, Topic, since_of};
use crate::{Eds, wire};

/// How long the address of a web socket can be used to open one.
const SOCKET_TICKET_LIFE: Duration = Duration::from_secs(60);
/// How long an event stream can be opened again: browsers do that by themselves, with the address that they have.
const EVENTS_TICKET_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A filter travels in an address.
const Q_BYTES_MAX: usize = 4 << 10;

/// Who asks, with the credential itself: what follows is told only as long as it is valid.
pub(crate) struct Follower {
    caller: Caller,
    shown: Shown,
    arrival: Arrival,
}

impl FromRequestParts<Eds> for Follower {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, eds).await;
        let shown = Shown::of(&parts.headers)?;
        let caller = Caller::from_request_parts(parts, eds).await?;
        Ok(Self {
            caller,
            shown,
            arrival,
        })
    }
}

pub(crate) async fn stream_url(
    State(eds): State<Eds>,
    follower: Follower,
    params: Params,
) -> Answer {
    eds.live()?;
    let subset = Subset::parse(params.given("filter").unwrap_or("{}"))?;
    let ticket = eds.ticket(
        follower.caller.backend.id,
        follower.shown,
        Topic::Stream(subset),
        Beginning::default(),
        SOCKET_TICKET_LIFE,
    );
    let url = eds.socket_url(&follower.arrival, &ticket)?;
    Ok(Reply::ok(&json!({"expiringUrl": url})))
}

pub(crate) async fn live_url(State(eds): State<Eds>, follower: Follower, params: Params) -> Answer {
    eds.live()?;
    let topic = topic(&params)?;
    let beginning = beginning(&params)?;
    check_list(&follower.caller, &topic).await?;
    let ticket = |life| {
        let (topic, beginning) = (topic.clone(), beginning.clone());
        let (backend, shown) = (follower.caller.backend.id, follower.shown.clone());
        eds.ticket(backend, shown, topic, beginning, life)
    };
    let socket = ticket(SOCKET_TICKET_LIFE);
    let events = ticket(EVENTS_TICKET_LIFE);
    Ok(wire::live_url(
        &eds.socket_url(&follower.arrival, &socket)?,
        socket.until(),
        &eds.events_url(&follower.arrival, &events),
        events.until(),
    ))
}

/// An event stream: with a ticket, as browsers open it, or with the headers of any other call.
pub(crate) async fn live(
    State(eds): State<Eds>,
    params: Params,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let mut ticket = match params.given("ticket") {
        Some(token) => eds.redeem(token)?,
        None => {
            let (mut parts, _) = request.into_parts();
            let follower = Follower::from_request_parts(&mut parts, &eds).await?;
            let topic = topic(&params)?;
            let beginning = beginning(&params)?;
            let backend = follower.caller.backend.id;
            eds.ticket(
                backend,
                follower.shown,
                topic,
                beginning,
                SOCKET_TICKET_LIFE,
            )
        }
    };
    if !ticket.is_query() {
        let message = "this address is that of a web socket; open it with an Upgrade";
        return Err(Error::bad_request(message).into());
    }
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok());
    let last = last.filter(|last| !last.is_empty());
    if let Some(since) = last.or_else(|| params.given("since")) {
        ticket.since(since_of(since)?);
    }
    let body = eds.follow_by_events(ticket).await?;
    let mut response = body.into_body().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather what they pass on would hold back every message.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

async fn check_list(caller: &Caller, topic: &Topic) -> Result<(), Error> {
    match topic {
        Topic::Stream(_) => Ok(()),
        Topic::Query { object_type, .. } => {
            let asker = caller.asker.clone();
            caller.backend.check_list(asker, object_type.clone()).await
        }
    }
}

fn topic(params: &Params) -> Result<Topic, Error> {
    let name = params.given("objectType").ok_or_else(|| {
        Error::bad_request("say with objectType what to follow, such as objects.todos or users")
    })?;
    let object_type: Result<ObjectType, Error> = name.parse();
    let q = params.given("q").unwrap_or("{}");
    if q.len() > Q_BYTES_MAX {
        let message = format!("the filter of a live query has at most {Q_BYTES_MAX} bytes");
        return Err(Error::bad_request(message));
    }
    Ok(Topic::Query {
        object_type: object_type.or_else(|error| ObjectType::custom(name).map_err(|_| error))?,
        filter: Filter::parse(q)?,
    })
}

fn beginning(params: &Params) -> Result<Beginning, Error> {
    let snapshot = match params.given("snapshot") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::bad_request("snapshot must be true or false")),
    };
    Ok(Beginning {
        since: params.given("since").map(since_of).transpose()?,
        snapshot,
    })
}
