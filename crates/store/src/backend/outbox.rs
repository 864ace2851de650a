//! The outbox: every change of an object, in order, written with the object itself.
//!
//! Only what stands here is published. Rows are kept for consumers that lag, but no longer than a bound in time and
//! in bytes; a delivery that has not succeeded by then is given up, and its log says so.

use pilvi_model::{Object, Timestamp, WebhookId};
use rusqlite::{Connection, params};

use super::author::Author;
use super::deliveries;
use super::webhooks;
use crate::error::Result;

/// How long a change is kept after it was written.
const KEPT_MILLIS: i64 = 3 * 24 * 60 * 60 * 1000;
/// How many bytes the outbox keeps, counting `ROW_BYTES` for each row beside its document.
const KEPT_BYTES: i64 = 256 << 20;
const ROW_BYTES: i64 = 256;
/// Old rows are looked for once in so many writes, and at most `PRUNE_MAX` of them deleted.
const PRUNE_EVERY: i64 = 128;
const PRUNE_MAX: i64 = 1024;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Create,
    Update,
    Delete,
}

impl Change {
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    /// The name of the event in webhooks and streams (`eds.md` §13).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
}

/// Appends a change and the deliveries it causes; says which webhooks got one. `readers` may hear of it.
pub(super) fn append(
    connection: &Connection,
    change: Change,
    object: &Object,
    readers: i64,
    author: &Author,
) -> Result<Vec<WebhookId>> {
    let size = i64::try_from(object.text.len()).unwrap_or(i64::MAX / 2);
    connection
        .prepare_cached(
            "INSERT INTO outbox (at, event, type, object, request, user, doc, readers, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                     ?9 + coalesce((SELECT bytes FROM outbox ORDER BY seq DESC LIMIT 1), 0))",
        )?
        .execute(params![
            millis(author.at),
            change.as_str(),
            object.object_type.as_str(),
            object.id.to_string(),
            author.request.as_str(),
            author.user(),
            object.text,
            readers,
            size + ROW_BYTES,
        ])?;
    let seq = connection.last_insert_rowid();
    let mut listening = Vec::new();
    for webhook in webhooks::listening_to(connection, change, &object.object_type)? {
        deliveries::insert(connection, webhook, seq, change, object, author.at)?;
        listening.push(webhook);
    }
    if seq % PRUNE_EVERY == 0 {
        prune(connection, author.at)?;
    }
    Ok(listening)
}

/// Deletes the oldest rows that are past their time or beyond the bytes kept.
fn prune(connection: &Connection, now: Timestamp) -> Result<()> {
    let expired_before = millis(now) - KEPT_MILLIS;
    let last: Option<i64> = connection
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq, at, bytes FROM outbox ORDER BY seq LIMIT ?1) \
             WHERE at < ?2 OR bytes < (SELECT bytes FROM outbox ORDER BY seq DESC LIMIT 1) - ?3",
        )?
        .query_row(params![PRUNE_MAX, expired_before, KEPT_BYTES], |row| {
            row.get(0)
        })?;
    if let Some(last) = last {
        deliveries::give_up(connection, last)?;
        connection
            .prepare_cached("DELETE FROM outbox WHERE seq <= ?")?
            .execute([last])?;
    }
    deliveries::prune(connection)
}

pub(super) fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}
