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
    if is_due(connection, expired_before)? {
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
    }
    deliveries::prune(connection)
}

/// Whether the oldest row, or the one behind which nothing is deleted at once, may go. Two rows instead of a thousand:
/// mostly there is nothing to do. The second one is for clocks that were set back.
fn is_due(connection: &Connection, expired_before: i64) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM outbox \
         WHERE seq IN ((SELECT min(seq) FROM outbox), (SELECT min(seq) FROM outbox) + ?1) \
         AND (at < ?2 OR bytes < (SELECT bytes FROM outbox ORDER BY seq DESC LIMIT 1) - ?3))",
    )?;
    let bounds = params![PRUNE_MAX - 1, expired_before, KEPT_BYTES];
    Ok(statement.query_row(bounds, |row| row.get(0))?)
}

pub(super) fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::migrate::migrate;

    /// An outbox of two full prunings, written one row in a millisecond; `bytes` each.
    fn outbox(bytes: i64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, Path::new("x"), &super::super::SCHEMA).unwrap();
        let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
             INSERT INTO outbox (at, event, type, object, request, doc, bytes) \
             SELECT 1000 + i, 'create', 'objects.notes', i, 'r', '{}', i * ?2 FROM n";
        connection.execute(insert, [2 * PRUNE_MAX, bytes]).unwrap();
        connection
    }

    #[test]
    fn pruning_waits_until_a_row_is_past_its_time() {
        let connection = outbox(1);
        assert!(!is_due(&connection, 1001).unwrap());
        assert!(is_due(&connection, 1002).unwrap());
        // The clock ran ahead when the first ones were written.
        let ahead = "UPDATE outbox SET at = 1000000 WHERE seq < ?";
        connection.execute(ahead, [PRUNE_MAX]).unwrap();
        assert!(!is_due(&connection, 1000 + PRUNE_MAX).unwrap());
        assert!(is_due(&connection, 1001 + PRUNE_MAX).unwrap());
        let later = Timestamp::from_millis((1001 + PRUNE_MAX + KEPT_MILLIS).unsigned_abs());
        prune(&connection, later).unwrap();
        let first: i64 = connection
            .query_row("SELECT min(seq) FROM outbox", [], |row| row.get(0))
            .unwrap();
        assert_eq!(first, PRUNE_MAX + 1);
    }

    #[test]
    fn pruning_waits_until_there_are_too_many_bytes() {
        let most = KEPT_BYTES / (2 * PRUNE_MAX - 1);
        assert!(!is_due(&outbox(most), 0).unwrap());
        assert!(is_due(&outbox(most + 1), 0).unwrap());
    }

    #[test]
    fn an_empty_outbox_is_not_due() {
        let connection = outbox(1);
        connection.execute("DELETE FROM outbox", []).unwrap();
        assert!(!is_due(&connection, i64::MAX).unwrap());
    }
}
