//! The routes: shape only. Typed in, typed out, no rules.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, RawPathParams, State};
use axum::routing::{get, post};
use http::Method;
use http::request::Parts;
use pilvi_core::{Actor, AppUser, InFlight, audit};
use pilvi_model::{Error, RequestId, Result as Outcome};
use pilvi_web::{Arrival, Body, Params, Refusal, Reply, Scheme, bearer};
use serde_json::{Map, Value};

use crate::gateway::{Act, Gateway};
use crate::mws::Mws;
use crate::settings::Change;
use crate::wire;

type Result = std::result::Result<Reply, Refusal>;

/// Both bases carry the same resources; `instances` is what clients of early 2014 say (`mws.md` §1).
pub(crate) fn table() -> Router<Arc<Mws>> {
    Router::new()
        .nest("/v1/gateways/{gateway}", resources())
        .nest("/v1/instances/{gateway}", resources())
}

fn resources() -> Router<Arc<Mws>> {
    Router::new()
        // for listeners
        .route("/websocket_uri", get(reserve_uri))
        // for senders
        .route("/messages", post(send_message))
        // for the gateway's owner
        .route("/sockets", post(create_socket).get(list_sockets))
        .route("/sockets/{id}", get(show_socket).delete(delete_socket))
        .route("/webhook_receivers/enginio", post(receive_webhook))
        .route("/configuration", get(show_configuration).put(configure))
}

async fn reserve_uri(State(mws): State<Arc<Mws>>, reader: Reader, arrival: Arrival) -> Result {
    let tags = reader.user.as_ref().map(wire::tags_of).unwrap_or_default();
    let reservation = mws.reserve(&reader.gateway, tags).await?;
    let base = arrival.base("ws");
    Ok(Reply::ok(&wire::SocketUri::new(&reservation, &base)))
}

async fn send_message(State(mws): State<Arc<Mws>>, Writer(gateway): Writer, body: Body) -> Result {
    let message = wire::Message::read(object(body)?, &mws.limits)?;
    mws.publish(gateway.id, &message).await?;
    Ok(Reply::created(&message))
}

async fn create_socket(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    arrival: Arrival,
    body: Body,
) -> Result {
    let tags = wire::read_tags(object(body)?, &mws.limits)?;
    let reservation = mws.reserve(&gateway, tags).await?;
    let base = arrival.base("ws");
    Ok(Reply::created(&wire::NewSocket::new(&reservation, &base)))
}

/// Clients ask for all sockets at once and few gateways have more than a page of them; the others can be had
/// with `limit` and `offset`, which no old client sends.
async fn list_sockets(
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

async fn show_socket(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Path((_, id)): Path<(String, String)>,
) -> Result {
    let socket = mws.find_socket(gateway.id, &id).await?;
    Ok(Reply::ok(&wire::Socket::from(&socket)))
}

async fn delete_socket(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    Path((_, id)): Path<(String, String)>,
) -> Result {
    mws.delete_socket(gateway.id, &id).await?;
    Ok(Reply::empty())
}

async fn receive_webhook(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    body: Body,
) -> Result {
    let message = wire::Message::read_webhook(object(body)?, &mws.limits)?;
    mws.publish(gateway.id, &message).await?;
    Ok(Reply::created(&message))
}

async fn show_configuration(Admin(gateway, _in_flight): Admin) -> Result {
    Ok(Reply::ok(&gateway.settings()))
}

async fn configure(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    who: Who,
    body: Body,
) -> Result {
    let change = Change::read(object(body)?)?;
    let changed = change.keys();
    let act = who
        .act("gateway.configure", &gateway)
        .with("changed", changed);
    let audit = mws.audit.clone();
    let configured = audit.carry_out(async move {
        let settings = mws.configure(&gateway, change).await?;
        mws.audit.note(act).await;
        Ok(Reply::ok(&settings))
    });
    Ok(configured.await?)
}

/// A gateway at which the caller may listen. As an argument of a handler it is the check.
struct Reader {
    gateway: Gateway,
    user: Option<AppUser>,
    _in_flight: Option<InFlight>,
}

/// A gateway to which the caller may send.
struct Writer(Gateway);

/// A gateway that is the caller's own.
struct Admin(Gateway, Option<InFlight>);

struct Admitted {
    gateway: Gateway,
    user: Option<AppUser>,
    in_flight: Option<InFlight>,
}

impl FromRequestParts<Arc<Mws>> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        let admitted = admit(parts, mws, Act::Read).await?;
        Ok(Self {
            gateway: admitted.gateway,
            user: admitted.user,
            _in_flight: admitted.in_flight,
        })
    }
}

impl FromRequestParts<Arc<Mws>> for Writer {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        Ok(Self(admit(parts, mws, Act::Write).await?.gateway))
    }
}

impl FromRequestParts<Arc<Mws>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        let admitted = admit(parts, mws, Act::Administer).await?;
        Ok(Self(admitted.gateway, admitted.in_flight))
    }
}

/// Who administers, for the audit log.
struct Who {
    actor: Actor,
    request: RequestId,
    peer: IpAddr,
}

impl Who {
    fn act(&self, event: &'static str, gateway: &Gateway) -> audit::Act {
        let instance = gateway.instance();
        audit::Act::new(self.actor.clone(), event, &instance.id)
            .in_account(instance.account)
            .asked_by(&self.request, Some(self.peer))
    }
}

impl FromRequestParts<Arc<Mws>> for Who {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, mws).await;
        let principal = match bearer(&parts.headers, Scheme::Exact) {
            Some(token) => mws.identity.authenticate(&token).await?,
            None => None,
        };
        Ok(Self {
            actor: principal.as_ref().map_or(Actor::Nobody, Actor::from),
            request: arrival.request_id,
            peer: arrival.peer.ip(),
        })
    }
}

/// Lets a request pass, in its turn when it only asks. Messages wait for theirs in the hub, when they have come whole.
async fn admit(parts: &mut Parts, mws: &Arc<Mws>, act: Act) -> Outcome<Admitted> {
    let path = RawPathParams::from_request_parts(parts, mws)
        .await
        .map_err(Error::internal)?;
    let id = path
        .iter()
        .find_map(|(name, value)| (name == "gateway").then_some(value));
    let (gateway, user) = mws
        .admit(id.unwrap_or_default(), act, &parts.headers)
        .await?;
    mws.fairness.give_way(&gateway.instance().id).await?;
    let in_flight = match parts.method {
        Method::GET | Method::HEAD => Some(mws.fairness.enter(&gateway.instance().id).await?),
        _ => None,
    };
    Ok(Admitted {
        gateway,
        user,
        in_flight,
    })
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

fn number(params: &Params, name: &str) -> Outcome<Option<usize>> {
    let text = params.given(name);
    text.map(str::parse)
        .transpose()
        .map_err(|_| Error::invalid(name, "isn't a number"))
}
