//! Before a socket joins: its gateway's app may refuse it, give it tags and greet it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode, header};
use pilvi_model::GatewayId;
use pilvi_web::{Arrival, Params};
use serde_json::{Map, Value};

use super::answer::{self, Fault, OfConnect};
use super::body::{self, Request};
use super::line::{Facts, Line};
use super::post::{Letter, Told};
use super::{Events, Transport};
use crate::dress::Payload;
use crate::roster::Connected;
use crate::session::Farewell;
use crate::settings::events::EventPlan;

/// The tag of a user is this and the user's id.
const USER_TAG: &str = "users.";

/// A header of the request is passed on up to here.
const HEADER_BYTES_MAX: usize = 512;

/// A socket that wants to join.
pub(crate) struct Arriving<'a> {
    pub(crate) gateway: GatewayId,
    pub(crate) connected: &'a Connected,
    pub(crate) caller: Caller<'a>,
}

/// How it comes.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) transport: Transport,
    pub(crate) params: &'a Params,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) arrival: &'a Arrival,
}

/// A socket that may join.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Where what it says goes. `None`: nothing of it is told.
    pub(crate) line: Option<Arc<Line>>,
    /// Its messages are told, and not only its end.
    pub(crate) tells_messages: bool,
    /// What it has now; `None`: what it had.
    pub(crate) tags: Option<Vec<Arc<str>>>,
    /// What it gets first.
    pub(crate) greeting: Option<Payload>,
}

impl Events {
    /// Asks the gateway's app about a socket, if the gateway has one and wants to be asked.
    ///
    /// # Errors
    /// With how the socket ends that is not let in.
    pub(crate) async fn admit(&self, arriving: &Arriving<'_>) -> Result<Admitted, Farewell> {
        let plan = match self.plan(arriving.gateway).await {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(Admitted::default()),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a gateway's plan was not found"
                );
                return Err(Farewell::TRY_AGAIN);
            }
        };
        let Connected {
            id,
            tags,
            connected_at,
        } = arriving.connected;
        let facts = Facts {
            gateway: arriving.gateway,
            id: *id,
            connected_at: *connected_at,
            user: tags.iter().find(|tag| tag.starts_with(USER_TAG)).cloned(),
            transport: arriving.caller.transport,
        };
        let mut admitted = match plan.connect {
            true => self.ask(&facts, tags, arriving).await?,
            false => Admitted::default(),
        };
        admitted.tells_messages = plan.message && arriving.caller.transport == Transport::WebSocket;
        if admitted.tells_messages || plan.disconnect {
            let tags = admitted.tags.as_ref().unwrap_or(tags);
            admitted.line = Some(self.line(facts, tags.clone()));
        }
        Ok(admitted)
    }

    /// Posts the event once: the client is waiting, and comes again.
    async fn ask(
        &self,
        facts: &Facts,
        tags: &[Arc<str>],
        arriving: &Arriving<'_>,
    ) -> Result<Admitted, Farewell> {
        let letter = Letter::new(body::connect(facts, tags, &request(arriving.caller)));
        let desk = self.desk(facts.gateway);
        let asked = |plan: &EventPlan| plan.connect;
        let told = self.tell_once(&desk, facts.gateway, asked, &letter);
        let told = tokio::time::timeout(self.limits().event_admission_patience, told).await;
        let answer = match told {
            Ok(Told::NotAsked) => return Ok(Admitted::default()),
            Ok(Told::Answered(answer)) => answer,
            Ok(Told::Failed(failure)) => {
                return Err(match failure.status {
                    Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                        Farewell::refused(answer::reason_of(&failure.body))
                    }
                    _ => Farewell::TRY_AGAIN,
                });
            }
            Err(_) => return Err(Farewell::TRY_AGAIN),
        };
        let answer = OfConnect::read(&answer, self.limits());
        let answer = answer.map_err(|fault| misunderstood(facts, &fault))?;
        if let Some(reason) = answer.refused {
            return Err(Farewell::refused(reason));
        }
        let joined = answer::joined(tags.to_vec(), &answer.tags, self.limits());
        Ok(Admitted {
            tags: Some(joined.map_err(|fault| misunderstood(facts, &fault))?),
            greeting: answer.reply,
            ..Admitted::default()
        })
    }
}

fn misunderstood(facts: &Facts, Fault(fault): &Fault) -> Farewell {
    let gateway = facts.gateway;
    tracing::info!(%gateway, fault, "an answer of a gateway's app was not understood");
    Farewell::APP_UNCLEAR
}

fn request(caller: Caller<'_>) -> Request {
    let header = |name: HeaderName| {
        let value = caller.headers.get(name)?;
        let value = &value.as_bytes()[..value.len().min(HEADER_BYTES_MAX)];
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let mut query = Map::new();
    for (name, value) in caller.params.iter() {
        if name != "token" {
            query.entry(name).or_insert_with(|| Value::from(value));
        }
    }
    Request {
        address: caller.arrival.peer.ip().to_canonical().to_string(),
        origin: header(header::ORIGIN),
        user_agent: header(header::USER_AGENT),
        query,
    }
}
