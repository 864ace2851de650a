//! The audit log: every administrative act, by whom, from where and upon what.
//!
//! Whoever carries an act out writes it down, once it is done. First it is a line of the server's log, on the target
//! `pilvi::audit`, so that a disk that takes nothing any more hides nothing; then it is a row that the members of the
//! account can read for a time (`GET /accounts/{id}/log`).

use std::net::IpAddr;
use std::time::Duration;

use pilvi_base::{Clock, TaskGroup};
use pilvi_model::{AccountId, RequestId, Result, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{NewEvent, Retention};
use serde_json::{Map, Value};

pub use pilvi_store::platform::Actor;

use crate::Principal;
use crate::completion::complete;

/// How long an event is kept: a year, and a month to look back from its end.
pub const KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How many events of one account are kept.
pub const EVENTS_MAX: u32 = 100_000;

/// Longer texts are cut off: a log is no place for what is long.
const TEXT_CHARS_MAX: usize = 200;
/// More details are left out.
const DETAILS_MAX: usize = 16;

/// Writes acts down. Cloning gives another handle on the same log.
#[derive(Clone, Debug)]
pub struct Audit(Option<Book>);

/// Where acts are kept.
#[derive(Clone, Debug)]
struct Book {
    store: Store,
    clock: Clock,
    tasks: TaskGroup,
}

/// What somebody did.
#[derive(Clone, Debug)]
pub struct Act {
    /// Whose log it belongs to; `None`: only the operator's.
    pub account: Option<AccountId>,
    pub actor: Actor,
    /// Noun and verb, such as `instance.create`.
    pub event: &'static str,
    /// The id or name of what it was done to.
    pub subject: String,
    /// A few words more, and never a secret.
    pub detail: Map<String, Value>,
    pub request: Option<RequestId>,
    /// Where the request came from.
    pub peer: Option<IpAddr>,
}

impl Act {
    /// An act of which no more is known yet.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "subjects are ids and names, some made for this call and some borrowed"
    )]
    pub fn new(actor: Actor, event: &'static str, subject: impl ToString) -> Self {
        Self {
            account: None,
            actor,
            event,
            subject: subject.to_string(),
            detail: Map::new(),
            request: None,
            peer: None,
        }
    }

    #[must_use]
    pub fn in_account(mut self, account: AccountId) -> Self {
        self.account = Some(account);
        self
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// From which request it came, and that from where.
    #[must_use]
    pub fn asked_by(mut self, request: &RequestId, peer: Option<IpAddr>) -> Self {
        self.request = Some(request.clone());
        self.peer = peer.map(|peer| peer.to_canonical());
        self
    }

    /// From where it came, when no request stands behind it.
    #[must_use]
    pub fn from_peer(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer.to_canonical());
        self
    }

    fn bounded(mut self) -> Self {
        self.subject = shortened(self.subject);
        let details = self.detail.into_iter().take(DETAILS_MAX);
        self.detail = details.map(|(name, value)| (name, bound(value))).collect();
        self
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Person(person) => Self::Person(*person),
            Principal::Account { id, person } => Self::Account {
                id: *id,
                person: *person,
            },
            Principal::Instance { id } => Self::Instance(id.clone()),
        }
    }
}

impl Audit {
    /// `tasks` runs the writing, which must not stop when the caller goes away.
    pub fn new(store: Store, clock: Clock, tasks: TaskGroup) -> Self {
        Self(Some(Book {
            store,
            clock,
            tasks,
        }))
    }

    /// One that keeps nothing: acts are lines of the server's log and no more.
    pub fn unkept() -> Self {
        Self(None)
    }

    /// Writes an act down; resolves when that is on disk.
    pub async fn record(&self, act: Act) -> Result<()> {
        let act = act.bounded();
        say(&act);
        let Some(book) = self.0.clone() else {
            return Ok(());
        };
        let event = NewEvent {
            at: book.clock.now().into(),
            account: act.account,
            actor: act.actor,
            event: act.event,
            subject: act.subject,
            detail: act.detail,
            request: act.request.map(|request| request.to_string()),
            peer: act.peer,
        };
        complete(&book.tasks, "write an act down", async move {
            book.store.insert_event(event, EVENTS_MAX).await.map(drop)
        })
        .await
    }

    /// The same for an act that is done and cannot be undone: when it cannot be written down, the server's log says so
    /// and whoever acted hears nothing of it.
    pub async fn note(&self, act: Act) {
        let event = act.event;
        if let Err(error) = self.record(act).await {
            tracing::error!(
                event,
                error = &error as &dyn std::error::Error,
                "an act could not be written into the audit log; a line before this one tells of it"
            );
        }
    }

    /// Runs work that ends in an act to its end, although whoever asked for it may hang up: nobody is to get an act
    /// carried out that nobody writes down.
    pub async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match &self.0 {
            Some(book) => complete(&book.tasks, "carry an act out", work).await,
            None => work.await,
        }
    }

    /// Deletes what is too old or too much. To be called now and then.
    pub async fn trim(&self) -> Result<usize> {
        let Some(book) = &self.0 else { return Ok(0) };
        let now = Timestamp::from(book.clock.now());
        let kept = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
        let retention = Retention {
            oldest: Timestamp::from_millis(now.as_millis().saturating_sub(kept)),
            events_max: EVENTS_MAX,
        };
        book.store.trim_events(retention).await
    }
}

fn say(act: &Act) {
    let detail = Value::Object(act.detail.clone());
    tracing::info!(
        target: "pilvi::audit",
        event = act.event,
        subject = act.subject,
        account = act.account.map(tracing::field::display),
        actor = act.actor.kind(),
        person = act.actor.person().map(tracing::field::display),
        instance = act.actor.instance(),
        request = act.request.as_ref().map(tracing::field::display),
        peer = act.peer.map(tracing::field::display),
        %detail,
        "an administrative act"
    );
}

/// A detail is a word, a number, or a list of words.
fn bound(value: Value) -> Value {
    match value {
        Value::String(text) => shortened(text).into(),
        Value::Array(values) => values
            .into_iter()
            .take(DETAILS_MAX)
            .map(|value| match value {
                Value::String(text) => shortened(text).into(),
                other => other,
            })
            .collect(),
        other => other,
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_off_at_a_character() {
        let long = "ä".repeat(TEXT_CHARS_MAX + 1);
        let act = Act::new(Actor::Server, "a.b", &long)
            .with("text", long.as_str())
            .with("list", vec![Value::from(long.as_str()); DETAILS_MAX + 1])
            .with("number", 1)
            .bounded();
        let short = format!("{}…", "ä".repeat(TEXT_CHARS_MAX));
        assert_eq!(act.subject, short);
        assert_eq!(act.detail["text"], short);
        assert_eq!(act.detail["list"], Value::from(vec![short; DETAILS_MAX]));
        assert_eq!(act.detail["number"], 1);
    }

    #[test]
    fn there_are_not_more_details_than_fit() {
        let act = (0..100).fold(Act::new(Actor::Nobody, "a.b", "c"), |act, number| {
            act.with(&number.to_string(), number)
        });
        assert_eq!(act.bounded().detail.len(), DETAILS_MAX);
    }
}
