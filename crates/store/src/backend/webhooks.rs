//! Webhooks: who wants to hear of which changes, and where.

use pilvi_model::{Error as DomainError, ObjectType, Result, Timestamp, WebhookId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Backend;
use super::objects::timestamp;
use super::outbox::Change;
use crate::error;

/// Webhooks that one backend may have: each write looks at all of them.
pub(crate) const WEBHOOKS_MAX: u32 = 50;

/// Signatures, a switch, the log of attempts, and what failed deliveries had to say.
pub(super) const STEP: &str = "
    -- One that is not enabled is told of nothing new, and what waits for it waits on. `signing` is sealed.
    ALTER TABLE webhooks ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE webhooks ADD COLUMN signing BLOB;

    -- `attempts_before` are those of before the last replay; `took` is in milliseconds.
    ALTER TABLE deliveries ADD COLUMN request TEXT;
    ALTER TABLE deliveries ADD COLUMN answer TEXT;
    ALTER TABLE deliveries ADD COLUMN took INTEGER;
    ALTER TABLE deliveries ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
    DROP INDEX deliveries_settled;
    CREATE INDEX deliveries_delivered ON deliveries (webhook, outbox) WHERE state = 'delivered';
    CREATE INDEX deliveries_failed ON deliveries (webhook, outbox) WHERE state = 'failed';

    -- What a delivery that failed had to say, beyond the time that the outbox keeps it: it can be sent again.
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY,
        webhook TEXT NOT NULL,
        outbox INTEGER NOT NULL,
        at INTEGER NOT NULL,
        request TEXT NOT NULL,
        user TEXT,
        doc TEXT NOT NULL,
        readers TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        UNIQUE (webhook, outbox),
        FOREIGN KEY (webhook, outbox) REFERENCES deliveries (webhook, outbox) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX dead_letters_sizes ON dead_letters (id, at, bytes);
";

/// In which form `payload` is sent (`eds.md` §13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadAs {
    /// A JSON object, as documented.
    #[default]
    Object,
    /// The same as a JSON string, as the published gateway demands.
    String,
}

impl PayloadAs {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::String => "string",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Object, Self::String]
            .into_iter()
            .find(|form| form.as_str() == name)
    }
}

/// A webhook as it is stored: its headers are sealed by whoever holds the key.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWebhook {
    pub id: WebhookId,
    pub url: String,
    /// `None`: all of them.
    pub events: Option<Vec<Change>>,
    /// `None`: all of them.
    pub object_types: Option<Vec<ObjectType>>,
    pub sealed_headers: Vec<u8>,
    /// The secrets that it signs with; one of before there were signatures has none.
    pub sealed_signing: Option<Vec<u8>>,
    pub payload_as: PayloadAs,
    /// Whether it is told of changes.
    pub enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "id, url, events, types, headers, payload_as, created_at, updated_at, \
     enabled, signing";

