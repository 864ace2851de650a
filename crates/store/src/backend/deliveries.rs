//! Deliveries: what is still to be told to which webhook, and how it went.

use std::time::Duration;

use pilvi_model::query::Page;
use pilvi_model::{BackendId, Object, ObjectId, Readers, Result, Timestamp, WebhookId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::Backend;
use super::outbox::{Change, millis};
use super::webhooks::parsed;
use crate::error;

/// Settled deliveries that a webhook's log keeps.
const LOG_MAX: u32 = 1000;
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

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub delivery: DueDelivery,
    pub at: Timestamp,
    pub status: Option<u16>,
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
                            deliveries.attempts, \
                            outbox.request, outbox.user, outbox.doc, audiences.subjects \
                     FROM deliveries JOIN outbox ON outbox.seq = deliveries.outbox \
                     JOIN audiences ON audiences.id = outbox.readers \
                     WHERE deliveries.webhook = ? AND deliveries.state = 'pending' AND deliveries.next_at <= ? \
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
                        request: row.get(5)?,
                        user: row.get(6)?,
                        document: row.get(7)?,
                        readers: readers(row, 8)?,
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
                outcomes
                    .iter()
                    .try_for_each(|outcome| settle(connection, outcome))
            })
            .await
    }

    /// The log of a webhook, newest first.
    pub async fn list_deliveries(&self, webhook: WebhookId, page: Page) -> Result<Vec<Delivery>> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT outbox, event, type, object, state, attempts, status, error, created_at, attempted_at, \
                            next_at \
                     FROM deliveries WHERE webhook = ? ORDER BY outbox DESC LIMIT ? OFFSET ?",
                )?;
                let rows = statement.query_map(params![webhook.to_string(), page.limit, page.offset], |row| {
                    from_row(webhook, row)
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The webhooks that have something pending: where to go on after a start.
    pub async fn webhooks_with_pending_deliveries(&self) -> Result<Vec<(BackendId, WebhookId)>> {
        let backend = self.id;
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id FROM webhooks WHERE EXISTS \
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
    now: Timestamp,
) -> error::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO deliveries (webhook, outbox, event, type, object, state, created_at, next_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, \
                     max(?6, coalesce((SELECT max(next_at) FROM deliveries \
                                       WHERE webhook = ?1 AND type = ?4 AND object = ?5 AND state = 'pending'), 0)))",
        )?
        .execute(params![
            webhook.to_string(),
            outbox,
            change.as_str(),
            object.object_type.as_str(),
            object.id.to_string(),
            millis(now),
        ])?;
    Ok(())
}

/// Gives up what is still pending for outbox rows that are about to go.
pub(super) fn give_up(connection: &Connection, last_outbox: i64) -> error::Result<()> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'failed', next_at = NULL, \
                    error = 'given up: the change is older than the outbox keeps' \
             WHERE state = 'pending' AND outbox <= ?",
        )?
        .execute([last_outbox])?;
    Ok(())
}

/// Keeps each webhook's log within its bound.
pub(super) fn prune(connection: &Connection) -> error::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM deliveries WHERE state <> 'pending' AND (webhook, outbox) IN ( \
                 SELECT old.webhook, old.outbox FROM webhooks JOIN deliveries AS old ON old.webhook = webhooks.id \
                 WHERE old.state <> 'pending' AND old.outbox <= ( \
                     SELECT outbox FROM deliveries AS kept \
                     WHERE kept.webhook = webhooks.id AND kept.state <> 'pending' \
                     ORDER BY kept.outbox DESC LIMIT 1 OFFSET ?))",
        )?
        .execute([LOG_MAX])?;
    Ok(())
}

fn settle(connection: &Connection, outcome: &Outcome) -> error::Result<()> {
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
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = ?, attempts = ?, status = ?, error = ?, attempted_at = ?, next_at = ? \
             WHERE webhook = ? AND outbox = ? AND state = 'pending'",
        )?
        .execute(params![
            state.as_str(),
            delivery.attempts.saturating_add(1),
            outcome.status,
            outcome.error,
            millis(outcome.at),
            next_at,
            delivery.webhook.to_string(),
            delivery.outbox,
        ])?;
    if let Some(next_at) = next_at {
        connection
            .prepare_cached(
                "UPDATE deliveries SET next_at = max(next_at, ?) \
                 WHERE webhook = ? AND type = ? AND object = ? AND state = 'pending'",
            )?
            .execute(params![
                next_at,
                delivery.webhook.to_string(),
                delivery.object_type,
                delivery.object_id.to_string(),
            ])?;
    }
    Ok(())
}

fn from_row(webhook: WebhookId, row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get(4)?;
    Ok(Delivery {
        webhook,
        outbox: row.get(0)?,
        event: change(row, 1)?,
        object_type: row.get(2)?,
        object_id: parsed(row, 3)?,
        state: match state.as_str() {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            _ => DeliveryState::Failed,
        },
        attempts: row.get(5)?,
        status: row.get(6)?,
        error: row.get(7)?,
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
