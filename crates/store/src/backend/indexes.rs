//! Indexes of properties: which there are, and how writes keep them.
//!
//! An index belongs to one property of one type. It is asked for by a schema that says `indexed`, by an administrator,
//! or by a query that was slow. Its rows stand in `index_keys`, a table that all indexes share and that every write of
//! an object keeps in the same transaction. So making an index is no change of the file's tables: it is written down,
//! from then on writes keep it, and what was there before is filled in bit by bit by [`build`], while everybody goes on
//! writing. It is used once it is whole. Going is alike: nobody uses or keeps it from then on, and its rows go bit by
//! bit.

mod build;
pub(crate) mod choose;
mod slow;
#[cfg(test)]
pub(crate) mod tests;

use pilvi_model::query::{Path, Sort};
use pilvi_model::{Error, Object, ObjectId, ObjectType, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::objects::timestamp;
use super::{Backend, collections};
use crate::error::{self, Result};
use crate::query::{self, Indexed};

pub(crate) use build::work;
pub(super) use choose::Purpose;
pub use slow::SlowQuery;
pub(crate) use slow::{Sighting, Wish, make_wished, record};

/// Indexes of one backend, and how many of them may have come by themselves: each costs every write of its type a
/// little.
pub const INDEXES_MAX: u32 = 64;
pub const AUTOMATIC_MAX: u32 = 16;

pub(super) const STEP: &str = "
    -- An index of a property of a type. It is kept by every write as long as it is not leaving, and used when it is
    -- ready. `pass` is the run that fills it; `filled` of `total` rows are done.
    CREATE TABLE indexes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        path TEXT NOT NULL,
        origin TEXT NOT NULL CHECK (origin IN ('schema', 'asked', 'slow')),
        state TEXT NOT NULL CHECK (state IN ('building', 'ready', 'leaving')),
        pass INTEGER,
        filled INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL,
        ready_at TEXT,
        used_at TEXT
    ) STRICT;
    CREATE UNIQUE INDEX indexes_by_path ON indexes (type, path) WHERE state <> 'leaving';

    -- The keys of all indexes. What has no value has the key -9e999, which no JSON value has.
    CREATE TABLE index_keys (
        of_index INTEGER NOT NULL,
        at_key ANY NOT NULL,
        object TEXT NOT NULL,
        at_row INTEGER NOT NULL,
        PRIMARY KEY (of_index, at_key, object)
    ) STRICT, WITHOUT ROWID;
    -- Rows that were written since an index is being filled: what was read of them before does not hold any more.
    CREATE TABLE index_touched (
        of_index INTEGER NOT NULL,
        at_row INTEGER NOT NULL,
        PRIMARY KEY (of_index, at_row)
    ) STRICT, WITHOUT ROWID;

    -- What is known of the indexes is kept as what is known of the schemas is.
    CREATE TRIGGER index_made AFTER INSERT ON indexes
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    CREATE TRIGGER index_changed AFTER UPDATE OF state ON indexes
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    CREATE TRIGGER index_gone AFTER DELETE ON indexes
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    CREATE TRIGGER type_gone AFTER DELETE ON collections
        BEGIN UPDATE indexes SET state = 'leaving' WHERE type = OLD.type AND state <> 'leaving'; END;

    -- Queries that took long, of which each form has one row.
    CREATE TABLE slow_queries (
        type TEXT NOT NULL,
        shape TEXT NOT NULL,
        path TEXT,
        count INTEGER NOT NULL,
        worst_micros INTEGER NOT NULL,
        first_at TEXT NOT NULL,
        last_at TEXT NOT NULL,
        PRIMARY KEY (type, shape)
    ) STRICT, WITHOUT ROWID;
    ";

/// An index as queries and writes of its type know it.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(super) number: i64,
    pub(super) path: Path,
    pub(super) is_ready: bool,
    pub(super) indexed: Indexed,
}

/// The indexes of a type, and how a write finds their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypeIndexes {
    pub(super) all: Vec<Index>,
    /// The keys of a document, in the order of `all`.
    keys_sql: String,
}

impl TypeIndexes {
    pub(super) fn of(connection: &Connection, object_type: &str) -> Result<Self> {
        let mut statement = connection.prepare_cached(
            "SELECT number, path, state FROM indexes WHERE type = ? AND state <> 'leaving' ORDER BY number",
        )?;
        let rows = statement.query_map([object_type], |row| {
            let state: String = row.get(2)?;
            Ok((row.get(0)?, row.get::<_, String>(1)?, state == "ready"))
        })?;
        let mut all = Vec::new();
        for row in rows {
            let (number, path, is_ready) = row?;
            let (path, indexed) = described(&path)?;
            all.push(Index {
                number,
                path,
                is_ready,
                indexed,
            });
        }
        Ok(Self::from_all(all))
    }

