//! What a gateway answers to: one table, from which the router and the published description are made. The handlers
//! are shape only: typed in, typed out, no rules.

mod callers;
mod configuration;
mod events;
mod messages;
mod presence;
mod sockets;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};
use pilvi_model::{Error, Result as Outcome};
use pilvi_web::{Body, Params, Refusal, Reply};
use serde_json::{Map, Value, json};

use crate::gateway::Act;
use crate::mws::Mws;

type Result = std::result::Result<Reply, Refusal>;

/// One call: a verb on a path below a gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// As axum writes it, behind the address of the gateway.
    pub(crate) path: &'static str,
    pub(crate) who: Act,
    pub(crate) place: Place,
    /// The schema of the request's body, as `openapi::schemas` names it; empty: none.
    pub(crate) takes: &'static str,
    /// The schema of the reply.
    pub(crate) gives: &'static str,
    /// One line for people.
    pub(crate) summary: &'static str,
    handler: fn() -> MethodRouter<Arc<Mws>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// Where a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At every gateway.
    Any,
    /// At the gateways of a cloud: what it sets up stands in the environment where there is only one.
    Cloud,
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is one column of the table below"
)]
const fn route(
    verb: Verb,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Mws>>,
    who: Act,
    place: Place,
    takes: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Route {
    Route {
        verb,
        path,
        who,
        place,
        takes,
        gives,
        summary,
        handler,
    }
}

use Act::{Administer, Read, Write};
use Place::{Any, Cloud};
use Verb::{Delete, Get, Post, Put};

/// All calls.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    // for listeners
    route(Get, "/websocket_uri", || get(sockets::reserve_uri), Read, Any, "", "SocketUri",
        "Get an address at which one socket can be opened"),
    route(Get, "/presence", || get(presence::show), Read, Any, "", "Presence",
        "Say who is there with a tag, or list the tags that somebody is there with"),
    route(Get, "/history", || get(presence::history), Read, Any, "", "History",
        "Read the messages to a tag that are kept"),
    // for senders
    route(Post, "/messages", || post(messages::send), Write, Any, "NewMessage", "Message",
        "Send a message to all sockets, to some, or to those that have a tag"),
    // for the gateway's owner
    route(Post, "/sockets", || post(sockets::create), Administer, Any, "Tags", "NewSocket",
        "Get an address at which one socket can be opened that will have these tags"),
    route(Get, "/sockets", || get(sockets::list), Administer, Any, "", "Sockets", "List the connected sockets"),
    route(Get, "/sockets/{id}", || get(sockets::show), Administer, Any, "", "Socket", "Read a connected socket"),
    route(Put, "/sockets/{id}", || put(sockets::retag), Administer, Any, "Tags", "TaggedSocket",
        "Give a socket, also one that is not opened yet, these tags and no others"),
    route(Delete, "/sockets/{id}", || delete(sockets::delete), Administer, Any, "", "Empty",
        "Close a connected socket, or take back an address that nobody has used"),
    route(Post, "/webhook_receivers/enginio", || post(messages::receive_webhook), Administer, Any, "Webhook",
        "Message", "Send what the webhook of a data backend tells to those who may read it"),
    route(Get, "/configuration", || get(configuration::show), Administer, Cloud, "", "Configuration",
        "Read how the gateway is set up"),
    route(Put, "/configuration", || put(configuration::configure), Administer, Cloud, "ConfigurationChange",
        "Configuration", "Change how the gateway is set up"),
    route(Post, "/events/secret", || post(events::renew_secret), Administer, Cloud, "Rotation", "FreshSecret",
        "Make a new secret that events are signed with; the answer shows it, once"),
    route(Post, "/events/test", || post(events::test), Administer, Any, "", "Attempt",
        "Post an event that tells of nothing, and say how it went"),
];

/// Both bases carry the same resources; `instances` is what clients of early 2014 say (`mws.md` §1).
pub(crate) fn table() -> Router<Arc<Mws>> {
    Router::new()
        .nest("/v1/gateways/{gateway}", resources(&[Any, Cloud]))
        .nest("/v1/instances/{gateway}", resources(&[Any, Cloud]))
}

/// What the open-source server answered to, whose address is that of its one gateway.
pub(crate) fn table_of_one() -> Router<Arc<Mws>> {
    Router::new()
        .route("/", get(name))
        .nest("/v1", resources(&[Any]))
}

fn resources(places: &[Place]) -> Router<Arc<Mws>> {
    let here = ROUTES.iter().filter(|route| places.contains(&route.place));
    here.fold(Router::new(), |router, route| {
        router.route(route.path, (route.handler)())
    })
}

/// How one sees that the server is there.
async fn name() -> Reply {
    Reply::ok(&json!({"name": "MWS"}))
}

/// The body as an object. An empty one counts as `{}` (`platform.md` §2).
fn object(body: Body) -> std::result::Result<Map<String, Value>, Refusal> {
    match body.or_empty() {
        Value::Object(object) => Ok(object),
        _ => Err(Refusal::malformed_json(
            "Invalid json: the body is not an object",
        )),
    }
}

fn tag(params: &Params) -> Outcome<&str> {
    let tag = params.given("tag");
    tag.ok_or_else(|| {
        Error::invalid(
            "tag",
            "is needed: the messages to one tag are read at a time",
        )
    })
}

fn number(params: &Params, name: &str) -> Outcome<Option<usize>> {
    let text = params.given(name);
    text.map(str::parse)
        .transpose()
        .map_err(|_| Error::invalid(name, "isn't a number"))
}
