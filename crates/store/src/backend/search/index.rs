//! Keeping the index of words up.
//!
//! One call of [`Backend::index_some`] takes a little of what is to be done: rows of the outbox behind the last ones
//! that were taken, and objects that were there before their type's index was begun. Reading objects and splitting
//! their texts happens beside the writer; the writer gets rows that are ready, for a few milliseconds. What is read
//! of an object is what it is now and not what a row of the outbox says it once was, so doing things twice does no
//! harm.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_model::search::Searchable;
use pilvi_model::{Error as DomainError, ObjectType, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{
    Backend, COLUMNS, CONSUMER, Entry, INDEXES_MAX, REST, collections, entry, has_objects, outbox,
    places, searchable,
};
use crate::error;

/// Rows of the outbox, and objects, that one call takes at most.
const ROWS_MAX: usize = 256;
const OBJECTS_MAX: usize = 128;
/// Bytes of documents that one call takes, and one object more: the writer is busy with it for some milliseconds.
const BYTES_MAX: usize = 192 << 10;
/// So many times as much of the objects that were there before: fewer and larger steps are less work.
const WALK: usize = 2;
/// With so many rows of the outbox that concern no index, how far it got is written down all the same.
const SILENT_MAX: u64 = 4096;
/// Words that are remembered of all indexes of a backend: some megabytes of memory.
const KNOWN_MAX: usize = 65_536;
/// Stands between two texts of a property, so that no phrase goes from one to the next. It is in no word.
const BETWEEN_TEXTS: &str = " \u{e000} ";

/// How far the index is after some was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// The row of the outbox up to which it is.
    pub upto: u64,
    /// Whether nothing was left to do.
    pub is_done: bool,
}

impl Backend {
    /// Brings the index a little further. `known` is how far an earlier call said it was, 0 at first, and `words` what
    /// that call remembered, nothing at first; whoever calls this for a backend does so alone.
    pub async fn index_some(&self, known: u64, words: &KnownWords) -> Result<Indexed> {
        let remembered = words.clone();
        let gathered = self
            .database
            .read_apart(move |connection| Batch::gather(connection, known, &mut remembered.lock()))
            .await?;
        let (indexed, mut batch) = match gathered {
            (indexed, None) => return Ok(indexed),
            (indexed, Some(batch)) => (indexed, batch),
        };
        let put = self
            .database
            .write(move |connection| Ok(batch.put(connection)?.map(|now| (now, batch.words))))
            .await;
        match put {
            Ok(Some((now, new))) => {
                words.lock().add(now, new);
                Ok(indexed)
            }
            Ok(None) => {
                words.clear();
                Ok(Indexed {
                    upto: known,
                    is_done: false,
                })
            }
            Err(error) => {
                words.clear();
                Err(error)
            }
        }
    }
}

/// Words that the lists of a backend's indexes are known to have, so that only new ones are written into them: most
/// words of a text are frequent ones.
#[derive(Clone, Debug, Default)]
pub struct KnownWords(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// How the indexes stood when this was so.
    mark: Option<Mark>,
    /// By the number of an index.
    words: HashMap<i64, HashSet<Box<str>>>,
    count: usize,
}

impl KnownWords {
    /// Forgets them, which gives back their memory.
    pub fn clear(&self) {
        *self.lock() = Known::default();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has(&self, number: i64, word: &str) -> bool {
        self.words
            .get(&number)
            .is_some_and(|words| words.contains(word))
    }

    /// Notes that the lists have these, too, and how the indexes stand now.
    fn add(&mut self, now: Mark, new: BTreeSet<(i64, String)>) {
        self.mark = Some(now);
        if self.count + new.len() > KNOWN_MAX {
            // The frequent ones soon come again.
            self.words.clear();
            self.count = 0;
        }
        for (number, word) in new.into_iter().take(KNOWN_MAX) {
            let is_new = self.words.entry(number).or_default().insert(word.into());
            self.count += usize::from(is_new);
        }
    }
}

/// How the indexes of a backend stand. It is another one after each step, and in a file that came in place of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    taken: Option<u64>,
    indexes: i64,
    newest: Option<i64>,
    done: i64,
}

