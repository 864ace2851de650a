//! The outbox: every change of an object, in order, written with the object itself.
//!
//! Only what stands here is published: to webhooks by deliveries, to everybody else by the feed, which is the outbox as
//! consumers read it, each from where it stopped. Beside changes of objects it holds what changes who may see them, so
//! that whoever follows it knows what everybody can see at each point; webhooks hear of changes only. Rows are kept for
//! consumers that lag, but no longer than a bound in time and in bytes; a delivery that has not succeeded by then is
//! given up, and its log says so.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pilvi_model::{
    Object, ObjectId, ObjectType, Readers, Result as DomainResult, Timestamp, WebhookId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::author::Author;
use super::deliveries;
use super::webhooks;
use super::{Backend, access};
use crate::error::Result;

/// What a change was before it, for those who follow the feed; and how far each of them got.
pub(super) const STEP: &str = "
    -- Of an update, the document before it. `readers_before` is the audience before the change, where it was another.
    ALTER TABLE outbox ADD COLUMN before TEXT;
    ALTER TABLE outbox ADD COLUMN readers_before INTEGER;

    -- Up to which row of the outbox the indexers of this file are done.
    CREATE TABLE consumers (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    ";

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

/// What a row of the feed tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedEvent {
    Change(Change),
    /// The object is what it was, but others may read it now.
    Access,
    /// A user, whose id the document has as `user`, came into the usergroup or left it.
    Members,
    /// The type was described, or is described no longer.
    Schema,
    /// Others may read many objects of the type now, too many to tell of each.
    Resync,
}

impl FeedEvent {
    fn as_str(self) -> &'static str {
        match self {
            Self::Change(change) => change.as_str(),
            Self::Access => "access",
            Self::Members => "members",
            Self::Schema => "schema",
            Self::Resync => "resync",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let others = [Self::Access, Self::Members, Self::Schema, Self::Resync];
        let other = others.into_iter().find(|event| event.as_str() == name);
        other.or_else(|| Change::from_name(name).map(Self::Change))
    }
}

/// A row of the feed.
#[derive(Clone, Debug)]
pub struct FeedRow {
    pub seq: u64,
    pub at: Timestamp,
    pub event: FeedEvent,
    pub object_type: String,
    /// Absent where the row is about the type.
    pub object_id: Option<ObjectId>,
    /// The id of the request that caused it.
    pub request: String,
    /// The app's user who caused it.
    pub user: Option<String>,
    /// The object as it stands now; of a delete, as it last was.
    pub document: String,
    /// Of an update, the object as it was. Absent in rows that an older version wrote.
    pub before: Option<String>,
    /// Who may read the object, as [`Page::readers`] knows them.
    pub audience: i64,
    /// Who could read it before, where those were others.
    pub audience_before: Option<i64>,
}

impl FeedRow {
    /// The position behind this row.
    pub fn position(&self) -> Position {
        Position {
            seq: self.seq,
            mark: mark(self.at, &self.request),
        }
    }
}

/// A stretch of the feed.
#[derive(Clone, Debug)]
pub struct Page {
    pub rows: Vec<FeedRow>,
    /// After which row to go on.
    pub next: u64,
    /// The number of the oldest row there is, or of the next one when there is none.
    pub oldest: u64,
    /// Whether rows behind the one asked for are gone, or that one is none of this file: what the reader knows of the
    /// backend can no longer be brought up to date from the feed. The page then begins with the oldest row.
    pub missed: bool,
    audiences: HashMap<i64, Readers>,
}

impl Page {
    /// Who belongs to an audience that one of the rows names.
    pub fn readers(&self, audience: i64) -> Option<&Readers> {
        self.audiences.get(&audience)
    }
}

/// A place in the feed that can be found again, and that is not mistaken for one in another life of the file: when a
/// backend is put back as it was yesterday, its numbers are given a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub seq: u64,
    mark: u32,
}

impl Position {
    /// Where the feed of a backend begins in which nothing has happened yet.
    pub const START: Self = Self { seq: 0, mark: 0 };

    /// The form that [`std::fmt::Display`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, mark) = text.split_once('-')?;
        Some(Self {
            seq: seq.parse().ok().filter(|seq| i64::try_from(*seq).is_ok())?,
            mark: u32::from_str_radix(mark, 16).ok()?,
        })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:08x}", self.seq, self.mark)
    }
}

