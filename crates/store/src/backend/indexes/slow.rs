//! Queries that took long: which index would have helped, and a record of each form of them.

use std::time::{Duration, Instant};

use pilvi_model::query::{Condition, Direction, Field, Filter, Path, Sort, Test};
use pilvi_model::{ObjectType, Timestamp};
use rusqlite::{Connection, Row, params};

use super::super::objects::timestamp;
use super::choose::{Purpose, choose};
use super::{AUTOMATIC_MAX, Backend, IndexOrigin, TypeIndexes, make};
use crate::backend::{facts, geo};
use crate::error::{self, Result};
use crate::query;

/// A read that took longer is slow. It is some thousand documents looked through.
const SLOW: Duration = Duration::from_millis(10);
/// Types with fewer objects than this are looked through whole; when that takes long, an index is no help.
const OBJECTS_MIN: i64 = 500;
/// Forms of slow queries that a backend remembers.
const SHAPES_MAX: i64 = 64;
const SHAPE_CHARS_MAX: usize = 200;
/// An index that came by itself and was not used for so long goes when there is no room for another, or much longer:
/// at the next occasion.
const UNUSED_DAYS: u64 = 7;
const FORGOTTEN_DAYS: u64 = 30;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// An index that would have helped a slow query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    object_type: ObjectType,
    property: String,
}

#[cfg(test)]
impl Wish {
    pub(super) fn of(object_type: ObjectType, property: &str) -> Self {
        let property = property.to_owned();
        Self {
            object_type,
            property,
        }
    }

    pub(super) fn property(&self) -> &str {
        &self.property
    }
}

/// What was seen of one form of slow queries since it was last written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) object_type: ObjectType,
    pub(crate) shape: String,
    pub(crate) property: Option<String>,
    pub(crate) count: u64,
    pub(crate) worst: Duration,
}

/// A form of queries that were slow.
#[derive(Clone, Debug)]
pub struct SlowQuery {
    pub object_type: ObjectType,
    /// The query without its values.
    pub shape: String,
    pub count: u64,
    pub worst: Duration,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The property of which an index would help, when the slowest had none to go along.
    pub property: Option<String>,
}

impl Backend {
    /// Runs a read of a query, along an index where there is one; when it was slow, that is written down, and an index
    /// is made that helps.
    pub(in crate::backend) async fn read_query<T: Send + 'static>(
        &self,
        object_type: ObjectType,
        (filter, sort): (Filter, Sort),
        purpose: Purpose,
        read: impl Fn(&Connection, &query::Compiled) -> Result<T> + Send + 'static,
    ) -> pilvi_model::Result<T> {
        let database = self.database.clone();
        self.database
            .read(move |connection| {
                let compiled = geo::narrow(connection, &filter, query::compile(&filter, &sort))?;
                if filter == Filter::default() && sort == Sort::default() {
                    return read(connection, &compiled);
                }
                let (_, facts) = facts::facts(connection, &object_type)?;
                let indexes = &facts.indexes;
                let compiled = choose(connection, indexes, (&filter, &sort), compiled, purpose)?;
                if indexes.all.iter().any(|index| !index.is_ready) {
                    database.work_on_indexes();
                }
                if let Some(index) = compiled.index_used() {
                    database.note_index_use(index);
                }
                let started = Instant::now();
                let answer = read(connection, &compiled);
                let took = started.elapsed();
                if took > SLOW {
                    // When the writer has too much to do already, the next slow query asks again.
                    if let Some(wish) = geo::wish(connection, &filter)? {
                        database.write_sometime(move |connection| geo::make(connection, &wish));
                    }
                    let wish = wish(connection, indexes, &object_type, (&filter, &sort))?;
                    database.note_slow_query(
                        Sighting {
                            object_type: object_type.clone(),
                            shape: shape(&filter, &sort),
                            property: wish.as_ref().map(|wish| wish.property.clone()),
                            count: 1,
                            worst: took,
                        },
                        wish,
                    );
                }
                answer
            })
            .await
    }

    /// The forms of slow queries, those that cost most first.
    pub async fn list_slow_queries(&self) -> pilvi_model::Result<Vec<SlowQuery>> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT type, shape, path, count, worst_micros, first_at, last_at FROM slow_queries \
                     ORDER BY count * worst_micros DESC, type, shape",
                )?;
                let rows = statement.query_map([], slow_query)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Forgets what was slow so far.
    pub async fn forget_slow_queries(&self) -> pilvi_model::Result<()> {
        self.database
            .write_when_low(|connection| {
                connection.execute("DELETE FROM slow_queries", [])?;
                Ok(())
            })
            .await
    }
}

fn slow_query(row: &Row<'_>) -> rusqlite::Result<SlowQuery> {
    let name: String = row.get(0)?;
    let object_type = name.parse().map_err(|_| {
        let fault = format!("`{name}` is no type");
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, fault.into())
    })?;
    Ok(SlowQuery {
        object_type,
        shape: row.get(1)?,
        property: row.get(2)?,
        count: row.get(3)?,
        worst: Duration::from_micros(row.get(4)?),
        first_at: timestamp(row, 5)?,
        last_at: timestamp(row, 6)?,
    })
}

/// The first index that the query could use and that is not there.
pub(super) fn wish(
    connection: &Connection,
    indexes: &TypeIndexes,
    object_type: &ObjectType,
    (filter, sort): (&Filter, &Sort),
) -> Result<Option<Wish>> {
    let mut paths = query::paths_to_index(filter, sort).into_iter();
    let Some(path) = paths.find(|path| indexes.find(path).is_none()) else {
        return Ok(None);
    };
    let is_small: bool = connection
        .prepare_cached(
            "SELECT count(*) < ?2 FROM (SELECT 1 FROM objects WHERE type = ?1 LIMIT ?2)",
        )?
        .query_row(params![object_type.as_str(), OBJECTS_MIN], |row| row.get(0))?;
    Ok((!is_small).then(|| Wish {
        object_type: object_type.clone(),
        property: path.to_string(),
    }))
}

