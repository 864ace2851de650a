//! Deliveries: what is still to be told to which webhook, and how it went.

use std::time::Duration;

use pilvi_model::query::Page;
use pilvi_model::{BackendId, Object, ObjectId, Readers, Result, Timestamp, WebhookId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Backend;
use super::author::Author;
use super::outbox::{Change, millis};
use super::webhooks::parsed;
use crate::error;

/// Delivered and failed deliveries that a webhook's log keeps, each.
const LOG_MAX: u32 = 1000;
/// How long what a failed delivery had to say is kept, and how many bytes of it a backend keeps in all.
const DEAD_KEPT_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;
const DEAD_BYTES_MAX: i64 = 64 << 20;
/// Documents that are taken out to be delivered, all together; a large one comes alone.
const DUE_MAX_BYTES: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried, or to be tried again.
    Pending,
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One line of a webhook's log.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub webhook: WebhookId,
    pub outbox: u64,
    pub event: Change,
    pub object_type: String,
    pub object_id: ObjectId,
    pub state: DeliveryState,
    pub attempts: u32,
    /// The HTTP status of the last answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    /// The beginning of the last answer's body.
    pub answer: Option<String>,
    /// How long the last attempt took.
    pub took: Option<Duration>,
    /// The request that changed the object; deliveries of before this was kept have none.
    pub request: Option<String>,
    pub created_at: Timestamp,
    pub attempted_at: Option<Timestamp>,
    pub next_at: Option<Timestamp>,
}

impl Delivery {
    /// The same for every attempt, also after a crash.
    pub fn id(&self) -> String {
        delivery_id(self.webhook, self.outbox)
    }
}

/// A delivery whose time has come, with all it has to say.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    pub webhook: WebhookId,
    pub outbox: u64,
    pub event: Change,
    pub object_type: String,
    pub object_id: ObjectId,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Of these, the ones since the delivery was made or replayed: what the wait for the next depends on.
    pub attempts_in_turn: u32,
    pub request: String,
    pub user: Option<String>,
    /// The object as it stood after the change; for a delete, as it last was.
    pub document: String,
    /// Who could read the object then.
    pub readers: Readers,
}

impl DueDelivery {
    pub fn id(&self) -> String {
        delivery_id(self.webhook, self.outbox)
    }
}

fn delivery_id(webhook: WebhookId, outbox: u64) -> String {
    format!("{webhook}-{outbox}")
}

/// What a delivery says, while it is kept.
#[derive(Clone, Debug)]
pub struct Letter {
    pub request: String,
    pub user: Option<String>,
    pub document: String,
    pub readers: Readers,
}

/// What became of the wish to send something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It will be tried at once.
    Queued,
    /// What it had to say is not kept any more.
    Forgotten,
    /// There is no such delivery.
    Missing,
}

/// How many deliveries were sent again, and how many that failed are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub queued: u64,
    /// Those that can be sent again by another call.
    pub left: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub delivery: DueDelivery,
    pub at: Timestamp,
    pub took: Duration,
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub answer: Option<String>,
    /// What went wrong; `None` when it was delivered.
    pub error: Option<String>,
    /// When to try again; with an error and no time the delivery is given up.
    pub retry_in: Option<Duration>,
}

