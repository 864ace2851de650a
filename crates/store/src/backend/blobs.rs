//! Which bytes the backend's files and variants are made of, and how many of them are made of the same.
//!
//! The bytes are kept elsewhere, under their digests; here they are counted. Bytes that nothing is made of any more
//! are removed in steps: they rest for a while ([`release`]), are given up ([`Backend::doom_blobs`]), are removed
//! from where they are kept, and then are written off ([`Backend::bury_blobs`]).
//!
//! Somebody may store the same bytes again at any of these points. Until they are given up that is one more use of
//! them. From then on whoever removes them has them alone, and a new use is refused with [`Kind::Unavailable`] until
//! they are written off. What is stored again meets the removal only if it was stored before that ended, which is what
//! [`BlobEra`] tells: it is read before the bytes are stored, and each writing-off begins a new one. So no use is ever
//! counted of bytes that are gone, no clock decides, and storing bytes costs no transaction of its own.
//!
//! [`Kind::Unavailable`]: pilvi_model::Kind::Unavailable

use pilvi_model::{Blob, Digest, Error, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Backend;
use super::outbox::millis;
use crate::error;

/// Written-off digests are remembered for so long: between storing bytes and counting their use passes less.
const REMEMBERED_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A point in the life of a backend's blobs, taken before bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEra(i64);

impl Backend {
    /// To be read before bytes are stored whose use is then written down.
    pub async fn blob_era(&self) -> Result<BlobEra> {
        self.database.read(era).await
    }

    /// Gives up the bytes that nothing has been made of since `idle_before`, at most `limit`, together with those that
    /// were given up before and not written off. The caller must remove them and then call [`Backend::bury_blobs`].
    pub async fn doom_blobs(&self, idle_before: Timestamp, limit: u32) -> Result<Vec<Digest>> {
        self.database
            .write_when_low(move |connection| doom(connection, idle_before, limit))
            .await
    }

    /// Writes off bytes that were given up and are removed by now.
    pub async fn bury_blobs(&self, digests: Vec<Digest>, now: Timestamp) -> Result<()> {
        self.database
            .write_when_low(move |connection| bury(connection, &digests, now))
            .await
    }

    /// Writes down bytes that were stored and that nothing was made of, so that they are removed in time. Those that
    /// are known already are left as they are.
    pub async fn note_blobs(&self, blobs: Vec<Blob>, now: Timestamp) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                let mut note = connection.prepare_cached(
                    "INSERT INTO blobs (digest, bytes, uses, idle_since) VALUES (?1, ?2, 0, ?3) \
                     ON CONFLICT (digest) DO UPDATE SET gone = NULL, idle_since = ?3 WHERE gone IS NOT NULL",
                )?;
                for blob in blobs {
                    note.execute(params![blob.digest.as_bytes(), size(blob), millis(now)])?;
                }
                Ok(())
            })
            .await
    }

    /// Which of these digests nothing is known of.
    pub async fn unknown_blobs(&self, digests: Vec<Digest>) -> Result<Vec<Digest>> {
        self.database
            .read(move |connection| {
                let mut known = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ? AND gone IS NULL)",
                )?;
                let mut unknown = Vec::new();
                for digest in &digests {
                    if !known.query_row([digest.as_bytes()], |row| row.get(0))? {
                        unknown.push(*digest);
                    }
                }
                Ok(unknown)
            })
            .await
    }
}

/// Counts one more use of bytes that were stored in or after `era`.
pub(super) fn claim(
    connection: &Connection,
    blob: Blob,
    BlobEra(era): BlobEra,
) -> error::Result<()> {
    let known: Option<(bool, Option<i64>)> = connection
        .prepare_cached("SELECT doomed, gone FROM blobs WHERE digest = ?")?
        .query_row([blob.digest.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((doomed, gone)) = known
        && (doomed || gone.is_some_and(|gone| gone > era))
    {
        return Err(Error::unavailable(
            "a file with the same content was being removed at this moment; send this one again",
        )
        .into());
    }
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, bytes, uses) VALUES (?, ?, 1) ON CONFLICT (digest) DO UPDATE \
             SET uses = uses + 1, idle_since = NULL, gone = NULL",
        )?
        .execute(params![blob.digest.as_bytes(), size(blob)])?;
    Ok(())
}

/// Takes one use away.
pub(super) fn release(
    connection: &Connection,
    digest: Digest,
    now: Timestamp,
) -> error::Result<()> {
    connection
        .prepare_cached(
            "UPDATE blobs SET uses = uses - 1, idle_since = iif(uses = 1, ?, NULL) WHERE digest = ? AND uses > 0",
        )?
        .execute(params![millis(now), digest.as_bytes()])?;
    Ok(())
}

pub(super) fn era(connection: &Connection) -> error::Result<BlobEra> {
    let mut statement = connection.prepare_cached("SELECT era FROM blob_era")?;
    Ok(BlobEra(statement.query_row([], |row| row.get(0))?))
}

/// Reads a digest that this crate wrote.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    let bytes: Option<[u8; 32]> = row.get(column)?;
    Ok(bytes.map(Digest::from_bytes))
}