/// Makes the index that a slow query wished for, if there is room.
pub(crate) fn make_wished(connection: &Connection, wish: &Wish, now: Timestamp) -> Result<()> {
    expire(connection, now, FORGOTTEN_DAYS, i64::MAX)?;
    let automatic = "SELECT count(*) FROM indexes WHERE origin = 'slow' AND state <> 'leaving'";
    let automatic = |connection: &Connection| -> Result<u32> {
        Ok(connection
            .prepare_cached(automatic)?
            .query_row([], |row| row.get(0))?)
    };
    if automatic(connection)? >= AUTOMATIC_MAX {
        expire(connection, now, UNUSED_DAYS, 1)?;
        if automatic(connection)? >= AUTOMATIC_MAX {
            return Ok(());
        }
    }
    match make(
        connection,
        &wish.object_type,
        &wish.property,
        IndexOrigin::Slow,
        now,
    ) {
        Ok((index, true)) => {
            tracing::info!(
                object_type = index.object_type.as_str(),
                property = index.property,
                "an index is made for a query that was slow"
            );
            Ok(())
        }
        Ok((_, false)) | Err(error::Error::Rule(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Has up to `limit` indexes leave that came by themselves and were not used for so many days, the longest unused
/// first.
fn expire(connection: &Connection, now: Timestamp, days: u64, limit: i64) -> Result<()> {
    let before = Timestamp::from_millis(now.as_millis().saturating_sub(days * DAY_MILLIS));
    connection
        .prepare_cached(
            "UPDATE indexes SET state = 'leaving', pass = NULL WHERE number IN \
             (SELECT number FROM indexes WHERE origin = 'slow' AND state = 'ready' \
              AND coalesce(used_at, ready_at, created_at) < ?1 \
              ORDER BY coalesce(used_at, ready_at, created_at) LIMIT ?2)",
        )?
        .execute(params![before.to_millis_text(), limit])?;
    Ok(())
}

/// Writes sightings down. Where there are too many forms, those seen longest ago are forgotten.
pub(crate) fn record(connection: &Connection, sighting: &Sighting, now: Timestamp) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO slow_queries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
             ON CONFLICT (type, shape) DO UPDATE SET path = excluded.path, count = count + excluded.count, \
                 worst_micros = max(worst_micros, excluded.worst_micros), last_at = excluded.last_at",
        )?
        .execute(params![
            sighting.object_type.as_str(),
            sighting.shape,
            sighting.property,
            sighting.count,
            u64::try_from(sighting.worst.as_micros()).unwrap_or(u64::MAX / 2),
            now.to_millis_text(),
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM slow_queries WHERE (type, shape) IN \
             (SELECT type, shape FROM slow_queries ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
        )?
        .execute([SHAPES_MAX])?;
    Ok(())
}

/// A query without its values, for people: `done = … and count > …, by count desc`.
pub(super) fn shape(filter: &Filter, sort: &Sort) -> String {
    let mut text = alone(filter.condition());
    let keys = sort.keys().iter().map(|key| match key.direction {
        Direction::Ascending => key.path.to_string(),
        Direction::Descending => format!("{} desc", key.path),
    });
    let keys: Vec<String> = keys.collect();
    if !keys.is_empty() {
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{comma}by {}", keys.join(", ")));
    }
    match text.char_indices().nth(SHAPE_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A condition that nothing is beside.
fn alone(condition: &Condition) -> String {
    match condition {
        Condition::All(conditions) | Condition::Any(conditions) if conditions.len() == 1 => {
            alone(&conditions[0])
        }
        Condition::All(conditions) => joined(conditions, " and "),
        Condition::Any(conditions) => joined(conditions, " or "),
        Condition::Not(condition) => format!("not ({})", alone(condition)),
        Condition::Field(Field { path, test, .. }) => of_test(path, test),
    }
}

fn joined(conditions: &[Condition], word: &str) -> String {
    let part = |condition: &Condition| match condition {
        Condition::All(conditions) | Condition::Any(conditions) if conditions.len() > 1 => {
            format!("({})", alone(condition))
        }
        _ => alone(condition),
    };
    let mut parts: Vec<String> = conditions.iter().map(part).collect();
    parts.retain(|part| !part.is_empty());
    parts.dedup();
    parts.join(word)
}

fn of_test(path: &Path, test: &Test) -> String {
    use pilvi_model::query::Comparison;
    let operator = match test {
        Test::OneOf(values) if values.len() == 1 => "=",
        Test::OneOf(_) => "in",
        Test::Compare(Comparison::Less, _) => "<",
        Test::Compare(Comparison::LessOrEqual, _) => "<=",
        Test::Compare(Comparison::Greater, _) => ">",
        Test::Compare(Comparison::GreaterOrEqual, _) => ">=",
        Test::Exists => return format!("{path} exists"),
        Test::Size(_) => "size",
        Test::Remainder { .. } => "mod",
        Test::Matches(_) => "regex",
        Test::Near(_) => "near",
        Test::Within(_) => "within",
        Test::Element(_) | Test::ElementPasses(_) => "elemMatch",
        Test::All(tests) => {
            let parts: Vec<String> = tests.iter().map(|test| of_test(path, test)).collect();
            return parts.join(" and ");
        }
        Test::Not(test) => return format!("not ({})", of_test(path, test)),
    };
    format!("{path} {operator} …")
}
