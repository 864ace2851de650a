//! What one EDS backend keeps: objects, the outbox of their changes, webhooks and their deliveries.
//!
//! Every change of an object appends to the outbox, and a delivery for each webhook that wants to hear of it, in
//! the transaction that changes the object: either all of it happened or nothing did.

mod deliveries;
mod indexes;
mod objects;
mod outbox;
#[cfg(test)]
mod tests;
mod webhooks;

use pilvi_model::BackendId;

pub use deliveries::{Delivery, DeliveryState, DueDelivery, Outcome};
pub use objects::Written;
pub use outbox::{Change, Origin};
pub use webhooks::{PayloadAs, StoredWebhook};

use crate::migrate::Schema;
use crate::pool::Database;

/// One backend's file.
#[derive(Clone, Debug)]
pub struct Backend {
    pub id: BackendId,
    database: Database,
}

impl Backend {
    pub(crate) fn new(id: BackendId, database: Database) -> Self {
        Self { id, database }
    }

    pub(crate) async fn close(&self) -> pilvi_model::Result<()> {
        self.database.close().await
    }
}

/// The formats of a backend's file. Only ever append.
pub(crate) const SCHEMA: Schema = Schema {
    steps: &["
    -- `doc` is the object as clients see it, system properties included. The columns repeat what queries can be
    -- answered from without opening the document.
    CREATE TABLE objects (
        seq INTEGER PRIMARY KEY,
        type TEXT NOT NULL,
        id TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        doc TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX objects_by_id ON objects (type, id);

    -- `bytes` is the sum of all documents up to and including this row, so that the size of any stretch of the
    -- outbox is the difference of two numbers.
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        event TEXT NOT NULL,
        type TEXT NOT NULL,
        object TEXT NOT NULL,
        request TEXT NOT NULL,
        user TEXT,
        doc TEXT NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;

    -- `events` and `types` are JSON arrays; an absent one means all. `headers` is sealed.
    CREATE TABLE webhooks (
        id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        events TEXT,
        types TEXT,
        headers BLOB NOT NULL,
        payload_as TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    ) STRICT;

    -- Deliveries of one webhook that concern one object form a lane: within it `next_at` never falls with
    -- `outbox`, so taking what is due by (next_at, outbox) keeps the order of changes. The outbox row goes after
    -- its delivery is settled; what the log shows of it is repeated here.
    CREATE TABLE deliveries (
        webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        outbox INTEGER NOT NULL,
        event TEXT NOT NULL,
        type TEXT NOT NULL,
        object TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
        attempts INTEGER NOT NULL DEFAULT 0,
        status INTEGER,
        error TEXT,
        created_at INTEGER NOT NULL,
        attempted_at INTEGER,
        next_at INTEGER,
        PRIMARY KEY (webhook, outbox)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deliveries_due ON deliveries (webhook, next_at, outbox) WHERE state = 'pending';
    CREATE INDEX deliveries_lane ON deliveries (webhook, type, object, next_at) WHERE state = 'pending';
    CREATE INDEX deliveries_pending ON deliveries (outbox) WHERE state = 'pending';
    CREATE INDEX deliveries_settled ON deliveries (webhook, outbox) WHERE state <> 'pending';
    "],
};
