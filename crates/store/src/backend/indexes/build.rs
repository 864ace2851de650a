//! What is done to indexes in the background: filling new ones, and deleting the rows of those that leave.
//!
//! To fill an index, all keys that it lacks are read in short reads, sorted on the side, and inserted in their order, a
//! few at a time, so that neighbours share a page and a commit. Between reading and inserting an object may be written:
//! whoever writes it brings its key up to date and leaves a mark, and what is marked is not inserted. A run that ends
//! early leaves an index that lacks fewer keys; the next run looks for those that are left.

use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::{described, stored};
use crate::error::{Error, Result};
use crate::indexer::{Hands, now};

/// Objects that one read looks at, and bytes of keys that it may gather.
const READ_ROWS: u32 = 2000;
const READ_BYTES: usize = 4 << 20;
/// How long inserting a few keys may hold up other writes, and how many are tried first and are at most inserted.
const TURN: Duration = Duration::from_millis(2);
const ROWS_FIRST: usize = 100;
const ROWS_MAX: usize = 4000;
const BYTES_MAX: usize = 1 << 20;
/// After each turn, the file is left to others for so many times as long as it took.
const REST: u32 = 2;
/// Rows of a leaving index that are deleted at once.
const DELETE_ROWS: i64 = 1000;

/// Something to be done.
enum Task {
    Fill {
        number: i64,
        object_type: String,
        path: String,
    },
    Delete {
        number: i64,
    },
    /// Marks that nobody needs any more.
    Sweep {
        number: i64,
    },
}

/// Does everything that is to be done about the indexes of a file.
pub(crate) fn work(hands: &Hands<'_>) -> Result<()> {
    while let Some(task) = hands.read(next)? {
        match task {
            Task::Fill {
                number,
                object_type,
                path,
            } => fill(hands, number, &object_type, &path)?,
            Task::Delete { number } => delete(hands, number)?,
            Task::Sweep { number } => in_turns(hands, move |connection| sweep(connection, number))?,
        }
    }
    Ok(())
}

fn next(connection: &Connection) -> Result<Option<Task>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, type, path, state FROM indexes WHERE state <> 'ready' \
         ORDER BY state = 'building', number LIMIT 1",
    )?;
    let task = statement.query_row([], |row| {
        let number = row.get(0)?;
        Ok(match row.get::<_, String>(3)?.as_str() {
            "leaving" => Task::Delete { number },
            _ => Task::Fill {
                number,
                object_type: row.get(1)?,
                path: row.get(2)?,
            },
        })
    });
    if let Some(task) = task.optional()? {
        return Ok(Some(task));
    }
    let mut statement = connection.prepare_cached("SELECT of_index FROM index_touched LIMIT 1")?;
    let number = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(number.map(|number| Task::Sweep { number }))
}

/// A key, the id of its object, and its row.
struct Found {
    key: Value,
    object: String,
    row: i64,
}

impl Found {
    fn bytes(&self) -> usize {
        let key = match &self.key {
            Value::Text(text) => text.len(),
            _ => 8,
        };
        key + self.object.len() + 16
    }
}

fn fill(hands: &Hands<'_>, number: i64, object_type: &str, path: &str) -> Result<()> {
    let started = Instant::now();
    let pass = hands.write(move |connection| begin(connection, number))?;
    let Some(pass) = pass else { return Ok(()) };
    let (_, indexed) = described(path)?;
    let lacking = Lacking::open()?;
    let mut after = String::new();
    let mut total: u64 = 0;
    loop {
        let (object_type, key, begin) =
            (object_type.to_owned(), indexed.key.clone(), after.clone());
        let read = hands
            .read(move |connection| missing(connection, number, (&object_type, &key), &begin))?;
        total += read.found.len() as u64;
        lacking.keep(&read.found)?;
        match read.last {
            Some(last) => after = last,
            None => break,
        }
        hands.rest(read.took)?;
    }
    hands.write(move |connection| progress(connection, (number, pass), 0, total))?;
    let mut filled = 0;
    let mut rows_max = ROWS_FIRST;
    let mut statement = lacking
        .0
        .prepare("SELECT key, object, row FROM lacking ORDER BY key, object")?;
    let mut rows = statement.query([])?;
    loop {
        let (mut batch, mut bytes) = (Vec::with_capacity(rows_max), 0);
        while batch.len() < rows_max
            && bytes < BYTES_MAX
            && let Some(row) = rows.next()?
        {
            let found = Found {
                key: row.get(0)?,
                object: row.get(1)?,
                row: row.get(2)?,
            };
            bytes += found.bytes();
            batch.push(found);
        }
        if batch.is_empty() {
            break;
        }
        filled += batch.len() as u64;
        let inserted = Instant::now();
        let took = hands
            .write(move |connection| insert(connection, (number, pass), &batch, (filled, total)))?;
        let Some(took) = took else { return Ok(()) };
        rows_max = next_size(rows_max, took);
        hands.rest(inserted.elapsed())?;
    }
    let is_done = hands.write(move |connection| end(connection, number, pass))?;
    if is_done {
        tracing::info!(
            object_type,
            property = path,
            objects = total,
            seconds = started.elapsed().as_secs_f32(),
            "an index is ready"
        );
    }
    Ok(())
}

