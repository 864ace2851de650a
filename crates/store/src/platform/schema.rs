//! The tables of `pilvi.db`.

use crate::migrate::Schema;

pub(crate) static SCHEMA: Schema = Schema {
    steps: &[
        ACCOUNTS,
        WEBHOOK_BACKENDS,
        APPS,
        SSH_KEYS,
        PEOPLE,
        CONTROL,
        SIGN_IN,
        QUOTAS,
        FILE_BACKENDS,
        super::logins::STEP,
    ],
};

/// Moments are milliseconds since 1970. `tags` and `config` are JSON texts.
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

/// Everything goes with its app, and the app with its instance. `apps.number` makes the user id that the app's
/// processes run under, so it is never used twice: no new app can own what an old one left. `apps.release` is the
/// number of the release that runs; `apps.releases` counts those that were ever made.
///
/// A release is `pending` from before its processes start until they have taken over, so that whatever a crash
/// interrupts can be told from what serves. A slug is `awaiting` until its file is whole on the disk: files without a
/// `ready` row are nobody's. Two slugs that can be deployed never have one tag.
const APPS: &str = "
CREATE TABLE apps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE REFERENCES instances (id) ON DELETE CASCADE,
    size INTEGER NOT NULL CHECK (size IN (1, 2, 4, 8)),
    stack TEXT NOT NULL,
    wanted TEXT NOT NULL CHECK (wanted IN ('running', 'stopped')),
    release INTEGER,
    releases INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE app_vars (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (app, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE slugs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('git', 'upload')),
    state TEXT NOT NULL CHECK (state IN ('awaiting', 'ready')),
    process_types TEXT NOT NULL,
    default_vars TEXT NOT NULL,
    stack TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deployed_at INTEGER
) STRICT;
CREATE UNIQUE INDEX slugs_by_tag ON slugs (app, tag) WHERE state = 'ready' OR origin = 'upload';
CREATE INDEX slugs_by_app ON slugs (app, id);

CREATE TABLE releases (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    slug INTEGER REFERENCES slugs (id) ON DELETE SET NULL,
    slug_tag TEXT NOT NULL,
    vars BLOB NOT NULL,
    process_types TEXT NOT NULL,
    stack TEXT NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'current', 'failed', 'old')),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX releases_pending ON releases (app, number) WHERE state = 'pending';
CREATE UNIQUE INDEX releases_current ON releases (app) WHERE state = 'current';
CREATE INDEX releases_by_slug ON releases (slug);

CREATE TABLE formation (
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (app, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE domains (
    name TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX domains_by_app ON domains (app);

CREATE TABLE certificates (
    app TEXT NOT NULL PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    chain TEXT NOT NULL,
    key BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
";

/// A key belongs to one person and is found by its fingerprint. Numbers are never used twice, as with tokens.
const SSH_KEYS: &str = "
CREATE TABLE ssh_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    UNIQUE (person, name)
) STRICT
";

/// Operators, invitations, instances that are deleted and can still be brought back, and the audit log.
///
/// A server that was made before there were operators gets the one it has always had: its first person. `deleted_at`
/// belongs to an instance whose `state` is `ready`: nothing of it is gone. An invitation is found by the digest of the
/// code in its mail. Audit events outlive whom and what they tell of, so they refer to nothing; `account` is null where
/// an event is about no account. Their numbers are never used twice, and grow with time: pages are cut by them.
const CONTROL: &str = "
ALTER TABLE persons ADD COLUMN operator INTEGER NOT NULL DEFAULT 0 CHECK (operator IN (0, 1));
UPDATE persons SET operator = 1
WHERE rowid = (SELECT rowid FROM persons ORDER BY created_at, rowid LIMIT 1);

ALTER TABLE instances ADD COLUMN deleted_at INTEGER;
CREATE INDEX instances_deleted ON instances (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE invitations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    invited_by TEXT REFERENCES persons (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (account, email)
) STRICT;
CREATE INDEX invitations_by_email ON invitations (email);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    account TEXT,
    actor TEXT NOT NULL,
    person TEXT,
    instance TEXT,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    request TEXT,
    peer TEXT
) STRICT;
CREATE INDEX audit_by_account ON audit (account, id);
CREATE INDEX audit_by_person ON audit (person, event, at) WHERE person IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at)
";

/// How persons sign in. An address is one person's, however it is spelled. A code is found by its digest, like a token;
/// what it does when somebody brings it is in `purpose`, and a `sign-up` holds all of a person who does not exist yet,
/// so that an address which nobody proved to be theirs takes no place among those of persons.
const PEOPLE: &str = "
ALTER TABLE persons ADD COLUMN password TEXT;
ALTER TABLE persons ADD COLUMN email_verified_at INTEGER;
CREATE UNIQUE INDEX persons_by_email ON persons (lower(email));

ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
ALTER TABLE tokens ADD COLUMN used_at INTEGER;
CREATE INDEX tokens_by_end ON tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_person ON sessions (person, used_at);
CREATE INDEX sessions_by_use ON sessions (used_at);

CREATE TABLE codes (
    digest BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('sign-up', 'password', 'email')),
    person TEXT REFERENCES persons (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    name TEXT,
    password TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK (
        CASE purpose
            WHEN 'sign-up' THEN person IS NULL AND name IS NOT NULL AND password IS NOT NULL
            ELSE person IS NOT NULL AND name IS NULL AND password IS NULL
        END
    )
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_by_person ON codes (person, purpose);
CREATE INDEX codes_by_email ON codes (lower(email), purpose);
CREATE INDEX codes_by_end ON codes (expires_at)
";

/// Who a person is at a provider of single sign-on, and sign-ins of programs that wait for a person.
///
/// A provider's subject is unique within its issuer. A device code is found by the digest of its long half, by the
/// program, and by its short half, by the person who decides; `person` is whoever decided. Numbers of identities are
/// never used twice, as with tokens.
const SIGN_IN: &str = "
CREATE TABLE identities (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
    label TEXT,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    UNIQUE (issuer, subject)
) STRICT;
CREATE INDEX identities_by_person ON identities (person);

CREATE TABLE device_codes (
    digest BLOB NOT NULL PRIMARY KEY,
    user_code TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    peer TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'denied')),
    person TEXT REFERENCES persons (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK ((person IS NULL) = (state = 'waiting'))
) STRICT, WITHOUT ROWID;
CREATE INDEX device_codes_by_person ON device_codes (person);
CREATE INDEX device_codes_by_end ON device_codes (expires_at)
";

/// What an operator set for an account; what has no row is as the server's defaults say.
const QUOTAS: &str = "
CREATE TABLE quotas (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    resource TEXT NOT NULL,
    most INTEGER NOT NULL CHECK (most >= 0),
    PRIMARY KEY (account, resource)
) STRICT, WITHOUT ROWID
";

/// The backends that have ever had a file.
const FILE_BACKENDS: &str = "
CREATE TABLE file_backends (
    backend TEXT NOT NULL PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID
";
