//! Logins of tools: what somebody gets who signs in at the account interface of the original (`eds.md` §14.1). Each
//! opens that interface, for some hours, and nothing else.

use pilvi_model::{PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::tokens::Digest;
use super::{Moment, Text};
use crate::Store;

pub(super) const STEP: &str = "
CREATE TABLE logins (
    digest BLOB NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX logins_by_person ON logins (person, created_at);
CREATE INDEX logins_by_end ON logins (expires_at)
";

/// A login that is about to begin.
#[derive(Clone, Debug)]
pub struct NewLogin {
    pub person: PersonId,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Store {
    /// Begins a login. A person who has `logins_max` loses the oldest one: tools sign in with every run and never out.
    pub async fn insert_login(&self, login: NewLogin, logins_max: u32) -> Result<()> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached("DELETE FROM logins WHERE expires_at <= ?")?
                    .execute([Moment(login.created_at)])?;
                connection
                    .prepare_cached(
                        "DELETE FROM logins WHERE digest IN (SELECT digest FROM logins WHERE person = ?
                         ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
                    )?
                    .execute(params![Text(login.person), logins_max.saturating_sub(1)])?;
                connection
                    .prepare_cached(
                        "INSERT INTO logins (digest, person, created_at, expires_at) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![
                        Digest(login.digest),
                        Text(login.person),
                        Moment(login.created_at),
                        Moment(login.expires_at)
                    ])?;
                Ok(())
            })
            .await
    }

    /// Whose login this is, unless its time is over.
    pub async fn find_login(&self, digest: [u8; 32], now: Timestamp) -> Result<Option<PersonId>> {
        self.platform
            .read(move |connection| {
                let found: Option<Text<PersonId>> = connection
                    .prepare_cached(
                        "SELECT person FROM logins WHERE digest = ? AND expires_at > ?",
                    )?
                    .query_row(params![Digest(digest), Moment(now)], |row| row.get(0))
                    .optional()?;
                Ok(found.map(|person| person.0))
            })
            .await
    }

    /// Ends a login; harmless when there is none.
    pub async fn delete_login(&self, digest: [u8; 32]) -> Result<()> {
        self.platform
            .write_when_low(move |connection| {
                connection
                    .prepare_cached("DELETE FROM logins WHERE digest = ?")?
                    .execute([Digest(digest)])?;
                Ok(())
            })
            .await
    }
}

pub(super) fn delete_all(connection: &Connection, person: PersonId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM logins WHERE person = ?")?
        .execute([Text(person)])?;
    Ok(())
}