impl Mark {
    fn of(connection: &Connection) -> error::Result<Self> {
        let taken = outbox::consumer(connection, CONSUMER)?;
        let mut statement = connection
            .prepare_cached("SELECT count(*), max(number), ifnull(sum(done), 0) FROM searched")?;
        Ok(statement.query_row([], |row| {
            Ok(Self {
                taken,
                indexes: row.get(0)?,
                newest: row.get(1)?,
                done: row.get(2)?,
            })
        })?)
    }
}

/// Begins an index of a type, in place of the one there is. What the type's schema says is searched. None of `together`
/// gives its place.
pub(super) fn begin(
    connection: &Connection,
    object_type: &ObjectType,
    together: &[ObjectType],
) -> error::Result<()> {
    let wanted = searchable(connection, object_type)?.unwrap_or(Searchable::Nothing);
    if let Some(before) = entry(connection, object_type)? {
        // Somebody else came first.
        if before.searchable == wanted {
            connection
                .prepare_cached("UPDATE searched SET used = unixepoch() / 3600 WHERE number = ?")?
                .execute([before.number])?;
            return Ok(());
        }
        discard(connection, object_type, before.number)?;
    }
    if wanted == Searchable::Nothing || !has_objects(connection, object_type)? {
        return Ok(());
    }
    let held: i64 = connection.query_row("SELECT count(*) FROM searched", [], |row| row.get(0))?;
    if held >= INDEXES_MAX && !make_room(connection, together)? {
        return Err(DomainError::conflict(format!(
            "this backend searches {INDEXES_MAX} object types already, which is the most; set `settings.search` of one \
             that need not be searched to \"none\""
        ))
        .into());
    }
    if outbox::consumer(connection, CONSUMER)?.is_none() {
        outbox::set_consumer(connection, CONSUMER, outbox::end(connection)?.seq)?;
    }
    connection
        .prepare_cached("INSERT INTO searched (type, searchable, walked) VALUES (?, ?, '')")?
        .execute([object_type.as_str(), &wanted.to_text()])?;
    make(connection, object_type, connection.last_insert_rowid())?;
    tracing::info!(%object_type, "began an index of words for a search");
    Ok(())
}

