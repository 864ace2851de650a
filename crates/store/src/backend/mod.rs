//! What one EDS backend keeps: objects and who may do what with them, the outbox of their changes, webhooks and
//! their deliveries.
//!
//! Every write is a [`Mutation`] by an [`Author`]. Whether the author may is decided in the transaction that writes.
//! Every change of an object appends to the outbox, and a delivery for each webhook that wants to hear of it, in
//! the transaction that changes the object: either all of it happened or nothing did.

mod access;
#[cfg(test)]
mod access_agreement;
#[cfg(test)]
mod access_tests;
mod author;
mod blobs;
#[cfg(test)]
mod bounds_tests;
mod collections;
mod constraints;
mod deliveries;
mod facts;
#[cfg(test)]
mod feed_tests;
mod file_links;
mod files;
#[cfg(test)]
mod files_tests;
pub(crate) mod geo;
mod idempotency;
pub(crate) mod indexes;
mod inferred;
mod inherit;
mod live;
mod lookup;
mod members;
mod mutation;
mod objects;
mod outbox;
#[cfg(test)]
mod people_tests;
#[cfg(test)]
mod schema_tests;
mod sealed;
mod search;
mod sessions;
#[cfg(test)]
mod tests;
mod transfer;
mod used_blobs;
mod users;
mod variants;
mod visible;
mod vouchers;
mod webhooks;

use pilvi_model::BackendId;

pub use author::Author;
pub use blobs::BlobEra;
pub use collections::{Collection, NewCollection, Removed, SchemaChange};
pub use deliveries::{Delivery, DeliveryState, DueDelivery, Letter, Outcome, Replay, Replayed};
pub use files::{NewFile, Upload, WholeFile};
pub use idempotency::{Once, OnceKey};
pub use indexes::{AUTOMATIC_MAX, INDEXES_MAX, IndexInfo, IndexOrigin, IndexState, SlowQuery};
pub use live::Snapshot;
pub use lookup::Target;
pub use mutation::{Mutation, Written};
pub use outbox::{Change, FeedEvent, FeedRow, Page as FeedPage, Position};
pub use sealed::{ResealedHeaders, ResealedSigning};
pub use search::{Indexed, KnownWords, Making, Prospect};
pub use sessions::{Member, Presented, Refresh, Renewal, SessionKind, SignedIn, Tokens};
pub use transfer::{FileParcel, Login, Membership, Packed, Parcel, Replaced};
pub(crate) use used_blobs::used_in as used_blobs_in;
pub use users::{NewUser, Reachable, StoredLogin, USERNAME_BYTES_MAX, Whom, check_username};
pub use variants::{Image, Taken, Variant, VariantJob, VariantOutcome, VariantState};
pub use vouchers::{NewVoucher, Purpose};
pub use webhooks::{PayloadAs, StoredWebhook};

pub(crate) use collections::make_private;
pub(crate) use indexes::{
    Sighting as IndexSighting, Wish as IndexWish, make_wished as make_wished_index,
    record as record_slow_query, work as work_on_indexes,
};

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

    /// Closes the file, which is whole then without files beside it. It is opened again when it is used.
    pub async fn close(&self) -> pilvi_model::Result<()> {
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
    ",
    "
    -- Access lists and audiences are few and their owners are many, so each different one is kept once. List 1 is
    -- that of an open backend for an object without a creator, audience 1 is everyone: what exists already.
    CREATE TABLE access_lists (id INTEGER PRIMARY KEY, list TEXT NOT NULL UNIQUE) STRICT;
    INSERT INTO access_lists VALUES (1, '[[\"aclSubject.*\"],[\"aclSubject.*\"],[\"aclSubject.*\"],[]]');
    CREATE TABLE audiences (id INTEGER PRIMARY KEY, subjects TEXT NOT NULL UNIQUE) STRICT;
    INSERT INTO audiences VALUES (1, '[\"aclSubject.*\"]');
    CREATE TABLE audience_subjects (
        subject TEXT NOT NULL,
        audience INTEGER NOT NULL,
        PRIMARY KEY (subject, audience)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO audience_subjects VALUES ('aclSubject.*', 1);
    CREATE INDEX audience_subjects_by_audience ON audience_subjects (audience, subject);

    -- Lists and audiences that nobody has any more are looked for when their ids have come so far.
    CREATE TABLE sweeps (at_list INTEGER NOT NULL, at_audience INTEGER NOT NULL) STRICT;
    INSERT INTO sweeps VALUES (256, 256);

    -- `access` is the object's own list. `readers` is the audience of its effective list, kept up to date by whatever
    -- changes that, so that lists and counts need nothing else.
    ALTER TABLE objects ADD COLUMN access INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE objects ADD COLUMN readers INTEGER NOT NULL DEFAULT 1;
    CREATE INDEX objects_by_readers ON objects (type, readers, id);
    ALTER TABLE outbox ADD COLUMN readers INTEGER NOT NULL DEFAULT 1;

    -- From which objects an object (by its `seq`) inherits.
    CREATE TABLE inherits (
        child INTEGER NOT NULL,
        parent_type TEXT NOT NULL,
        parent_id TEXT NOT NULL,
        PRIMARY KEY (child, parent_type, parent_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX inherits_by_parent ON inherits (parent_type, parent_id);

    -- The types that are used or described. `doc` is the schema as it was given; `rights` is what it means for
    -- access, absent where nothing was said. The row named `*` stands for all types about which nothing was said.
    CREATE TABLE collections (
        type TEXT PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        doc TEXT NOT NULL,
        rights TEXT,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    ) STRICT;
    INSERT INTO collections (type, id, doc, created_at, updated_at)
        SELECT type, lower(hex(randomblob(12))), '{}', min(created_at), min(created_at) FROM objects GROUP BY type;

    -- What of a user is not in its document, which lists and queries see.
    CREATE TABLE users (
        id TEXT PRIMARY KEY,
        username TEXT NOT NULL UNIQUE,
        password TEXT NOT NULL,
        password_at INTEGER NOT NULL DEFAULT 0,
        email TEXT,
        email_verified_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX users_by_email ON users (email) WHERE email IS NOT NULL;
    CREATE TABLE members (
        usergroup TEXT NOT NULL,
        user TEXT NOT NULL,
        PRIMARY KEY (usergroup, user)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX members_by_user ON members (user);
    -- Tokens are kept as digests. `family` is what the refresh tokens that go back to one login have in common.
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        user TEXT NOT NULL,
        kind TEXT NOT NULL,
        access BLOB NOT NULL UNIQUE,
        access_expires INTEGER NOT NULL,
        refresh BLOB UNIQUE,
        refresh_expires INTEGER,
        family BLOB,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_user ON sessions (user);
    CREATE INDEX sessions_by_family ON sessions (family) WHERE family IS NOT NULL;
    CREATE TABLE vouchers (
        digest BLOB PRIMARY KEY,
        user TEXT NOT NULL,
        purpose TEXT NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX vouchers_by_user ON vouchers (user);

    -- Creates that were carried out once and are to be answered the same way when they come again. `key` is a digest
    -- of whoever asked and the key that they chose, `fingerprint` one of what they asked.
    CREATE TABLE idempotency (
        key BLOB PRIMARY KEY,
        fingerprint BLOB NOT NULL,
        object_type TEXT NOT NULL,
        object TEXT NOT NULL,
        reply TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_by_time ON idempotency (at);
    ",
    outbox::STEP,
    webhooks::STEP,
    transfer::STEP,
    facts::STEP,
    files::STEP,
    variants::STEP,
    search::STEP,
    indexes::STEP,
    ],
};
