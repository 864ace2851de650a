//! Creates that are carried out once, however often a client that lost the reply sends them again.

use std::time::Duration;

use pilvi_base::secret::sha256;
use pilvi_model::{Asker, Error, Object, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::mutation::Written;
use super::outbox::millis;
use crate::error::Result;

/// How long a key is remembered.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows past their time that one write clears away.
const PRUNE_MAX: u32 = 64;

/// What a request is known again by.
#[derive(Clone, Debug)]
pub struct OnceKey {
    key: [u8; 32],
    fingerprint: [u8; 32],
}

/// What became of a change that is made once.
#[derive(Clone, Debug)]
pub enum Once {
    Now(Written),
    /// It was made before; this is the object as it was answered then.
    Before(String),
}

impl OnceKey {
    /// `key` is what the client chose; whoever asks has keys of their own. `request` is what was asked, as bytes
    /// that the same request always has.
    pub fn new(asker: &Asker, key: &str, request: &[u8]) -> Self {
        let owner = match asker {
            Asker::Admin => "admin".to_owned(),
            Asker::Anonymous => "anonymous".to_owned(),
            Asker::User { id, .. } => id.to_string(),
        };
        Self {
            key: sha256(format!("{owner}\n{key}").as_bytes()),
            fingerprint: sha256(request),
        }
    }
}

/// The reply that was given under this key, if that is not too long ago.
pub(super) fn find(
    connection: &Connection,
    key: &OnceKey,
    now: Timestamp,
) -> Result<Option<String>> {
    let mut statement = connection
        .prepare_cached("SELECT fingerprint, reply FROM idempotency WHERE key = ? AND at > ?")?;
    let found: Option<(Vec<u8>, String)> = statement
        .query_row(params![key.key, expired(now)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match found {
        Some((fingerprint, _)) if fingerprint != key.fingerprint => Err(Error::bad_request(
            "this Idempotency-Key was used for another request within the last 24 hours; choose a new one",
        )
        .into()),
        found => Ok(found.map(|(_, reply)| reply)),
    }
}

/// Remembers what was answered.
pub(super) fn remember(
    connection: &Connection,
    key: &OnceKey,
    object: &Object,
    now: Timestamp,
) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE at <= ? ORDER BY at LIMIT ?)",
        )?
        .execute(params![expired(now), PRUNE_MAX])?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency (key, fingerprint, object_type, object, reply, at) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            key.key,
            key.fingerprint,
            object.object_type.as_str(),
            object.id.to_string(),
            object.text,
            millis(now),
        ])?;
    Ok(())
}

/// Rows of this moment and before are past their time.
fn expired(now: Timestamp) -> i64 {
    millis(now) - i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX)
}