fn doom(connection: &Connection, idle_before: Timestamp, limit: u32) -> error::Result<Vec<Digest>> {
    connection
        .prepare_cached(
            "UPDATE blobs SET doomed = 1 WHERE digest IN (SELECT digest FROM blobs \
             WHERE idle_since < ? AND uses = 0 AND gone IS NULL AND NOT doomed ORDER BY idle_since LIMIT ?)",
        )?
        .execute(params![millis(idle_before), limit])?;
    let mut statement =
        connection.prepare_cached("SELECT digest FROM blobs WHERE doomed = 1 LIMIT ?")?;
    let rows = statement.query_map([limit], |row| row.get(0))?;
    Ok(rows
        .map(|bytes| bytes.map(Digest::from_bytes))
        .collect::<Result<_, _>>()?)
}

fn bury(connection: &Connection, digests: &[Digest], now: Timestamp) -> error::Result<()> {
    connection.execute("UPDATE blob_era SET era = era + 1", [])?;
    let mut bury = connection.prepare_cached(
        "UPDATE blobs SET doomed = 0, gone = (SELECT era FROM blob_era), idle_since = NULL, gone_at = ?1 \
         WHERE digest = ?2 AND doomed = 1",
    )?;
    for digest in digests {
        bury.execute(params![millis(now), digest.as_bytes()])?;
    }
    connection.execute(
        "DELETE FROM blobs WHERE gone IS NOT NULL AND gone_at < ?",
        [millis(now) - REMEMBERED_MILLIS],
    )?;
    Ok(())
}

fn size(blob: Blob) -> i64 {
    i64::try_from(blob.bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pilvi_model::Kind;

    use super::*;
    use crate::migrate::migrate;

    fn file() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, Path::new("x"), &super::super::SCHEMA).unwrap();
        connection
    }

    fn blob(number: u8) -> Blob {
        Blob {
            digest: Digest::from_bytes([number; 32]),
            bytes: 10,
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn uses(connection: &Connection, number: u8) -> Option<i64> {
        let sql = "SELECT uses FROM blobs WHERE digest = ? AND gone IS NULL";
        let found = connection.query_row(sql, [[number; 32]], |row| row.get(0));
        found.optional().unwrap()
    }

    #[test]
    fn bytes_in_use_are_never_given_up() {
        let connection = file();
        let begun = era(&connection).unwrap();
        claim(&connection, blob(1), begun).unwrap();
        claim(&connection, blob(1), begun).unwrap();
        release(&connection, blob(1).digest, at(5)).unwrap();
        assert_eq!(uses(&connection, 1), Some(1));
        assert_eq!(doom(&connection, at(100), 10).unwrap(), []);
        release(&connection, blob(1).digest, at(6)).unwrap();
        // Not yet.
        assert_eq!(doom(&connection, at(6), 10).unwrap(), []);
        assert_eq!(doom(&connection, at(7), 10).unwrap(), [blob(1).digest]);
    }

    #[test]
    fn bytes_that_rest_can_be_used_again() {
        let connection = file();
        let begun = era(&connection).unwrap();
        claim(&connection, blob(1), begun).unwrap();
        release(&connection, blob(1).digest, at(5)).unwrap();
        claim(&connection, blob(1), begun).unwrap();
        assert_eq!(doom(&connection, at(100), 10).unwrap(), []);
        assert_eq!(uses(&connection, 1), Some(1));
    }

    #[test]
    fn no_use_is_counted_of_bytes_that_may_be_gone() {
        let connection = file();
        let before = era(&connection).unwrap();
        claim(&connection, blob(1), before).unwrap();
        release(&connection, blob(1).digest, at(5)).unwrap();
        doom(&connection, at(100), 10).unwrap();
        // They are being removed.
        let meanwhile = era(&connection).unwrap();
        let refused = claim(&connection, blob(1), meanwhile).unwrap_err();
        assert_eq!(Error::from(refused).kind, Kind::Unavailable);
        // After a crash they are still to be removed.
        assert_eq!(doom(&connection, at(0), 10).unwrap(), [blob(1).digest]);
        bury(&connection, &[blob(1).digest], at(200)).unwrap();
        assert_eq!(uses(&connection, 1), None);
        // What was stored before they were removed was removed with them.
        for era in [before, meanwhile] {
            assert!(claim(&connection, blob(1), era).is_err());
        }
        let after = era(&connection).unwrap();
        claim(&connection, blob(1), after).unwrap();
        assert_eq!(uses(&connection, 1), Some(1));
        // Others do not mind.
        claim(&connection, blob(2), before).unwrap();
        assert_eq!(doom(&connection, at(300), 10).unwrap(), []);
    }

    #[test]
    fn what_was_written_off_is_forgotten_in_time() {
        let connection = file();
        let begun = era(&connection).unwrap();
        for number in [1, 2] {
            claim(&connection, blob(number), begun).unwrap();
            release(&connection, blob(number).digest, at(u64::from(number))).unwrap();
        }
        assert_eq!(doom(&connection, at(2), 10).unwrap(), [blob(1).digest]);
        bury(&connection, &[blob(1).digest], at(10)).unwrap();
        let late = at(11 + REMEMBERED_MILLIS.unsigned_abs());
        assert_eq!(doom(&connection, at(3), 10).unwrap(), [blob(2).digest]);
        bury(&connection, &[blob(2).digest], late).unwrap();
        let left: i64 = connection
            .query_row("SELECT count(*) FROM blobs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1);
        // Eras go on where they were.
        assert!(claim(&connection, blob(2), begun).is_err());
    }
}
