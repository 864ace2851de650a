//! One event on its way: to the gateway's URL as it is now, signed, tried again when it fails.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pilvi_base::secret::random_hex;
use pilvi_core::egress::{Call, EgressError, Fetched};
use pilvi_core::signing::{Signing, seconds};
use pilvi_model::{Error, GatewayId};

use super::desk::{Desk, Turn};
use super::{Events, secret};
use crate::frame::Violation;
use crate::settings::events::EventPlan;

/// What an answer may hold: the longest message, in base64 too, and what is around it.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// From here on an event is long.
pub(super) const LONG_BYTES: usize = 64 << 10;
/// What is passed on of an answer that is an error.
const EXCERPT_BYTES: usize = 200;

/// An event as it is posted, the same in every attempt. What it says is written down when its turn has come, for each
/// attempt anew: a short message may say very much, and nothing bounds how many wait for their turn but their length.
pub(super) struct Letter {
    id: String,
    write: Arc<Write>,
    /// It may say more than [`LONG_BYTES`]: writing takes longer than others who want to go on may be kept from it, and
    /// few of that size may be under way.
    is_long: bool,
}

type Write = dyn Fn() -> Result<Bytes, Violation> + Send + Sync;

const NOT_WRITTEN: Violation = Violation {
    code: 1011,
    reason: "the message could not be told",
};

impl Letter {
    pub(super) fn new(body: Bytes) -> Self {
        Self::written_by(false, move || Ok(body.clone()))
    }

    /// The error of `write`: what the client sent cannot be told.
    pub(super) fn written_by(
        is_long: bool,
        write: impl Fn() -> Result<Bytes, Violation> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: format!("evt_{}", random_hex::<16>()),
            write: Arc::new(write),
            is_long,
        }
    }

    /// Waits for its turn, and comes to what is posted in it.
    async fn take_turn<'d>(&self, desk: &'d Desk) -> (Turn<'d>, Result<Bytes, Violation>) {
        let mut turn = desk.turn(self.is_long).await;
        if !self.is_long {
            return (turn, (self.write)());
        }
        let write = Arc::clone(&self.write);
        let written = tokio::task::spawn_blocking(move || write()).await;
        let written = written.unwrap_or(Err(NOT_WRITTEN));
        // What is compressed shows only now how much it says.
        if written.as_ref().is_ok_and(|body| body.len() <= LONG_BYTES) {
            turn.is_short();
        }
        (turn, written)
    }
}

/// Which of its events a gateway's plan is asked about.
pub(super) type Kind = fn(&EventPlan) -> bool;

/// What came of telling something.
#[derive(Debug)]
pub(super) enum Told {
    /// The gateway does not tell such events any more.
    NotAsked,
    Answered(Fetched),
    Failed(Failure),
}

/// Why there was no answer that counts. The text is for the gateway's owner.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Option<StatusCode>,
    pub(super) text: String,
    /// Of an answer that does not count.
    pub(super) body: Bytes,
    /// What the client did wrong, where it is not the app's doing.
    pub(super) violation: Option<Violation>,
    /// It may go better next time.
    passing: bool,
}

impl Failure {
    fn passing(text: String) -> Self {
        Self {
            status: None,
            text,
            body: Bytes::new(),
            violation: None,
            passing: true,
        }
    }

    fn of_client(violation: Violation) -> Self {
        Self {
            violation: Some(violation),
            passing: false,
            ..Self::passing(violation.reason.to_owned())
        }
    }
}