impl Backend {
    /// Stores a new webhook, unless the backend has 50 already.
    pub async fn insert_webhook(&self, webhook: StoredWebhook) -> Result<()> {
        self.database
            .write(move |connection| {
                let count: u32 =
                    connection.query_row("SELECT count(*) FROM webhooks", [], |row| row.get(0))?;
                if count >= WEBHOOKS_MAX {
                    let message =
                        format!("a backend has at most {WEBHOOKS_MAX} webhooks; delete one first");
                    return Err(DomainError::conflict(message).into());
                }
                connection.execute(
                    &format!(
                        "INSERT INTO webhooks ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    ),
                    params![
                        webhook.id.to_string(),
                        webhook.url,
                        event_names(webhook.events.as_deref()),
                        type_names(webhook.object_types.as_deref()),
                        webhook.sealed_headers,
                        webhook.payload_as.as_str(),
                        webhook.created_at.to_millis_text(),
                        webhook.updated_at.to_millis_text(),
                        webhook.enabled,
                        webhook.sealed_signing,
                    ],
                )?;
                Ok(())
            })
            .await
    }

    /// Replaces everything but the id and the time of creation. Says whether there was such a webhook.
    pub async fn update_webhook(&self, webhook: StoredWebhook) -> Result<bool> {
        self.database
            .write(move |connection| {
                let changed = connection.execute(
                    "UPDATE webhooks SET url = ?, events = ?, types = ?, headers = ?, payload_as = ?, updated_at = ?, \
                            enabled = ? \
                     WHERE id = ?",
                    params![
                        webhook.url,
                        event_names(webhook.events.as_deref()),
                        type_names(webhook.object_types.as_deref()),
                        webhook.sealed_headers,
                        webhook.payload_as.as_str(),
                        webhook.updated_at.to_millis_text(),
                        webhook.enabled,
                        webhook.id.to_string(),
                    ],
                )?;
                Ok(changed > 0)
            })
            .await
    }

    /// Replaces the secrets that a webhook signs with, unless somebody else did so since `old` was read: who was told
    /// a new secret must be able to rely on it.
    pub async fn replace_signing(
        &self,
        id: WebhookId,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
        at: Timestamp,
    ) -> Result<bool> {
        self.database
            .write(move |connection| {
                let changed = connection.execute(
                    "UPDATE webhooks SET signing = ?, updated_at = ? WHERE id = ? AND signing IS ?",
                    params![new, at.to_millis_text(), id.to_string(), old],
                )?;
                Ok(changed > 0)
            })
            .await
    }

    /// Deletes the webhook and its deliveries. Says whether there was one.
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<bool> {
        self.database
            .write_when_low(move |connection| {
                Ok(connection.execute("DELETE FROM webhooks WHERE id = ?", [id.to_string()])? > 0)
            })
            .await
    }

    pub async fn find_webhook(&self, id: WebhookId) -> Result<Option<StoredWebhook>> {
        self.database
            .read(move |connection| {
                let sql = format!("SELECT {COLUMNS} FROM webhooks WHERE id = ?");
                Ok(connection
                    .prepare_cached(&sql)?
                    .query_row([id.to_string()], from_row)
                    .optional()?)
            })
            .await
    }

    /// All webhooks, at most 50, oldest first.
    pub async fn list_webhooks(&self) -> Result<Vec<StoredWebhook>> {
        self.database
            .read(|connection| {
                let sql = format!("SELECT {COLUMNS} FROM webhooks ORDER BY id");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([], from_row)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// The webhooks that want to hear of this change.
pub(super) fn listening_to(
    connection: &Connection,
    change: Change,
    object_type: &ObjectType,
) -> error::Result<Vec<WebhookId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM webhooks \
         WHERE enabled AND (events IS NULL OR EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?1)) \
           AND (types IS NULL OR EXISTS (SELECT 1 FROM json_each(types) WHERE value = ?2)) \
         ORDER BY id",
    )?;
    let rows = statement.query_map([change.as_str(), object_type.as_str()], |row| {
        parsed(row, 0)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredWebhook> {
    let events: Option<Vec<String>> = json(row, 2)?;
    let types: Option<Vec<String>> = json(row, 3)?;
    let payload_as: String = row.get(5)?;
    Ok(StoredWebhook {
        id: parsed(row, 0)?,
        url: row.get(1)?,
        events: events.map(|names| {
            names
                .iter()
                .filter_map(|name| Change::from_name(name))
                .collect()
        }),
        object_types: types
            .map(|names| names.iter().filter_map(|name| name.parse().ok()).collect()),
        sealed_headers: row.get(4)?,
        sealed_signing: row.get(9)?,
        enabled: row.get(8)?,
        payload_as: PayloadAs::from_name(&payload_as).unwrap_or_default(),
        created_at: timestamp(row, 6)?,
        updated_at: timestamp(row, 7)?,
    })
}

/// Reads an id that this crate wrote.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err = DomainError>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: DomainError| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(column)?;
    let fault =
        |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    text.map(|text| serde_json::from_str(&text).map_err(fault))
        .transpose()
}

fn event_names(events: Option<&[Change]>) -> Option<String> {
    events.map(|events| {
        serde_json::json!(
            events
                .iter()
                .map(|event| event.as_str())
                .collect::<Vec<_>>()
        )
        .to_string()
    })
}

fn type_names(types: Option<&[ObjectType]>) -> Option<String> {
    types.map(|types| {
        serde_json::json!(types.iter().map(ObjectType::as_str).collect::<Vec<_>>()).to_string()
    })
}