    fn from_all(all: Vec<Index>) -> Self {
        let keys: Vec<&str> = all.iter().map(|index| index.indexed.key.as_str()).collect();
        let keys_sql = format!("SELECT {} FROM (SELECT ?1 AS doc)", keys.join(", "));
        Self { all, keys_sql }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn find(&self, path: &Path) -> Option<&Index> {
        self.all.iter().find(|index| index.path == *path)
    }

    fn keys(&self, connection: &Connection, text: &str) -> Result<Vec<Value>> {
        let mut statement = connection.prepare_cached(&self.keys_sql)?;
        let keys = statement.query_row([text], |row| {
            (0..self.all.len())
                .map(|column| row.get(column))
                .collect::<rusqlite::Result<Vec<Value>>>()
        })?;
        Ok(keys.into_iter().map(stored).collect())
    }

    /// Keeps the indexes when an object is created (no `before`), changed or deleted (no `after`).
    pub(super) fn follow(
        &self,
        connection: &Connection,
        seq: i64,
        before: Option<&Object>,
        after: Option<&Object>,
    ) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let Some(id) = after.or(before).map(|object| object.id.to_string()) else {
            return Ok(());
        };
        let keys = |object: Option<&Object>| {
            object
                .map(|object| self.keys(connection, &object.text))
                .transpose()
        };
        let (old, new) = (keys(before)?, keys(after)?);
        for (place, index) in self.all.iter().enumerate() {
            let key =
                |keys: &Option<Vec<Value>>| keys.as_ref().and_then(|keys| keys.get(place).cloned());
            let (old, new) = (key(&old), key(&new));
            if !index.is_ready {
                touch(connection, index.number, seq)?;
            } else if is_same(old.as_ref(), new.as_ref()) {
                continue;
            }
            if let Some(old) = old {
                connection
                    .prepare_cached(
                        "DELETE FROM index_keys WHERE of_index = ? AND at_key = ? AND object = ?",
                    )?
                    .execute(params![index.number, old, id])?;
            }
            if let Some(new) = new {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO index_keys VALUES (?, ?, ?, ?)")?
                    .execute(params![index.number, new, id, seq])?;
            }
        }
        Ok(())
    }
}

fn touch(connection: &Connection, number: i64, seq: i64) -> Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO index_touched VALUES (?, ?)")?
        .execute([number, seq])?;
    Ok(())
}

/// Equal also in kind: 1 and 1.0 are one key to SQLite, but a query may ask which of them it is.
fn is_same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (Some(Value::Real(old)), Some(Value::Real(new))) => old.to_bits() == new.to_bits(),
        (old, new) => old == new,
    }
}

/// A key as an index keeps it.
fn stored(key: Value) -> Value {
    match key {
        Value::Null => Value::Real(f64::NEG_INFINITY),
        key => key,
    }
}

/// Where an index comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOrigin {
    /// The schema says `indexed`.
    Schema,
    /// Somebody wanted it.
    Asked,
    /// A query was slow.
    Slow,
}

impl IndexOrigin {
    const ALL: [Self; 3] = [Self::Schema, Self::Asked, Self::Slow];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Asked => "asked",
            Self::Slow => "slow",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// What was there before it is being filled in; no query uses it yet.
    Building,
    Ready,
    /// Its rows are being deleted.
    Leaving,
}

impl IndexState {
    const ALL: [Self; 3] = [Self::Building, Self::Ready, Self::Leaving];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
        }
    }
}

/// An index as people see it.
#[derive(Clone, Debug)]
pub struct IndexInfo {
    pub id: ObjectId,
    pub object_type: ObjectType,
    pub property: String,
    pub origin: IndexOrigin,
    pub state: IndexState,
    /// Of what was there before it, as far as that is known: how many objects it holds already.
    pub filled: u64,
    pub total: u64,
    pub created_at: Timestamp,
    pub ready_at: Option<Timestamp>,
    /// When a query went along it last, as far as that was written down: about once in an hour.
    pub used_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT id, type, path, origin, state, filled, total, created_at, ready_at, used_at FROM indexes";

fn info(row: &Row<'_>) -> rusqlite::Result<IndexInfo> {
    let text = |column: usize| row.get::<_, String>(column);
    let fault = |column: usize| {
        let fault = format!("`{}` is none", text(column).unwrap_or_default());
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, fault.into())
    };
    let moment = |column: usize| match row.get::<_, Option<String>>(column)? {
        None => Ok(None),
        Some(_) => timestamp(row, column).map(Some),
    };
    let (origin, state) = (text(3)?, text(4)?);
    let origin = IndexOrigin::ALL
        .into_iter()
        .find(|known| known.as_str() == origin);
    let state = IndexState::ALL
        .into_iter()
        .find(|known| known.as_str() == state);
    Ok(IndexInfo {
        id: text(0)?.parse().map_err(|_| fault(0))?,
        object_type: text(1)?.parse().map_err(|_| fault(1))?,
        property: text(2)?,
        origin: origin.ok_or_else(|| fault(3))?,
        state: state.ok_or_else(|| fault(4))?,
        filled: row.get(5)?,
        total: row.get(6)?,
        created_at: timestamp(row, 7)?,
        ready_at: moment(8)?,
        used_at: moment(9)?,
    })
}