/// Takes away the index that was searched least recently, of those that are not of `together` and of types that nobody
/// described: whoever may create objects can have any number of such types. `false`: there is none.
fn make_room(connection: &Connection, together: &[ObjectType]) -> error::Result<bool> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT number, type FROM searched WHERE NOT EXISTS \
             (SELECT 1 FROM collections WHERE collections.type = searched.type AND {}) \
         ORDER BY used, number",
        collections::DESCRIBED
    ))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
    for (number, object_type) in rows {
        let object_type: ObjectType = object_type.parse()?;
        if !together.contains(&object_type) {
            discard(connection, &object_type, number)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The tables of an index. A type's name is letters, digits, `_` and `.`.
fn make(connection: &Connection, object_type: &ObjectType, number: i64) -> error::Result<()> {
    let columns: Vec<String> = (0..COLUMNS).map(|place| format!("p{place}")).collect();
    connection.execute_batch(&format!(
        "CREATE VIRTUAL TABLE search_{number} USING fts5 \
             ({}, content = '', contentless_delete = 1, tokenize = 'ascii');
         CREATE TABLE search_words_{number} (word TEXT PRIMARY KEY, reversed TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE INDEX search_words_ends_{number} ON search_words_{number} (reversed);
         CREATE TRIGGER search_gone_{number} AFTER DELETE ON objects WHEN old.type = '{object_type}'
             BEGIN DELETE FROM search_{number} WHERE rowid = old.seq; END;",
        columns.join(", ")
    ))?;
    Ok(())
}

/// Takes an index away.
fn discard(connection: &Connection, object_type: &ObjectType, number: i64) -> error::Result<()> {
    connection.execute_batch(&format!(
        "DROP TRIGGER IF EXISTS search_gone_{number};
         DROP TABLE IF EXISTS search_{number};
         DROP TABLE IF EXISTS search_words_{number};
         DELETE FROM searched_properties WHERE number = {number};
         DELETE FROM searched WHERE number = {number};"
    ))?;
    let left: i64 = connection.query_row("SELECT count(*) FROM searched", [], |row| row.get(0))?;
    if left == 0 {
        outbox::forget_consumer(connection, CONSUMER)?;
    }
    tracing::info!(%object_type, "discarded an index of words");
    Ok(())
}

/// What one call writes.
#[derive(Debug, Default)]
struct Batch {
    /// How the indexes stood when it was collected.
    mark: Mark,
    /// Types whose index is no longer what their schema says.
    outdated: Vec<ObjectType>,
    objects: Vec<Words>,
    /// Words that the lists may not have, with the number of the index.
    words: BTreeSet<(i64, String)>,
    walks: Vec<Walk>,
    /// How far the outbox was taken.
    upto: Option<u64>,
    bytes: usize,
}

/// The words of an object.
#[derive(Debug)]
struct Words {
    number: i64,
    seq: i64,
    id: String,
    /// The texts of each property, put so that the index splits them where they were split.
    properties: Vec<(String, String)>,
}

/// How far the objects were taken that were there before.
#[derive(Debug)]
struct Walk {
    number: i64,
    /// `None`: all were.
    last: Option<String>,
    objects: usize,
}

impl Batch {
    /// Collects what is to be done next, and says how far the index is once it is.
    fn gather(
        connection: &Connection,
        known: u64,
        words: &mut Known,
    ) -> error::Result<(Indexed, Option<Self>)> {
        let newest = outbox::end(connection)?.seq;
        let entries = entries(connection)?;
        let Some(written) = outbox::consumer(connection, CONSUMER)? else {
            let nothing = Indexed {
                upto: newest,
                is_done: true,
            };
            return Ok((nothing, None));
        };
        let mut batch = Self {
            mark: Mark::of(connection)?,
            ..Self::default()
        };
        if words.mark != Some(batch.mark) {
            *words = Known::default();
        }
        for (object_type, entry) in &entries {
            let now = searchable(connection, object_type)?.unwrap_or(Searchable::Nothing);
            if now != entry.searchable {
                batch.outdated.push(object_type.clone());
            }
        }
        if !batch.outdated.is_empty() {
            let again = Indexed {
                upto: written,
                is_done: false,
            };
            return Ok((again, Some(batch)));
        }
        // A file that was put back from a copy may have an outbox that is shorter.
        let known = if known <= newest { known } else { 0 };
        let from = written.max(known).min(newest);
        if is_lost(connection, from)? {
            return Ok((
                Indexed {
                    upto: newest,
                    is_done: false,
                },
                Some(anew(batch.mark, &entries, newest)),
            ));
        }
        let upto = batch.follow(connection, &entries, from, words)?;
        let mut is_done = upto == newest;
        for (object_type, entry) in &entries {
            if let Some(walked) = &entry.walked {
                is_done = false;
                batch.walk(connection, object_type, entry, walked, words)?;
            }
        }
        let is_silent = batch.objects.is_empty() && batch.walks.is_empty();
        batch.upto = Some(upto);
        let has_to = !is_silent || upto.saturating_sub(written) > SILENT_MAX;
        Ok((Indexed { upto, is_done }, has_to.then_some(batch)))
    }

    /// Takes rows of the outbox, and says up to which.
    fn follow(
        &mut self,
        connection: &Connection,
        entries: &HashMap<ObjectType, Entry>,
        from: u64,
        known: &Known,
    ) -> error::Result<u64> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, type, object FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
        )?;
        let mut rows = statement.query(params![from, ROWS_MAX])?;
        let (mut upto, mut taken) = (from, HashSet::new());
        while let Some(row) = rows.next()? {
            if self.is_full(1) {
                break;
            }
            upto = row.get(0)?;
            let (object_type, id): (String, String) = (row.get(1)?, row.get(2)?);
            let Ok(object_type) = object_type.parse::<ObjectType>() else {
                continue;
            };
            let Some(entry) = entries.get(&object_type) else {
                continue;
            };
            if taken.insert((entry.number, id.clone())) {
                self.take(connection, &object_type, entry, &id, known)?;
            }
        }
        Ok(upto)
    }

    /// Takes objects that were there before, in order of their ids.
    fn walk(
        &mut self,
        connection: &Connection,
        object_type: &ObjectType,
        entry: &Entry,
        walked: &str,
        known: &Known,
    ) -> error::Result<()> {
        if self.is_full(WALK) {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(
            "SELECT seq, id, doc FROM objects WHERE type = ? AND id > ? ORDER BY id",
        )?;
        let mut rows = statement.query(params![object_type.as_str(), walked])?;
        let mut walk = Walk {
            number: entry.number,
            last: None,
            objects: 0,
        };
        let mut last = None;
        while let Some(row) = rows.next()? {
            if self.is_full(WALK) {
                walk.last = last;
                break;
            }
            let id: String = row.get(1)?;
            let document = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            self.add(entry, row.get(0)?, &id, document, known)?;
            last = Some(id);
            walk.objects += 1;
        }
        self.walks.push(walk);
        Ok(())
    }

    fn take(
        &mut self,
        connection: &Connection,
        object_type: &ObjectType,
        entry: &Entry,
        id: &str,
        known: &Known,
    ) -> error::Result<()> {
        let mut statement =
            connection.prepare_cached("SELECT seq, doc FROM objects WHERE type = ? AND id = ?")?;
        let found: Option<(i64, String)> = statement
            .query_row([object_type.as_str(), id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        // What is gone left the index when it went.
        match found {
            Some((seq, document)) => self.add(entry, seq, id, &document, known),
            None => Ok(()),
        }
    }

    fn add(
        &mut self,
        entry: &Entry,
        seq: i64,
        id: &str,
        document: &str,
        known: &Known,
    ) -> error::Result<()> {
        self.bytes += document.len();
        let document = serde_json::from_str(document).map_err(DomainError::internal)?;
        let mut properties: Vec<(String, String)> = Vec::new();
        entry.searchable.visit(&document, |text| {
            let name = text.path[0];
            let joined = text.words.join(" ");
            match properties.last_mut() {
                Some((last, texts)) if last == name => {
                    texts.push_str(BETWEEN_TEXTS);
                    texts.push_str(&joined);
                }
                _ => properties.push((name.to_owned(), joined)),
            }
            let new = text
                .words
                .iter()
                .filter(|word| !known.has(entry.number, word));
            self.words
                .extend(new.map(|word| (entry.number, word.clone())));
        });
        self.objects.push(Words {
            number: entry.number,
            seq,
            id: id.to_owned(),
            properties,
        });
        Ok(())
    }

    fn is_full(&self, times: usize) -> bool {
        self.objects.len() >= OBJECTS_MAX * times || self.bytes >= BYTES_MAX * times
    }

    /// Writes it down, and gives how the indexes stand then; `None`: they stand otherwise than when this was collected.
    fn put(&mut self, connection: &Connection) -> error::Result<Option<Mark>> {
        if Mark::of(connection)? != self.mark {
            return Ok(None);
        }
        for object_type in &self.outdated {
            begin(connection, object_type, &self.outdated)?;
        }
        // FTS5 collects rows in memory as long as their numbers ascend.
        self.objects
            .sort_unstable_by_key(|object| (object.number, object.seq));
        let mut known: HashMap<i64, Vec<(String, usize)>> = HashMap::new();
        for object in &self.objects {
            let places = match known.entry(object.number) {
                std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(places(connection, object.number)?)
                }
            };
            object.put(connection, places)?;
        }
        for (number, word) in &self.words {
            let sql = format!("INSERT OR IGNORE INTO search_words_{number} VALUES (?, ?)");
            let reversed: String = word.chars().rev().collect();
            connection
                .prepare_cached(&sql)?
                .execute([word.as_str(), &reversed])?;
        }
        for walk in &self.walks {
            connection
                .prepare_cached("UPDATE searched SET walked = ?, done = done + ? WHERE number = ?")?
                .execute(params![walk.last, walk.objects, walk.number])?;
        }
        if let Some(upto) = self.upto {
            outbox::set_consumer(connection, CONSUMER, upto)?;
        }
        Mark::of(connection).map(Some)
    }
}

/// Reads all objects anew, because rows of the outbox are gone that were not taken.
fn anew(mark: Mark, entries: &HashMap<ObjectType, Entry>, newest: u64) -> Batch {
    let walks = entries.values().map(|entry| Walk {
        number: entry.number,
        last: Some(String::new()),
        objects: 0,
    });
    tracing::info!(
        "the outbox no longer reaches back to where the index of words is; reading all objects anew"
    );
    Batch {
        mark,
        walks: walks.collect(),
        upto: Some(newest),
        ..Batch::default()
    }
}

/// Whether rows of the outbox behind this one are gone.
fn is_lost(connection: &Connection, from: u64) -> error::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT min(seq) FROM outbox")?;
    let oldest: Option<u64> = statement.query_row([], |row| row.get(0))?;
    Ok(match oldest {
        Some(oldest) => oldest > from + 1,
        None => outbox::end(connection)?.seq > from,
    })
}

fn entries(connection: &Connection) -> error::Result<HashMap<ObjectType, Entry>> {
    let mut statement = connection.prepare_cached("SELECT type FROM searched")?;
    let types = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut entries = HashMap::new();
    for object_type in types {
        let object_type: ObjectType = object_type?.parse()?;
        if let Some(entry) = entry(connection, &object_type)? {
            entries.insert(object_type, entry);
        }
    }
    Ok(entries)
}

impl Words {
    /// Puts them into the index in place of what the object had before, unless the object is gone by now.
    fn put(&self, connection: &Connection, places: &mut Vec<(String, usize)>) -> error::Result<()> {
        let there = connection
            .prepare_cached(
                "SELECT 1 FROM objects JOIN searched USING (type) WHERE seq = ? AND id = ? AND number = ?",
            )?
            .exists(params![self.seq, self.id, self.number])?;
        if !there {
            return Ok(());
        }
        let mut columns: Vec<Value> = vec![Value::Null; COLUMNS];
        for (property, texts) in &self.properties {
            let place = self.place_of(connection, places, property)?;
            match &mut columns[place] {
                Value::Text(shared) => {
                    shared.push_str(BETWEEN_TEXTS);
                    shared.push_str(texts);
                }
                column => *column = Value::Text(texts.clone()),
            }
        }
        // Rows of values, not of a query: for that SQLite would begin a transaction within, and FTS5 would write down
        // what it has collected so far for each row.
        let marks = vec!["?"; COLUMNS + 1].join(", ");
        let names: Vec<String> = (0..COLUMNS).map(|place| format!("p{place}")).collect();
        let sql = format!(
            "INSERT OR REPLACE INTO search_{} (rowid, {}) VALUES ({marks})",
            self.number,
            names.join(", ")
        );
        let values = std::iter::once(Value::from(self.seq)).chain(columns);
        connection
            .prepare_cached(&sql)?
            .execute(params_from_iter(values))?;
        Ok(())
    }

    /// The column for a property, which is given away with the first text that has it.
    fn place_of(
        &self,
        connection: &Connection,
        places: &mut Vec<(String, usize)>,
        property: &str,
    ) -> error::Result<usize> {
        if let Some((_, place)) = places.iter().find(|(name, _)| name == property) {
            return Ok(*place);
        }
        let place = places.len();
        if place >= REST {
            return Ok(REST);
        }
        connection
            .prepare_cached(
                "INSERT INTO searched_properties (number, property, place) VALUES (?, ?, ?)",
            )?
            .execute(params![self.number, property, place])?;
        places.push((property.to_owned(), place));
        Ok(place)
    }
}