/// What tells a row from another one of the same number: FNV-1a of when it was written and for which request.
fn mark(at: Timestamp, request: &str) -> u32 {
    let at = at.as_millis().to_le_bytes();
    let bytes = at.iter().chain(request.as_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Documents that are taken out in one page, all together; a large one comes alone.
const PAGE_MAX_BYTES: usize = 4 << 20;

impl Backend {
    /// The rows of the feed behind one, at most `limit`, and fewer when their documents are large.
    pub async fn read_feed(&self, after: u64, limit: u32) -> DomainResult<Page> {
        self.database
            .read(move |connection| page(connection, after, limit))
            .await
    }

    /// Behind the newest row.
    pub async fn feed_end(&self) -> DomainResult<Position> {
        self.database.read(end).await
    }

    /// Whether the feed still has everything that happened behind this position.
    pub async fn reaches_back_to(&self, position: Position) -> DomainResult<bool> {
        self.database
            .read(move |connection| reaches_back_to(connection, position))
            .await
    }

    /// Up to which row an indexer of this file is done; `None`: it has not begun.
    pub async fn find_consumer(&self, name: &'static str) -> DomainResult<Option<u64>> {
        self.database
            .read(move |connection| consumer(connection, name))
            .await
    }
}

pub(super) fn page(connection: &Connection, after: u64, limit: u32) -> Result<Page> {
    let oldest = oldest(connection)?;
    let newest = newest(connection)?;
    let missed = after.saturating_add(1) < oldest || after > newest;
    let after = if missed {
        oldest.saturating_sub(1)
    } else {
        after
    };
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, event, type, object, request, user, doc, before, readers, readers_before \
         FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
    )?;
    let mut found = statement.query(params![after, limit])?;
    let mut page = Page {
        rows: Vec::new(),
        next: after,
        oldest,
        missed,
        audiences: HashMap::new(),
    };
    let mut bytes = 0;
    while bytes <= PAGE_MAX_BYTES
        && let Some(row) = found.next()?
    {
        let row = feed_row(row)?;
        bytes += row.document.len() + row.before.as_ref().map_or(0, String::len);
        for audience in std::iter::once(row.audience).chain(row.audience_before) {
            if let Entry::Vacant(vacant) = page.audiences.entry(audience) {
                let readers = access::readers(connection, audience)?;
                bytes += readers.subjects().len() * SUBJECT_BYTES;
                vacant.insert(readers);
            }
        }
        page.next = row.seq;
        page.rows.push(row);
    }
    Ok(page)
}

/// About what a subject takes in memory.
const SUBJECT_BYTES: usize = 64;

fn feed_row(row: &Row<'_>) -> rusqlite::Result<FeedRow> {
    let event: String = row.get(2)?;
    let event = FeedEvent::from_name(&event).ok_or_else(|| {
        let fault = format!("`{event}` is no event");
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, fault.into())
    })?;
    let object: String = row.get(4)?;
    Ok(FeedRow {
        seq: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        event,
        object_type: row.get(3)?,
        object_id: object.parse().ok(),
        request: row.get(5)?,
        user: row.get(6)?,
        document: row.get(7)?,
        before: row.get(8)?,
        audience: row.get(9)?,
        audience_before: row.get(10)?,
    })
}

/// The number of the oldest row, or of the next one when there is none.
fn oldest(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT min(seq) FROM outbox")?;
    let oldest: Option<u64> = statement.query_row([], |row| row.get(0))?;
    match oldest {
        Some(oldest) => Ok(oldest),
        None => Ok(newest(connection)? + 1),
    }
}

/// The number of the newest row that there ever was.
fn newest(connection: &Connection) -> Result<u64> {
    let mut statement =
        connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?;
    let newest = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(newest.unwrap_or(0))
}

pub(super) fn end(connection: &Connection) -> Result<Position> {
    let seq = newest(connection)?;
    Ok(Position {
        seq,
        mark: mark_of(connection, seq)?.unwrap_or(0),
    })
}

fn mark_of(connection: &Connection, seq: u64) -> Result<Option<u32>> {
    let mut statement =
        connection.prepare_cached("SELECT at, request FROM outbox WHERE seq = ?")?;
    let found = statement
        .query_row([seq], |row| {
            let (at, request): (u64, String) = (row.get(0)?, row.get(1)?);
            Ok(mark(Timestamp::from_millis(at), &request))
        })
        .optional()?;
    Ok(found)
}

fn reaches_back_to(connection: &Connection, position: Position) -> Result<bool> {
    if position == Position::START {
        return Ok(oldest(connection)? == 1);
    }
    Ok(mark_of(connection, position.seq)? == Some(position.mark))
}

pub(super) fn consumer(connection: &Connection, name: &str) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT seq FROM consumers WHERE name = ?")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Writes down how far an indexer of this file got, in the transaction that got it there.
pub(super) fn set_consumer(connection: &Connection, name: &str, seq: u64) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO consumers (name, seq) VALUES (?, ?)")?
        .execute(params![name, seq])?;
    Ok(())
}