impl Backend {
    /// Deliveries of a webhook that may be tried now, in the order in which they must be: at most `limit`, and fewer
    /// when their documents are large.
    pub async fn due_deliveries(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueDelivery>> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT deliveries.outbox, deliveries.event, deliveries.type, deliveries.object, \
                            deliveries.attempts, deliveries.attempts - deliveries.attempts_before, \
                            coalesce(dead_letters.request, outbox.request), \
                            coalesce(dead_letters.user, outbox.user), \
                            coalesce(dead_letters.doc, outbox.doc) AS document, \
                            coalesce(dead_letters.readers, audiences.subjects) \
                     FROM deliveries LEFT JOIN outbox ON outbox.seq = deliveries.outbox \
                     LEFT JOIN audiences ON audiences.id = outbox.readers \
                     LEFT JOIN dead_letters ON dead_letters.webhook = deliveries.webhook \
                         AND dead_letters.outbox = deliveries.outbox \
                     WHERE deliveries.webhook = ? AND deliveries.state = 'pending' AND deliveries.next_at <= ? \
                         AND document IS NOT NULL \
                     ORDER BY deliveries.next_at, deliveries.outbox LIMIT ?",
                )?;
                let rows = statement.query_map(params![webhook.to_string(), millis(now), limit], |row| {
                    Ok(DueDelivery {
                        webhook,
                        outbox: row.get(0)?,
                        event: change(row, 1)?,
                        object_type: row.get(2)?,
                        object_id: parsed(row, 3)?,
                        attempts: row.get(4)?,
                        attempts_in_turn: row.get(5)?,
                        request: row.get(6)?,
                        user: row.get(7)?,
                        document: row.get(8)?,
                        readers: readers(row, 9)?,
                    })
                })?;
                let (mut due, mut bytes) = (Vec::new(), 0);
                for row in rows {
                    let delivery: DueDelivery = row?;
                    bytes += delivery.document.len();
                    due.push(delivery);
                    if bytes > DUE_MAX_BYTES {
                        break;
                    }
                }
                Ok(due)
            })
            .await
    }

    /// When the next delivery of a webhook is due, if there is one.
    pub async fn next_delivery_at(&self, webhook: WebhookId) -> Result<Option<Timestamp>> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT min(next_at) FROM deliveries WHERE webhook = ? AND state = 'pending'",
                )?;
                Ok(statement.query_row([webhook.to_string()], |row| moment(row, 0))?)
            })
            .await
    }

    /// Writes down how attempts ended. A failed one holds back the later deliveries of its object until it is
    /// tried again.
    pub async fn settle_deliveries(&self, outcomes: Vec<Outcome>) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                let mut last_failure = None;
                for outcome in &outcomes {
                    if settle(connection, outcome)? == DeliveryState::Failed {
                        last_failure = last_failure.max(Some(outcome.at));
                    }
                }
                match last_failure {
                    Some(at) => prune_letters(connection, at),
                    None => Ok(()),
                }
            })
            .await
    }

    /// The log of a webhook, newest first: all of it, or what is in one state.
    pub async fn list_deliveries(
        &self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: Page,
    ) -> Result<Vec<Delivery>> {
        self.database
            .read(move |connection| {
                // Each state has an index of its own, which only its name as a literal chooses.
                let only = match state {
                    None => "",
                    Some(DeliveryState::Pending) => "AND state = 'pending'",
                    Some(DeliveryState::Delivered) => "AND state = 'delivered'",
                    Some(DeliveryState::Failed) => "AND state = 'failed'",
                };
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {LOG_COLUMNS} FROM deliveries WHERE webhook = ? {only} \
                     ORDER BY outbox DESC LIMIT ? OFFSET ?"
                ))?;
                let bounds = params![webhook.to_string(), page.limit, page.offset];
                let rows = statement.query_map(bounds, |row| from_row(webhook, row))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// One delivery, with what it says where that is still kept.
    pub async fn find_delivery(
        &self,
        webhook: WebhookId,
        outbox: u64,
    ) -> Result<Option<(Delivery, Option<Letter>)>> {
        self.database
            .read(move |connection| {
                let key = params![webhook.to_string(), outbox];
                let delivery = connection
                    .prepare_cached(&format!(
                        "SELECT {LOG_COLUMNS} FROM deliveries WHERE webhook = ? AND outbox = ?"
                    ))?
                    .query_row(key, |row| from_row(webhook, row))
                    .optional()?;
                match delivery {
                    Some(delivery) => Ok(Some((delivery, letter(connection, webhook, outbox)?))),
                    None => Ok(None),
                }
            })
            .await
    }

    /// Has a delivery tried again at once, whatever became of it, with the same id. The attempts count on, but the
    /// waits between them begin anew.
    pub async fn replay_delivery(
        &self,
        webhook: WebhookId,
        outbox: u64,
        now: Timestamp,
    ) -> Result<Replay> {
        self.database
            .write(move |connection| {
                if letter(connection, webhook, outbox)?.is_some()
                    && replay(connection, webhook, outbox, now)?
                {
                    return Ok(Replay::Queued);
                }
                let is_there: bool = connection
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM deliveries WHERE webhook = ? AND outbox = ?)",
                    )?
                    .query_row(params![webhook.to_string(), outbox], |row| row.get(0))?;
                Ok(match is_there {
                    true => Replay::Forgotten,
                    false => Replay::Missing,
                })
            })
            .await
    }

    /// The same for those that failed, oldest first, `limit` at most.
    pub async fn replay_failed(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Replayed> {
        self.database
            .write_when_low(move |connection| {
                let failed: Vec<u64> = connection
                    .prepare_cached(
                        "SELECT deliveries.outbox FROM deliveries \
                         LEFT JOIN outbox ON outbox.seq = deliveries.outbox \
                         LEFT JOIN dead_letters ON dead_letters.webhook = deliveries.webhook \
                             AND dead_letters.outbox = deliveries.outbox \
                         WHERE deliveries.webhook = ? AND deliveries.state = 'failed' \
                             AND (outbox.doc IS NOT NULL OR dead_letters.doc IS NOT NULL) \
                         ORDER BY deliveries.outbox",
                    )?
                    .query_map([webhook.to_string()], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                let taken = failed.len().min(limit as usize);
                for outbox in &failed[..taken] {
                    replay(connection, webhook, *outbox, now)?;
                }
                Ok(Replayed {
                    queued: taken as u64,
                    left: (failed.len() - taken) as u64,
                })
            })
            .await
    }

    /// The webhooks that have something pending: where to go on after a start.
    pub async fn webhooks_with_pending_deliveries(&self) -> Result<Vec<(BackendId, WebhookId)>> {
        let backend = self.id;
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id FROM webhooks WHERE enabled AND EXISTS \
                         (SELECT 1 FROM deliveries \
                          WHERE deliveries.webhook = webhooks.id AND deliveries.state = 'pending')",
                )?;
                let rows = statement.query_map([], |row| Ok((backend, parsed(row, 0)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// Adds a delivery, behind what already waits in its lane.
pub(super) fn insert(
    connection: &Connection,
    webhook: WebhookId,
    outbox: i64,
    change: Change,
    object: &Object,
    author: &Author,
) -> error::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO deliveries (webhook, outbox, event, type, object, request, state, created_at, next_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?7, 'pending', ?6, \
                     max(?6, coalesce((SELECT max(next_at) FROM deliveries \
                                       WHERE webhook = ?1 AND type = ?4 AND object = ?5 AND state = 'pending'), 0)))",
        )?
        .execute(params![
            webhook.to_string(),
            outbox,
            change.as_str(),
            object.object_type.as_str(),
            object.id.to_string(),
            millis(author.at),
            author.request.as_str(),
        ])?;
    Ok(())
}

/// Gives up what is still pending for outbox rows that are about to go, and keeps what they had to say. What was
/// given up before and is tried again has its letter already, and goes on.
pub(super) fn give_up(
    connection: &Connection,
    last_outbox: i64,
    now: Timestamp,
) -> error::Result<()> {
    let given_up = connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'failed', next_at = NULL, \
                    error = 'given up: the change is older than the outbox keeps' \
             WHERE state = 'pending' AND outbox <= ?1 \
                 AND NOT EXISTS (SELECT 1 FROM dead_letters \
                                 WHERE dead_letters.webhook = deliveries.webhook \
                                     AND dead_letters.outbox = deliveries.outbox)",
        )?
        .execute([last_outbox])?;
    if given_up > 0 {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO dead_letters (webhook, outbox, at, request, user, doc, readers, bytes) \
                 SELECT deliveries.webhook, deliveries.outbox, ?2, outbox.request, outbox.user, outbox.doc, \
                        audiences.subjects, length(CAST(outbox.doc AS BLOB)) \
                 FROM outbox JOIN audiences ON audiences.id = outbox.readers \
                 CROSS JOIN webhooks \
                 CROSS JOIN deliveries ON deliveries.webhook = webhooks.id AND deliveries.outbox = outbox.seq \
                 WHERE outbox.seq <= ?1 AND deliveries.state = 'failed'",
            )?
            .execute(params![last_outbox, millis(now)])?;
    }
    Ok(())
}

/// Keeps each webhook's log within its bound, and the letters that failed within theirs.
pub(super) fn prune(connection: &Connection, now: Timestamp) -> error::Result<()> {
    for state in ["delivered", "failed"] {
        connection
            .prepare_cached(&format!(
                "DELETE FROM deliveries WHERE state = '{state}' AND (webhook, outbox) IN ( \
                     SELECT old.webhook, old.outbox FROM webhooks JOIN deliveries AS old ON old.webhook = webhooks.id \
                     WHERE old.state = '{state}' AND old.outbox <= ( \
                         SELECT outbox FROM deliveries AS kept \
                         WHERE kept.webhook = webhooks.id AND kept.state = '{state}' \
                         ORDER BY kept.outbox DESC LIMIT 1 OFFSET ?))",
            ))?
            .execute([LOG_MAX])?;
    }
    prune_letters(connection, now)
}

/// Forgets letters that are too old, and the oldest where there are too many bytes of them. Which of them are being
/// tried again makes no difference, or who tries again for ever would fill the disk.
fn prune_letters(connection: &Connection, now: Timestamp) -> error::Result<()> {
    let last: Option<i64> = connection
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id, at, sum(bytes) OVER (ORDER BY id DESC) AS so_far FROM dead_letters) \
             WHERE at < ?1 OR so_far > ?2",
        )?
        .query_row(
            params![millis(now) - DEAD_KEPT_MILLIS, DEAD_BYTES_MAX],
            |row| row.get(0),
        )?;
    let Some(last) = last else { return Ok(()) };
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'failed', next_at = NULL, error = 'given up: too much has failed since' \
             WHERE state = 'pending' AND NOT EXISTS (SELECT 1 FROM outbox WHERE seq = deliveries.outbox) \
                 AND (webhook, outbox) IN (SELECT webhook, outbox FROM dead_letters WHERE id <= ?)",
        )?
        .execute([last])?;
    connection
        .prepare_cached("DELETE FROM dead_letters WHERE id <= ?")?
        .execute([last])?;
    Ok(())
}