/// So many that they take one turn, if the next ones are as quick as these were.
fn next_size(size: usize, took: Duration) -> usize {
    let took = took.as_micros().max(1);
    let fits = size as u128 * TURN.as_micros() / took;
    let fits = usize::try_from(fits).unwrap_or(ROWS_MAX);
    fits.clamp(size / 2, size * 2)
        .clamp(ROWS_FIRST / 4, ROWS_MAX)
}

/// What an index lacks, outside of the file: in memory, and where that is too little, in a temporary file.
struct Lacking(Connection);

impl Lacking {
    fn open() -> Result<Self> {
        // An empty name is a database that is gone when it is closed, however the process ends.
        let connection = Connection::open("")?;
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4096; \
             CREATE TABLE lacking (key ANY, object TEXT, row INTEGER) STRICT",
        )?;
        Ok(Self(connection))
    }

    fn keep(&self, found: &[Found]) -> Result<()> {
        self.0.execute_batch("BEGIN")?;
        for found in found {
            self.0
                .prepare_cached("INSERT INTO lacking VALUES (?, ?, ?)")?
                .execute(params![found.key, found.object, found.row])?;
        }
        self.0.execute_batch("COMMIT")?;
        Ok(())
    }
}

/// Begins a run, of which only one can go on. `None`: there is nothing to fill any more.
fn begin(connection: &Connection, number: i64) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached(
        "UPDATE indexes SET pass = random() WHERE number = ? AND state = 'building' RETURNING pass",
    )?;
    Ok(statement.query_row([number], |row| row.get(0)).optional()?)
}

fn progress(
    connection: &Connection,
    (number, pass): (i64, i64),
    filled: u64,
    total: u64,
) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE indexes SET filled = ?3, total = ?4 WHERE number = ?1 AND pass = ?2 AND state = 'building'",
        )?
        .execute(params![number, pass, filled, total])?;
    Ok(changed > 0)
}

/// What a read found to be missing.
struct Missing {
    found: Vec<Found>,
    /// The object where the next read goes on; `None`: there are no more.
    last: Option<String>,
    took: Duration,
}

fn missing(
    connection: &Connection,
    number: i64,
    (object_type, key): (&str, &str),
    after: &str,
) -> Result<Missing> {
    let started = Instant::now();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT key, id, seq, EXISTS (SELECT 1 FROM index_keys \
                WHERE of_index = ?1 AND at_key = coalesce(key, -9e999) AND object = id) \
         FROM (SELECT {key} AS key, id, seq FROM objects WHERE type = ?2 AND id > ?3 ORDER BY id LIMIT ?4)"
    ))?;
    let mut rows = statement.query(params![number, object_type, after, READ_ROWS])?;
    let (mut found, mut bytes, mut seen, mut last) = (Vec::new(), 0, 0, None);
    while let Some(row) = rows.next()? {
        let missing = Found {
            key: stored(row.get(0)?),
            object: row.get(1)?,
            row: row.get(2)?,
        };
        (seen, last) = (seen + 1, Some(missing.object.clone()));
        bytes += missing.bytes();
        if !row.get::<_, bool>(3)? {
            found.push(missing);
        }
        if bytes > READ_BYTES {
            break;
        }
    }
    let is_last = seen < READ_ROWS && bytes <= READ_BYTES;
    Ok(Missing {
        found,
        last: last.filter(|_| !is_last),
        took: started.elapsed(),
    })
}

/// Inserts keys, but those of objects that were written meanwhile. `None`: the run is over, the index leaves or belongs
/// to another run.
fn insert(
    connection: &Connection,
    run: (i64, i64),
    batch: &[Found],
    (filled, total): (u64, u64),
) -> Result<Option<Duration>> {
    let started = Instant::now();
    if !progress(connection, run, filled, total)? {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO index_keys SELECT ?1, ?2, ?3, ?4 \
         WHERE NOT EXISTS (SELECT 1 FROM index_touched WHERE of_index = ?1 AND at_row = ?4)",
    )?;
    for Found { key, object, row } in batch {
        statement.execute(params![run.0, key, object, row])?;
    }
    Ok(Some(started.elapsed()))
}

fn end(connection: &Connection, number: i64, pass: i64) -> Result<bool> {
    let now = now().to_millis_text();
    let changed = connection
        .prepare_cached(
            "UPDATE indexes SET state = 'ready', pass = NULL, ready_at = ?3 \
             WHERE number = ?1 AND pass = ?2 AND state = 'building'",
        )?
        .execute(params![number, pass, now])?;
    Ok(changed > 0)
}

