//! The audit log: who did what to which account, kept for a time and up to a number.

use std::net::IpAddr;

use pilvi_model::{AccountId, PersonId, Result, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value};

use super::{Moment, Text};
use crate::Store;
use crate::error::Result as StoreResult;

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person, signed in or with a personal access token.
    Person(PersonId),
    /// A person, with the account token that they have as a member.
    Account { id: AccountId, person: PersonId },
    /// The bearer of an instance's security token.
    Instance(String),
    /// Pilvi itself.
    Server,
    /// Nobody who is known, such as somebody who fails to sign in.
    Nobody,
}

impl Actor {
    /// The word for the kind of actor, which the log shows.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Account { .. } => "account",
            Self::Instance(_) => "instance",
            Self::Server => "server",
            Self::Nobody => "nobody",
        }
    }

    pub fn person(&self) -> Option<PersonId> {
        match self {
            Self::Person(person) | Self::Account { person, .. } => Some(*person),
            Self::Instance(_) | Self::Server | Self::Nobody => None,
        }
    }

    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Instance(id) => Some(id),
            _ => None,
        }
    }
}

/// An act that is to be written down.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub at: Timestamp,
    pub account: Option<AccountId>,
    pub actor: Actor,
    pub event: &'static str,
    pub subject: String,
    pub detail: Map<String, Value>,
    pub request: Option<String>,
    pub peer: Option<IpAddr>,
}

/// An act as it was written down, with the names that its actor has now.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: i64,
    pub at: Timestamp,
    pub account: Option<AccountId>,
    /// As [`Actor::kind`] says.
    pub actor: String,
    pub person: Option<EventPerson>,
    pub instance: Option<String>,
    pub event: String,
    pub subject: String,
    pub detail: Map<String, Value>,
    pub request: Option<String>,
    pub peer: Option<String>,
}

/// The person behind an act. Who is gone has no address and no name any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPerson {
    pub id: PersonId,
    pub email: Option<String>,
    pub name: Option<String>,
}

/// Whose log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Account(AccountId),
    /// Everything that was written down on this server.
    Server,
}

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogPage {
    /// Only events older than the one with this number.
    pub before: Option<i64>,
    /// `instance.create`, or the beginning of such a name up to a dot: `instance`.
    pub event: Option<String>,
    pub person: Option<PersonId>,
    pub limit: u32,
}

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What is older goes.
    pub oldest: Timestamp,
    /// Of each account, and of what belongs to none, so many events are kept.
    pub events_max: u32,
}

/// With so many new events the number of those of an account is looked at again. The look walks over an index.
const EVENTS_BETWEEN_LOOKS: i64 = 256;
/// A log that is too long is made shorter than it must be by this part of what it may be.
const ROOM_PART: u32 = 20;
/// Events that one transaction deletes: others wait for it.
const DELETED_AT_ONCE: u32 = 5_000;

impl Store {
    /// Writes an event down, also when the disk is nearly full: what it tells of has happened.
    pub async fn insert_event(&self, event: NewEvent, events_max: u32) -> Result<i64> {
        self.platform
            .write_when_low(move |connection| {
                let id = insert(connection, &event)?;
                if id % EVENTS_BETWEEN_LOOKS == 0 {
                    let account = event.account.map(|id| id.to_string());
                    trim(connection, account.as_deref(), events_max)?;
                }
                Ok(id)
            })
            .await
    }