impl Events {
    /// Posts an event until it is answered, or there were too many attempts.
    pub(super) async fn tell(
        &self,
        desk: &Desk,
        gateway: GatewayId,
        kind: Kind,
        letter: &Letter,
    ) -> Told {
        let mut waits = self.limits().event_retry_after.into_iter();
        loop {
            let told = self.tell_once(desk, gateway, kind, letter).await;
            let Told::Failed(failure) = &told else {
                return told;
            };
            let Some(wait) = waits.next().filter(|_| failure.passing) else {
                return told;
            };
            tracing::debug!(%gateway, error = failure.text, "an event will be posted again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Posts an event once.
    pub(super) async fn tell_once(
        &self,
        desk: &Desk,
        gateway: GatewayId,
        kind: Kind,
        letter: &Letter,
    ) -> Told {
        // Where to and with what secret is looked up each time: it may have changed since.
        let plan = match self.plan(gateway).await {
            Ok(Some(plan)) if kind(&plan) => plan,
            Ok(_) => return Told::NotAsked,
            Err(error) => return Told::Failed(Failure::passing(error.to_string())),
        };
        let (_turn, body) = letter.take_turn(desk).await;
        let body = match body {
            Ok(body) => body,
            Err(violation) => return Told::Failed(Failure::of_client(violation)),
        };
        let counters = &self.house().counters;
        match self.post(gateway, &plan, &letter.id, body).await {
            Ok(answer) => {
                counters.events.add(1);
                Told::Answered(answer)
            }
            Err(failure) => {
                counters.event_failures.add(1);
                Told::Failed(failure)
            }
        }
    }

    /// What a gateway tells now.
    pub(super) async fn plan(&self, gateway: GatewayId) -> Result<Option<Arc<EventPlan>>, Error> {
        let house = self.house();
        let found = house.register.find(&gateway.to_string()).await?;
        let plan = found.map(|found| house.plans.of(gateway, &found));
        Ok(plan.and_then(|plan| plan.events.clone()))
    }

    /// The secrets that a gateway signs with.
    pub(super) fn signing(&self, gateway: GatewayId, plan: &EventPlan) -> Signing {
        if let Some(given) = self.house().register.signing() {
            return given.clone();
        }
        let (Some(sealed), Some(keyring)) = (&plan.sealed_secret, self.shared.keyring.get()) else {
            return Signing::default();
        };
        Signing::unseal(keyring, &secret::context(gateway), Some(sealed)).unwrap_or_else(|error| {
            // Not louder: it is so for every post until somebody acts, whom `signed` tells when events are tried out.
            tracing::debug!(
                %gateway,
                error = &error as &dyn std::error::Error,
                "the secret of a gateway's events does not open; they go unsigned until a new one is made"
            );
            Signing::default()
        })
    }

    async fn post(
        &self,
        gateway: GatewayId,
        plan: &EventPlan,
        id: &str,
        body: Bytes,
    ) -> Result<Fetched, Failure> {
        let Some(egress) = self.shared.egress.get() else {
            return Err(Failure::passing("the server is just starting".to_owned()));
        };
        let call = Call {
            method: Method::POST,
            url: &plan.url,
            headers: self.headers(gateway, plan, id, &body),
            body,
            answer_max_bytes: ANSWER_BYTES_MAX,
        };
        let patience = self.limits().event_patience;
        match tokio::time::timeout(patience, egress.fetch(call)).await {
            Ok(Ok(answer)) => judge(answer),
            Ok(Err(error @ EgressError::TooLong(_))) => Err(Failure {
                passing: false,
                ..Failure::passing(error.to_string())
            }),
            Ok(Err(error)) => Err(Failure::passing(error.to_string())),
            Err(_) => Err(Failure::passing(format!(
                "no answer within {} seconds",
                patience.as_secs()
            ))),
        }
    }

    fn headers(&self, gateway: GatewayId, plan: &EventPlan, id: &str, body: &Bytes) -> HeaderMap {
        let now = self.now();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        // Small apps read no body of which they do not know the length, as one on this server could get it.
        headers.insert("content-length", body.len().into());
        let agent = concat!("Pilvi/", env!("CARGO_PKG_VERSION"));
        headers.insert("user-agent", HeaderValue::from_static(agent));
        let signatures = self.signing(gateway, plan).sign(id, now, body);
        let texts = [
            ("webhook-id", Some(id.to_owned())),
            ("webhook-signature", signatures),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(name, value);
            }
        }
        headers.insert("webhook-timestamp", seconds(now).into());
        headers
    }
}

/// Only a 2xx is an answer.
fn judge(answer: Fetched) -> Result<Fetched, Failure> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    let excerpt = excerpt(&answer.body);
    let text = format!("the app answered {status}: {excerpt}");
    Err(Failure {
        status: Some(status),
        text: text.trim_end_matches([' ', ':']).to_owned(),
        body: answer.body,
        violation: None,
        passing,
    })
}

/// The beginning of a body, made readable.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = &body[..body.len().min(EXCERPT_BYTES)];
    let text = String::from_utf8_lossy(head);
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::desk::Hall;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_written_down_in_its_turn_and_not_before() {
        const NEVER: Duration = Duration::from_secs(3600);
        let hall = Arc::new(Hall::new(0, 0, 0));
        let desk = Desk::new(&hall, 1, 1, 0, 0);
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let letter = Letter::written_by(false, move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(b"{}"))
        });
        let other = desk.turn(false).await;
        let waiting = tokio::time::timeout(NEVER, letter.take_turn(&desk)).await;
        assert!(waiting.is_err());
        assert_eq!(written.load(Ordering::Relaxed), 0);
        drop(other);
        let (_turn, body) = letter.take_turn(&desk).await;
        assert_eq!(body, Ok(Bytes::from_static(b"{}")));
        assert_eq!(written.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn only_a_2xx_is_an_answer_and_only_some_errors_pass() {
        let rows = [
            (200, None),
            (204, None),
            (302, Some(false)),
            (401, Some(false)),
            (404, Some(false)),
            (408, Some(true)),
            (429, Some(true)),
            (500, Some(true)),
            (503, Some(true)),
        ];
        for (status, passing) in rows {
            let answer = Fetched {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"no\r\nroom"),
            };
            let outcome = judge(answer).err();
            assert_eq!(
                outcome.as_ref().map(|failure| failure.passing),
                passing,
                "{status}"
            );
            assert!(outcome.is_none_or(|failure| failure.text.ends_with(": noroom")));
        }
    }
}