fn delete(hands: &Hands<'_>, number: i64) -> Result<()> {
    in_turns(hands, move |connection| {
        let last: Option<(Value, String)> = connection
            .prepare_cached(
                "SELECT at_key, object FROM index_keys WHERE of_index = ? ORDER BY at_key, object LIMIT 1 OFFSET ?",
            )?
            .query_row([number, DELETE_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match &last {
            Some((key, object)) => connection
                .prepare_cached(
                    "DELETE FROM index_keys WHERE of_index = ? AND (at_key, object) <= (?, ?)",
                )?
                .execute(params![number, key, object])?,
            None => connection
                .prepare_cached("DELETE FROM index_keys WHERE of_index = ?")?
                .execute([number])?,
        };
        Ok(last.is_some())
    })?;
    in_turns(hands, move |connection| sweep(connection, number))?;
    hands.write_when_low(move |connection| {
        connection.execute(
            "DELETE FROM indexes WHERE number = ? AND state = 'leaving'",
            [number],
        )?;
        Ok(())
    })
}

/// Deletes some marks of an index that needs none; says whether there are more.
fn sweep(connection: &Connection, number: i64) -> Result<bool> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM index_touched WHERE of_index = ?1 AND at_row IN \
             (SELECT at_row FROM index_touched WHERE of_index = ?1 LIMIT ?2) \
             AND NOT EXISTS (SELECT 1 FROM indexes WHERE number = ?1 AND state = 'building')",
        )?
        .execute([number, DELETE_ROWS])?;
    Ok(i64::try_from(deleted).unwrap_or(DELETE_ROWS) == DELETE_ROWS)
}

/// Has `some` done again and again as long as there is more to do, and leaves the file to others in between.
fn in_turns(
    hands: &Hands<'_>,
    some: impl Fn(&Connection) -> Result<bool> + Clone + Send + 'static,
) -> Result<()> {
    loop {
        let started = Instant::now();
        if !hands.write_when_low(some.clone())? {
            return Ok(());
        }
        hands.rest(started.elapsed())?;
    }
}

impl Hands<'_> {
    /// Leaves the file to others for a while after something took so long.
    fn rest(&self, took: Duration) -> Result<()> {
        match self.pause(took * REST) {
            true => Ok(()),
            false => Err(Error::Stopped),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run that fills, taken one step at a time.
    #[derive(Default)]
    pub(in super::super) struct Run {
        task: Option<(i64, i64, String, String)>,
        missing: Option<Vec<Found>>,
        pub(in super::super) finished: u32,
    }

    impl Run {
        /// Gives up the run there may be, and begins the next.
        pub(in super::super) fn begin(&mut self, connection: &Connection) {
            (self.task, self.missing) = (None, None);
            if let Some(Task::Fill {
                number,
                object_type,
                path,
            }) = next(connection).unwrap()
                && let Some(pass) = begin(connection, number).unwrap()
            {
                self.task = Some((number, pass, object_type, path));
            }
        }

        pub(in super::super) fn read(&mut self, connection: &Connection) {
            if let (Some((number, _, object_type, path)), None) = (&self.task, &self.missing) {
                let key = described(path).unwrap().1.key;
                let read = missing(connection, *number, (object_type, &key), "").unwrap();
                self.missing = Some(read.found);
            }
        }

        pub(in super::super) fn insert(&mut self, connection: &Connection, count: usize) {
            if let (Some((number, pass, ..)), Some(missing)) = (&self.task, &mut self.missing) {
                let some: Vec<Found> = missing.drain(..count.min(missing.len())).collect();
                insert(connection, (*number, *pass), &some, (0, 0)).unwrap();
            }
        }

        pub(in super::super) fn end(&mut self, connection: &Connection) {
            if let (Some((number, pass, ..)), Some(missing)) = (&self.task, &self.missing)
                && missing.is_empty()
            {
                self.finished += u32::from(end(connection, *number, *pass).unwrap());
                (self.task, self.missing) = (None, None);
            }
        }
    }

    #[test]
    fn a_turn_grows_and_shrinks_with_the_time_it_takes() {
        assert_eq!(next_size(100, Duration::from_micros(1000)), 200);
        assert_eq!(next_size(100, Duration::ZERO), 200);
        assert_eq!(next_size(100, Duration::from_millis(20)), 50);
        assert_eq!(next_size(25, Duration::from_secs(1)), 25);
        assert_eq!(next_size(ROWS_MAX, Duration::ZERO), ROWS_MAX);
    }

    #[test]
    fn what_an_index_lacks_comes_sorted() {
        let lacking = Lacking::open().unwrap();
        let found = |key: Value, object: &str| Found {
            key,
            object: object.to_owned(),
            row: 1,
        };
        let some = [
            found(Value::Blob(vec![2]), "a"),
            found(Value::Text("x".to_owned()), "b"),
            found(Value::Real(1.5), "c"),
            found(Value::Integer(1), "d"),
            found(stored(Value::Null), "e"),
        ];
        lacking.keep(&some[..2]).unwrap();
        lacking.keep(&some[2..]).unwrap();
        let mut statement = lacking
            .0
            .prepare("SELECT object FROM lacking ORDER BY key, object")
            .unwrap();
        let sorted = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        let sorted: Vec<String> = sorted.map(Result::unwrap).collect();
        assert_eq!(sorted, ["e", "d", "c", "b", "a"]);
    }
}
