//! Which bytes a backend cannot do without, for whoever copies it, brings it back, or counts what it takes.

use pilvi_model::{Blob, Digest, ObjectId, Result};
use rusqlite::{Connection, params};

use super::Backend;
use crate::error;

/// The bytes that files and variants are made of.
const USED: &str = "SELECT digest, bytes FROM blobs WHERE uses > 0 AND gone IS NULL";

impl Backend {
    /// At most `limit` of the blobs that something is made of, in the order of their digests, from behind `after`.
    pub async fn page_used_blobs(&self, after: Option<Digest>, limit: u32) -> Result<Vec<Blob>> {
        self.database
            .read(move |connection| {
                let after = after.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec());
                let sql = format!("{USED} AND digest > ? ORDER BY digest LIMIT ?");
                read(connection, &sql, params![after, limit])
            })
            .await
    }

    /// How many bytes are kept for a backend beside its file: of blobs, whether something is made of them or not yet or
    /// no longer, and of uploads that are not whole.
    pub async fn bytes_beside(&self) -> Result<u64> {
        self.database
            .read(|connection| {
                let sum = |sql: &str| {
                    let mut statement = connection.prepare_cached(sql)?;
                    statement.query_row([], |row| row.get::<_, u64>(0))
                };
                let blobs = sum("SELECT coalesce(sum(bytes), 0) FROM blobs WHERE gone IS NULL")?;
                let uploads =
                    sum("SELECT coalesce(sum(received), 0) FROM files WHERE digest IS NULL")?;
                Ok(blobs.saturating_add(uploads))
            })
            .await
    }

    /// Files that are not whole, whoever sends them.
    pub async fn find_unfinished_files(&self, limit: u32) -> Result<Vec<ObjectId>> {
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT id FROM files WHERE digest IS NULL LIMIT ?")?;
                let rows = statement.query_map([limit], |row| row.get::<_, String>(0))?;
                rows.map(|id| Ok(id?.parse()?)).collect()
            })
            .await
    }
}

/// The blobs that something is made of in a copy of a backend's file.
pub(crate) fn used_in(copy: &Connection) -> error::Result<Vec<Blob>> {
    let has_files: bool = copy.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'blobs')",
        [],
        |row| row.get(0),
    )?;
    match has_files {
        true => read(copy, USED, params![]),
        false => Ok(Vec::new()),
    }
}

fn read(
    connection: &Connection,
    sql: &str,
    bounds: &[&dyn rusqlite::ToSql],
) -> error::Result<Vec<Blob>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(bounds, |row| {
        Ok(Blob {
            digest: Digest::from_bytes(row.get(0)?),
            bytes: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
