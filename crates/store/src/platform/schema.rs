//! The tables of `pilvi.db`.

use crate::migrate::Schema;

pub(crate) static SCHEMA: Schema = Schema {
    steps: &[ACCOUNTS, WEBHOOK_BACKENDS],
};

/// Moments are milliseconds since 1970. `tags` and `config` are JSON texts. Roles other than `owner` come later.
///
/// `instances.state` is the way back after a crash: see [`super::InstanceState`]. A token's holder is spread over
/// three columns, so that foreign keys watch over each; `generation` makes a derived token unlike any earlier one.
/// Numbers of tokens are never used twice, so that a late DELETE cannot hit a newer token. A member has one account
/// token: `tokens_by_member` is unique, and says nothing about the rows whose `account` is null.
const ACCOUNTS: &str = "
CREATE TABLE persons (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    datacenter TEXT NOT NULL,
    vpc INTEGER NOT NULL CHECK (vpc IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    account TEXT NOT NULL REFERENCES accounts (id),
    person TEXT NOT NULL REFERENCES persons (id),
    role TEXT NOT NULL DEFAULT 'owner',
    PRIMARY KEY (account, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_person ON members (person);

CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id),
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    tags TEXT NOT NULL,
    config TEXT NOT NULL,
    datacenter TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'removing')),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX instances_by_account ON instances (account, created_at, id);
CREATE INDEX instances_unfinished ON instances (state) WHERE state <> 'ready';

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('person', 'account', 'instance')),
    person TEXT REFERENCES persons (id),
    account TEXT REFERENCES accounts (id),
    instance TEXT REFERENCES instances (id),
    generation INTEGER NOT NULL,
    name TEXT,
    created_at INTEGER NOT NULL,
    FOREIGN KEY (account, person) REFERENCES members (account, person),
    CHECK (
        CASE kind
            WHEN 'person' THEN person IS NOT NULL AND account IS NULL AND instance IS NULL
            WHEN 'account' THEN person IS NOT NULL AND account IS NOT NULL AND instance IS NULL
            ELSE person IS NULL AND account IS NULL AND instance IS NOT NULL
        END
    )
) STRICT;
CREATE UNIQUE INDEX tokens_by_member ON tokens (account, person);
CREATE INDEX tokens_by_person ON tokens (person);
CREATE INDEX tokens_by_instance ON tokens (instance)
";

/// A row goes with its instance.
const WEBHOOK_BACKENDS: &str = "
CREATE TABLE webhook_backends (
    backend TEXT NOT NULL PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID
";