/// Has a delivery tried again, ahead of what waits in its lane, which is younger. Says whether there is one.
fn replay(
    connection: &Connection,
    webhook: WebhookId,
    outbox: u64,
    now: Timestamp,
) -> error::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'pending', attempts_before = attempts, \
                    next_at = min(?3, coalesce((SELECT min(lane.next_at) FROM deliveries AS lane \
                                                WHERE lane.webhook = ?1 AND lane.state = 'pending' \
                                                    AND lane.type = deliveries.type \
                                                    AND lane.object = deliveries.object), ?3)) \
             WHERE webhook = ?1 AND outbox = ?2",
        )?
        .execute(params![webhook.to_string(), outbox, millis(now)])?;
    Ok(changed > 0)
}

fn letter(
    connection: &Connection,
    webhook: WebhookId,
    outbox: u64,
) -> error::Result<Option<Letter>> {
    let from_row = |row: &Row<'_>| {
        Ok(Letter {
            request: row.get(0)?,
            user: row.get(1)?,
            document: row.get(2)?,
            readers: readers(row, 3)?,
        })
    };
    let kept = connection
        .prepare_cached(
            "SELECT request, user, doc, readers FROM dead_letters WHERE webhook = ? AND outbox = ?",
        )?
        .query_row(params![webhook.to_string(), outbox], from_row)
        .optional()?;
    if kept.is_some() {
        return Ok(kept);
    }
    let told = connection
        .prepare_cached(
            "SELECT outbox.request, outbox.user, outbox.doc, audiences.subjects \
             FROM outbox JOIN audiences ON audiences.id = outbox.readers WHERE outbox.seq = ?",
        )?
        .query_row([outbox], from_row)
        .optional()?;
    Ok(told)
}