impl Backend {
    /// All indexes, also those that are being made or leave, by type and property.
    pub async fn list_indexes(&self) -> pilvi_model::Result<Vec<IndexInfo>> {
        let database = self.database.clone();
        self.database
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached(&format!("{SELECT} ORDER BY type, path, number"))?;
                let rows = statement.query_map([], info)?;
                let all: Vec<IndexInfo> = rows.collect::<rusqlite::Result<_>>()?;
                if all.iter().any(|index| index.state != IndexState::Ready) {
                    database.work_on_indexes();
                }
                Ok(all)
            })
            .await
    }

    pub async fn find_index(&self, id: ObjectId) -> pilvi_model::Result<Option<IndexInfo>> {
        let database = self.database.clone();
        self.database
            .read(move |connection| {
                let found = find(connection, id)?;
                if found
                    .as_ref()
                    .is_some_and(|index| index.state != IndexState::Ready)
                {
                    database.work_on_indexes();
                }
                Ok(found)
            })
            .await
    }

    /// Has an index made, unless there is one. Says whether it is new.
    pub async fn create_index(
        &self,
        object_type: ObjectType,
        property: String,
        now: Timestamp,
    ) -> pilvi_model::Result<(IndexInfo, bool)> {
        let made = self
            .database
            .write(move |connection| {
                make(connection, &object_type, &property, IndexOrigin::Asked, now)
            })
            .await?;
        self.work_on_indexes();
        Ok(made)
    }

    /// Has an index deleted. One that the schema asks for stays: the schema has to change.
    pub async fn remove_index(&self, id: ObjectId) -> pilvi_model::Result<()> {
        self.database
            .write_when_low(move |connection| {
                let missing = || Error::not_found("there is no such index");
                let index = find(connection, id)?.ok_or_else(missing)?;
                match (index.origin, index.state) {
                    (_, IndexState::Leaving) => Err(missing().into()),
                    (IndexOrigin::Schema, _) => Err(Error::conflict(format!(
                        "the schema of {} says that {} is indexed; say `\"indexed\": false` there, and the index goes",
                        index.object_type, index.property
                    ))
                    .into()),
                    _ => leave(connection, id),
                }
            })
            .await?;
        self.work_on_indexes();
        Ok(())
    }

    /// Has what is unfinished among the indexes finished in the background.
    pub(super) fn work_on_indexes(&self) {
        self.database.work_on_indexes();
    }
}

fn find(connection: &Connection, id: ObjectId) -> Result<Option<IndexInfo>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?"))?;
    Ok(statement.query_row([id.to_string()], info).optional()?)
}

fn leave(connection: &Connection, id: ObjectId) -> Result<()> {
    connection
        .prepare_cached("UPDATE indexes SET state = 'leaving', pass = NULL WHERE id = ?")?
        .execute([id.to_string()])?;
    Ok(())
}

/// The path and what an index of it holds; fails for what cannot have an index.
fn described(property: &str) -> Result<(Path, Indexed)> {
    let refuse = |why: &str| Error::bad_request(format!("`{property}` can have no index; {why}"));
    let sort = Sort::from_json(&json!({ "sortBy": property }));
    let sort = sort.map_err(|error| refuse(&error.message))?;
    let key = sort
        .keys()
        .first()
        .ok_or_else(|| refuse("name a property"))?;
    let indexed = query::indexed(&key.path).ok_or_else(|| {
        refuse(
            "its names must be plain ones of letters, digits, _ and -, none of them only a number, and `id` and \
             `objectType` are found without",
        )
    })?;
    Ok((key.path.clone(), indexed))
}