/// An indexer that is no longer wanted holds nothing up.
pub(super) fn forget_consumer(connection: &Connection, name: &str) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM consumers WHERE name = ?")?
        .execute([name])?;
    Ok(())
}

/// What an object was before an update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    pub(super) text: &'a str,
    pub(super) readers: i64,
}

/// Appends a change and the deliveries it causes; says which webhooks got one. `readers` may hear of it.
pub(super) fn append(
    connection: &Connection,
    change: Change,
    object: &Object,
    before: Option<Before<'_>>,
    readers: i64,
    author: &Author,
) -> Result<Vec<WebhookId>> {
    let seq = insert(
        connection,
        &NewRow {
            event: FeedEvent::Change(change),
            object_type: object.object_type.as_str(),
            object: &object.id.to_string(),
            document: &object.text,
            before: before.map(|before| before.text),
            readers,
            readers_before: before
                .map(|before| before.readers)
                .filter(|before| *before != readers),
        },
        author,
    )?;
    let mut listening = Vec::new();
    for webhook in webhooks::listening_to(connection, change, &object.object_type)? {
        deliveries::insert(connection, webhook, seq, change, object, author)?;
        listening.push(webhook);
    }
    Ok(listening)
}

/// Appends that others may read an object now. No webhook is told.
pub(super) fn append_access(
    connection: &Connection,
    object: &Moved<'_>,
    author: &Author,
) -> Result<()> {
    let row = NewRow {
        event: FeedEvent::Access,
        object_type: object.object_type,
        object: object.id,
        document: object.document,
        before: None,
        readers: object.readers,
        readers_before: Some(object.readers_before),
    };
    insert(connection, &row, author).map(drop)
}

/// An object of which others may be readers now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved<'a> {
    pub(super) object_type: &'a str,
    pub(super) id: &'a str,
    pub(super) document: &'a str,
    pub(super) readers: i64,
    pub(super) readers_before: i64,
}

/// Appends that others may read many objects of a type now.
pub(super) fn append_resync(
    connection: &Connection,
    object_type: &str,
    author: &Author,
) -> Result<()> {
    insert(connection, &about(FeedEvent::Resync, object_type), author).map(drop)
}

/// Appends that a type was described, or is described no longer. `*` stands for all about which nothing is said.
pub(super) fn append_schema(
    connection: &Connection,
    object_type: &str,
    author: &Author,
) -> Result<()> {
    insert(connection, &about(FeedEvent::Schema, object_type), author).map(drop)
}

/// Appends that a user came into a usergroup or left it.
pub(super) fn append_members(
    connection: &Connection,
    group: ObjectId,
    user: ObjectId,
    author: &Author,
) -> Result<()> {
    let document = format!(r#"{{"user":"{user}"}}"#);
    let usergroups = ObjectType::usergroups();
    let row = NewRow {
        object: &group.to_string(),
        document: &document,
        ..about(FeedEvent::Members, usergroups.as_str())
    };
    insert(connection, &row, author).map(drop)
}

fn about(event: FeedEvent, object_type: &str) -> NewRow<'_> {
    NewRow {
        event,
        object_type,
        object: "",
        document: "{}",
        before: None,
        readers: access::EVERYONE,
        readers_before: None,
    }
}

struct NewRow<'a> {
    event: FeedEvent,
    object_type: &'a str,
    object: &'a str,
    document: &'a str,
    before: Option<&'a str>,
    readers: i64,
    readers_before: Option<i64>,
}

/// Appends a row and says its number.
fn insert(connection: &Connection, row: &NewRow<'_>, author: &Author) -> Result<i64> {
    let size = row.document.len() + row.before.map_or(0, str::len);
    let size = i64::try_from(size).unwrap_or(i64::MAX / 2);
    connection
        .prepare_cached(
            "INSERT INTO outbox (at, event, type, object, request, user, doc, readers, bytes, before, readers_before) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                     ?9 + coalesce((SELECT bytes FROM outbox ORDER BY seq DESC LIMIT 1), 0), ?10, ?11)",
        )?
        .execute(params![
            millis(author.at),
            row.event.as_str(),
            row.object_type,
            row.object,
            author.request.as_str(),
            author.user(),
            row.document,
            row.readers,
            size + ROW_BYTES,
            row.before,
            row.readers_before,
        ])?;
    let seq = connection.last_insert_rowid();
    if seq % PRUNE_EVERY == 0 {
        prune(connection, author.at)?;
    }
    Ok(seq)
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
            deliveries::give_up(connection, last, now)?;
            connection
                .prepare_cached("DELETE FROM outbox WHERE seq <= ?")?
                .execute([last])?;
        }
    }
    deliveries::prune(connection, now)
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
