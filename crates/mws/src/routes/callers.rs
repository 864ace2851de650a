//! Who asks, and whether they may: the extractors that let a request pass.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use pilvi_core::{Actor, AppUser, InFlight, audit};
use pilvi_model::{Error, RequestId, Result as Outcome};
use pilvi_web::{Arrival, Params, Refusal, Scheme, bearer};

use crate::gateway::{Act, Gateway};
use crate::mws::{Mws, Sight};

/// A gateway at which the caller may listen. As an argument of a handler it is the check.
pub(super) struct Reader {
    pub(super) gateway: Gateway,
    pub(super) user: Option<AppUser>,
    _in_flight: Option<InFlight>,
}

/// A gateway, and which of its tags the caller may ask about.
pub(super) struct Observer {
    pub(super) gateway: Gateway,
    pub(super) sight: Sight,
    _in_flight: InFlight,
}

/// A gateway to which the caller may send.
pub(super) struct Writer(pub(super) Gateway);

/// A gateway that is the caller's own.
pub(super) struct Admin(pub(super) Gateway, pub(super) Option<InFlight>);

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

impl FromRequestParts<Arc<Mws>> for Observer {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        let id = gateway_of(parts, mws).await?;
        let Ok(params) = Params::from_request_parts(parts, mws).await;
        let token = params.given("token");
        let (gateway, sight) = mws.sight(&id, token, &parts.headers).await?;
        mws.fairness.give_way(&gateway.instance().id).await?;
        let in_flight = mws.fairness.enter(&gateway.instance().id).await?;
        Ok(Self {
            gateway,
            sight,
            _in_flight: in_flight,
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
pub(super) struct Who {
    actor: Actor,
    request: RequestId,
    peer: IpAddr,
}

impl Who {
    pub(super) fn act(&self, event: &'static str, gateway: &Gateway) -> audit::Act {
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
        let actor = match bearer(&parts.headers, Scheme::Exact) {
            Some(token) => mws.register.actor(&token).await?,
            None => Actor::Nobody,
        };
        Ok(Self {
            actor,
            request: arrival.request_id,
            peer: arrival.peer.ip(),
        })
    }
}

/// Where the sockets of this caller connect to, such as `wss://host`.
pub(super) struct Base(pub(super) String);

impl FromRequestParts<Arc<Mws>> for Base {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        mws: &Arc<Mws>,
    ) -> std::result::Result<Self, Refusal> {
        if let Some(base) = mws.register.public_base() {
            return Ok(Self(base.to_owned()));
        }
        let Ok(mut arrival) = Arrival::from_request_parts(parts, mws).await;
        arrival.secure |= comes_through_tls(&parts.headers);
        Ok(Self(arrival.base("ws")))
    }
}

/// Whether a proxy says that it took the request over TLS (`mws.md` §11). Who makes this up misleads nobody but
/// themselves. Of several proxies the first one met the client.
fn comes_through_tls(headers: &HeaderMap) -> bool {
    let said = headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
    let first = said.and_then(|list| list.split(|byte| *byte == b',').next());
    first.is_some_and(|scheme| scheme.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// The gateway that a path names. Empty: it names none.
async fn gateway_of(parts: &mut Parts, mws: &Arc<Mws>) -> Outcome<String> {
    let path = RawPathParams::from_request_parts(parts, mws)
        .await
        .map_err(Error::internal)?;
    let mut named = path.iter().filter(|(name, _)| *name == "gateway");
    let id = named.next().map(|(_, id)| id.to_owned());
    Ok(id.unwrap_or_default())
}

/// Lets a request pass, in its turn when it only asks. Messages wait for theirs in the hub, when they have come whole.
async fn admit(parts: &mut Parts, mws: &Arc<Mws>, act: Act) -> Outcome<Admitted> {
    let id = gateway_of(parts, mws).await?;
    let (gateway, user) = mws.admit(&id, act, &parts.headers).await?;
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