/// Writes an index down; what is left to do is done in the background. Says whether it is new.
fn make(
    connection: &Connection,
    object_type: &ObjectType,
    property: &str,
    origin: IndexOrigin,
    now: Timestamp,
) -> Result<(IndexInfo, bool)> {
    let (path, _) = described(property)?;
    let path = path.to_string();
    if let Some(found) = find_by_path(connection, object_type, &path)? {
        if found.origin == IndexOrigin::Slow && origin != IndexOrigin::Slow {
            connection
                .prepare_cached("UPDATE indexes SET origin = ? WHERE id = ?")?
                .execute(params![origin.as_str(), found.id.to_string()])?;
            let found = IndexInfo { origin, ..found };
            return Ok((found, false));
        }
        return Ok((found, false));
    }
    let count: u32 = connection
        .prepare_cached("SELECT count(*) FROM indexes WHERE state <> 'leaving'")?
        .query_row([], |row| row.get(0))?;
    if count >= INDEXES_MAX {
        let message =
            format!("a backend has at most {INDEXES_MAX} indexes; remove one that is not used");
        return Err(Error::conflict(message).into());
    }
    let (facts_known, _) = super::facts::facts(connection, object_type)?;
    if !facts_known {
        collections::insert_used(connection, object_type, now)?;
    }
    let is_empty: bool = connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM objects WHERE type = ?)")?
        .query_row([object_type.as_str()], |row| row.get(0))?;
    let (state, ready_at) = match is_empty {
        true => (IndexState::Ready, Some(now.to_millis_text())),
        false => (IndexState::Building, None),
    };
    connection
        .prepare_cached(
            "INSERT INTO indexes (id, type, path, origin, state, created_at, ready_at) \
             VALUES (lower(hex(randomblob(12))), ?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            object_type.as_str(),
            path,
            origin.as_str(),
            state.as_str(),
            now.to_millis_text(),
            ready_at,
        ])?;
    let made = find_by_path(connection, object_type, &path)?
        .ok_or_else(|| Error::internal("an index that was made is not there"))?;
    Ok((made, true))
}

fn find_by_path(
    connection: &Connection,
    object_type: &ObjectType,
    path: &str,
) -> Result<Option<IndexInfo>> {
    let sql = format!("{SELECT} WHERE type = ? AND path = ? AND state <> 'leaving'");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_row([object_type.as_str(), path], info);
    Ok(found.optional()?)
}

/// Makes the indexes that a schema asks for, and has those leave that it does not ask for any more. `properties` is the
/// schema's.
pub(super) fn follow_schema(
    connection: &Connection,
    object_type: &ObjectType,
    properties: Option<&serde_json::Value>,
    now: Timestamp,
) -> Result<()> {
    let wanted = wanted(properties);
    let sql = format!("{SELECT} WHERE type = ? AND state <> 'leaving'");
    let all: Vec<IndexInfo> = connection
        .prepare_cached(&sql)?
        .query_map([object_type.as_str()], info)?
        .collect::<rusqlite::Result<_>>()?;
    for index in &all {
        if index.origin == IndexOrigin::Schema && !wanted.contains(&index.property) {
            leave(connection, index.id)?;
        }
    }
    for property in wanted {
        match make(connection, object_type, &property, IndexOrigin::Schema, now) {
            // A schema may ask for more than there can be, and for what has no index; it is no less a schema for it.
            Err(error::Error::Rule(rule)) => tracing::warn!(
                object_type = object_type.as_str(),
                property,
                reason = rule.message,
                "an index that a schema asks for was not made"
            ),
            other => drop(other?),
        }
    }
    Ok(())
}

/// The paths of the properties with `indexed: true` that can be looked up by a key.
fn wanted(properties: Option<&serde_json::Value>) -> Vec<String> {
    let properties = properties.and_then(serde_json::Value::as_array);
    let path = |property: &serde_json::Value| {
        let name = property.get("name")?.as_str()?;
        if property.get("indexed") != Some(&serde_json::Value::Bool(true)) {
            return None;
        }
        match property.get("type").and_then(serde_json::Value::as_str)? {
            "ref" => Some(format!("{name}.id")),
            "string" | "number" | "boolean" | "time" | "objectid" => Some(name.to_owned()),
            _ => None,
        }
    };
    properties.into_iter().flatten().filter_map(path).collect()
}

/// Keeps the indexes of an object's type when it is created, changed or deleted, for whoever has no facts at hand.
pub(super) fn follow(
    connection: &Connection,
    seq: i64,
    before: Option<&Object>,
    after: Option<&Object>,
) -> Result<()> {
    let Some(object) = after.or(before) else {
        return Ok(());
    };
    let (_, facts) = super::facts::facts(connection, &object.object_type)?;
    facts.indexes.follow(connection, seq, before, after)
}