/// Writes down how an attempt ended; returns the state of the delivery after it.
fn settle(connection: &Connection, outcome: &Outcome) -> error::Result<DeliveryState> {
    let delivery = &outcome.delivery;
    let state = match (&outcome.error, outcome.retry_in) {
        (None, _) => DeliveryState::Delivered,
        (Some(_), Some(_)) => DeliveryState::Pending,
        (Some(_), None) => DeliveryState::Failed,
    };
    let next_at = outcome
        .retry_in
        .filter(|_| state == DeliveryState::Pending)
        .map(|wait| millis(outcome.at.plus(wait)));
    let webhook = delivery.webhook.to_string();
    let settled = connection
        .prepare_cached(
            "UPDATE deliveries SET state = ?, attempts = ?, status = ?, error = ?, attempted_at = ?, next_at = ?, \
                    answer = ?, took = ? \
             WHERE webhook = ? AND outbox = ? AND state = 'pending'",
        )?
        .execute(params![
            state.as_str(),
            delivery.attempts.saturating_add(1),
            outcome.status,
            outcome.error,
            millis(outcome.at),
            next_at,
            outcome.answer,
            u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
            webhook,
            delivery.outbox,
        ])?;
    if settled == 0 {
        // The webhook is gone, or the outbox gave the delivery up meanwhile.
        return Ok(state);
    }
    match state {
        DeliveryState::Pending => connection
            .prepare_cached(
                "UPDATE deliveries SET next_at = max(next_at, ?) \
                 WHERE webhook = ? AND type = ? AND object = ? AND state = 'pending'",
            )?
            .execute(params![
                next_at,
                webhook,
                delivery.object_type,
                delivery.object_id.to_string(),
            ])?,
        DeliveryState::Failed => connection
            .prepare_cached(
                "INSERT OR IGNORE INTO dead_letters (webhook, outbox, at, request, user, doc, readers, bytes) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                webhook,
                delivery.outbox,
                millis(outcome.at),
                delivery.request,
                delivery.user,
                delivery.document,
                delivery.readers.to_text(),
                delivery.document.len(),
            ])?,
        // Only what was replayed has one.
        DeliveryState::Delivered if delivery.attempts > delivery.attempts_in_turn => connection
            .prepare_cached("DELETE FROM dead_letters WHERE webhook = ? AND outbox = ?")?
            .execute(params![webhook, delivery.outbox])?,
        DeliveryState::Delivered => 0,
    };
    Ok(state)
}

const LOG_COLUMNS: &str = "outbox, event, type, object, state, attempts, status, error, created_at, attempted_at, \
     next_at, answer, took, request";

fn from_row(webhook: WebhookId, row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get(4)?;
    Ok(Delivery {
        webhook,
        outbox: row.get(0)?,
        event: change(row, 1)?,
        object_type: row.get(2)?,
        object_id: parsed(row, 3)?,
        state: DeliveryState::from_name(&state).unwrap_or(DeliveryState::Failed),
        attempts: row.get(5)?,
        status: row.get(6)?,
        error: row.get(7)?,
        answer: row.get(11)?,
        took: row.get::<_, Option<u64>>(12)?.map(Duration::from_millis),
        request: row.get(13)?,
        created_at: moment(row, 8)?.unwrap_or(Timestamp::from_millis(0)),
        attempted_at: moment(row, 9)?,
        next_at: moment(row, 10)?,
    })
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<u64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

fn readers(row: &Row<'_>, column: usize) -> rusqlite::Result<Readers> {
    let text: String = row.get(column)?;
    Readers::from_text(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

fn change(row: &Row<'_>, column: usize) -> rusqlite::Result<Change> {
    let name: String = row.get(column)?;
    Change::from_name(&name).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "no event".into())
    })
}