    /// A page of a log, newest first.
    pub async fn list_events(&self, log: Log, page: LogPage) -> Result<Vec<Event>> {
        self.platform
            .read(move |connection| {
                let account = match log {
                    Log::Account(id) => Some(Text(id)),
                    Log::Server => None,
                };
                // `event` and its dot, up to the character after the dot.
                let group = page.event.as_ref().map(|event| format!("{event}."));
                let group_end = page.event.as_ref().map(|event| format!("{event}/"));
                let whose = match log {
                    Log::Account(_) => "audit.account = ?1",
                    Log::Server => "?1 IS NULL",
                };
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT audit.id, at, account, actor, person, email, name, instance, event, subject, detail,
                         request, peer
                     FROM audit LEFT JOIN persons ON persons.id = audit.person
                     WHERE {whose} AND audit.id < ?2
                         AND (?3 IS NULL OR event = ?3 OR (event > ?4 AND event < ?5))
                         AND (?6 IS NULL OR person = ?6)
                     ORDER BY audit.id DESC LIMIT ?7"
                ))?;
                let values = params![
                    account,
                    page.before.unwrap_or(i64::MAX),
                    page.event,
                    group,
                    group_end,
                    page.person.map(Text),
                    page.limit
                ];
                let rows = statement.query_map(values, event_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Deletes a part of what is not to be kept. Says how much; less than before: come again.
    pub async fn trim_events(&self, retention: Retention) -> Result<usize> {
        let mut deleted = self.delete_old_events(retention.oldest).await?;
        for account in self.list_logs().await? {
            deleted += self
                .platform
                .write_when_low(move |connection| {
                    Ok(trim(connection, account.as_deref(), retention.events_max)?)
                })
                .await?;
        }
        Ok(deleted)
    }

    async fn delete_old_events(&self, oldest: Timestamp) -> Result<usize> {
        let mut deleted = 0;
        loop {
            let gone = self
                .platform
                .write_when_low(move |connection| {
                    Ok(connection
                        .prepare_cached(
                            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? LIMIT ?)",
                        )?
                        .execute(params![Moment(oldest), DELETED_AT_ONCE])?)
                })
                .await?;
            deleted += gone;
            if gone == 0 {
                return Ok(deleted);
            }
        }
    }

    /// The accounts that have events, and `None` for what belongs to no account.
    async fn list_logs(&self) -> Result<Vec<Option<String>>> {
        self.platform
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT DISTINCT account FROM audit")?;
                let rows = statement.query_map([], |row| row.get(0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn insert(connection: &Connection, event: &NewEvent) -> StoreResult<i64> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, account, actor, person, instance, event, subject, detail, request, peer)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Moment(event.at),
            event.account.map(Text),
            event.actor.kind(),
            event.actor.person().map(Text),
            event.actor.instance(),
            event.event,
            event.subject,
            Value::Object(event.detail.clone()).to_string(),
            event.request,
            event.peer.map(|peer| peer.to_string()),
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Deletes what one account has too much of: the oldest events of whoever has the most, so that nobody pushes out what
/// others did.
fn trim(
    connection: &Connection,
    account: Option<&str>,
    events_max: u32,
) -> rusqlite::Result<usize> {
    let held: u32 = connection
        .prepare_cached("SELECT count(*) FROM audit WHERE account IS ?")?
        .query_row([account], |row| row.get(0))?;
    if held <= events_max {
        return Ok(0);
    }
    // To find them all events are read, so some room is made for the next.
    let surplus = held - events_max + events_max / ROOM_PART;
    connection
        .prepare_cached(
            "DELETE FROM audit WHERE id IN (
                 SELECT id FROM (
                     SELECT id, row_number() OVER (
                         PARTITION BY coalesce(person, instance, actor) ORDER BY id DESC) AS newer
                     FROM audit WHERE account IS ?1)
                 ORDER BY newer DESC, id LIMIT ?2)",
        )?
        .execute(params![account, surplus])
}

fn event_of(row: &Row<'_>) -> rusqlite::Result<Event> {
    let person = row.get::<_, Option<Text<_>>>(4)?;
    let person = match person {
        Some(Text(id)) => Some(EventPerson {
            id,
            email: row.get(5)?,
            name: row.get(6)?,
        }),
        None => None,
    };
    let detail = serde_json::from_str(row.get_ref(10)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(10, Type::Text, error.into()))?;
    Ok(Event {
        id: row.get(0)?,
        at: row.get::<_, Moment>(1)?.0,
        account: row.get::<_, Option<Text<_>>>(2)?.map(|text| text.0),
        actor: row.get(3)?,
        person,
        instance: row.get(7)?,
        event: row.get(8)?,
        subject: row.get(9)?,
        detail,
        request: row.get(11)?,
        peer: row.get(12)?,
    })
}
