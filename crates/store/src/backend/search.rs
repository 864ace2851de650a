//! Full-text search: an index of the words of those types that somebody searches.
//!
//! A type gets its index with the first search that names it; what nobody searches costs nothing. The index is a table
//! of FTS5 that holds no text, only where which word is, in a column for each of a type's first properties. It follows
//! the outbox: whoever drives [`Backend::index_some`] has what changed read from there, a little at a time, and how
//! far that got is written down with it, so that it goes on after a crash. What is deleted leaves the index with the
//! object, by a trigger.
//!
//! `pilvi_model::search` says what a search means. The index is a way to find few candidates quickly; where it says
//! exactly what is meant nothing else is asked, and where it cannot, each candidate is shown to the evaluator. Words
//! that begin with a `*` are looked up in a list of all words of the type.
//!
//! `expression` turns a phrase into what FTS5 understands, `index` keeps the index up.

mod expression;
mod index;
#[cfg(test)]
mod tests;

use pilvi_model::query::{Filter, Page, Query, Sort};
use pilvi_model::search::{Search, Searchable};
use pilvi_model::{Asker, Error as DomainError, ObjectType, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde_json::Map;

use super::objects::PAGE_MAX_BYTES;
use super::{Backend, collections, outbox, visible};
use crate::error;
use crate::query::{self, Compiled};
pub use index::{Indexed, KnownWords};

/// Types that one backend may have indexes of.
const INDEXES_MAX: i64 = 32;
/// Columns of an index: the first so many properties of a type have one of their own, all others share the last.
const COLUMNS: usize = 16;
const REST: usize = COLUMNS - 1;
/// The name under which the index's place in the outbox is written down.
const CONSUMER: &str = "search";

pub(super) const STEP: &str = "
    -- The types that somebody searched. `searchable` says which texts are in the index `search_<number>`; `walked` is
    -- the id of the last of the objects that were there before the index, NULL once all of them are in it. `used` is
    -- the hour, since 1970, of the last search.
    CREATE TABLE searched (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        type TEXT NOT NULL UNIQUE,
        searchable TEXT NOT NULL,
        walked TEXT,
        done INTEGER NOT NULL DEFAULT 0,
        used INTEGER NOT NULL DEFAULT (unixepoch() / 3600)
    ) STRICT;
    -- Which column of the index holds the texts of a property.
    CREATE TABLE searched_properties (
        number INTEGER NOT NULL REFERENCES searched (number) ON DELETE CASCADE,
        property TEXT NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (number, property)
    ) STRICT, WITHOUT ROWID;
    ";

/// Whether a search can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Types that have objects and no index, or about whose search something else is said now.
    pub new: Vec<ObjectType>,
    /// Whether it is not yet written down that one of the types is searched in this hour.
    pub is_unnoted: bool,
    /// An index that is still being made, if there is one.
    pub being_made: Option<Making>,
    /// The newest change that is on disk.
    pub newest: u64,
    /// The newest change that is known to be in the index.
    pub indexed: u64,
}

/// An index that is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Making {
    pub object_type: ObjectType,
    /// The objects that were read for it so far.
    pub done: u64,
}

impl Backend {
    /// Looks whether these types can be searched. Fails when the asker may not list one of them.
    pub async fn search_prospect(&self, asker: Asker, types: Vec<ObjectType>) -> Result<Prospect> {
        self.database
            .read(move |connection| prospect(connection, &asker, &types))
            .await
    }

    /// Begins an index for each of these types that has none, and notes that they are searched. At the bound an index
    /// of another type, that nobody described, gives its place: the one that was searched least recently.
    pub async fn begin_indexes(&self, types: Vec<ObjectType>) -> Result<()> {
        self.database
            .write(move |connection| {
                types
                    .iter()
                    .try_for_each(|object_type| index::begin(connection, object_type, &types))
            })
            .await
    }

    /// The texts of the objects that have what is looked for, that pass the query's filter and that the asker may read:
    /// the best first, unless the query says how to sort.
    pub async fn search_objects(
        &self,
        asker: Asker,
        types: Vec<ObjectType>,
        search: Search,
        query: &Query,
    ) -> Result<Vec<String>> {
        let (filter, sort, page) = (query.filter.clone(), query.sort.clone(), query.page);
        self.database
            .read_apart(move |connection| {
                let compiled = query::compile(&filter, &sort);
                let is_filtered = filter != Filter::default();
                let found =
                    Found::new(connection, &asker, &types, &search, &compiled, is_filtered)?;
                let Some(found) = found else {
                    return Ok(Vec::new());
                };
                match sort == Sort::default() {
                    true => found.best(connection, page),
                    false => found.sorted(connection, &compiled, page),
                }
            })
            .await
    }

    /// How many there are of them.
    pub async fn count_found(
        &self,
        asker: Asker,
        types: Vec<ObjectType>,
        search: Search,
        query: &Query,
    ) -> Result<u64> {
        let filter = query.filter.clone();
        self.database
            .read_apart(move |connection| {
                let compiled = query::compile(&filter, &Sort::default());
                let is_filtered = filter != Filter::default();
                let found =
                    Found::new(connection, &asker, &types, &search, &compiled, is_filtered)?;
                found.map_or(Ok(0), |found| found.count(connection))
            })
            .await
    }
}

/// An index, as it is written down.
#[derive(Clone, Debug)]
struct Entry {
    number: i64,
    searchable: Searchable,
    /// `None`: everything is in it.
    walked: Option<String>,
    done: u64,
    /// Whether it was searched in this hour.
    is_noted: bool,
}

fn entry(connection: &Connection, object_type: &ObjectType) -> error::Result<Option<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, searchable, walked, done, used >= unixepoch() / 3600 FROM searched WHERE type = ?",
    )?;
    let found = statement.query_row([object_type.as_str()], |row| {
        let searchable: String = row.get(1)?;
        Ok(Entry {
            number: row.get(0)?,
            // What cannot be read differs from whatever the schema says, and is made anew.
            searchable: Searchable::from_text(&searchable).unwrap_or(Searchable::Nothing),
            walked: row.get(2)?,
            done: row.get(3)?,
            is_noted: row.get(4)?,
        })
    });
    Ok(found.optional()?)
}

/// Which texts of a type are searched now; `None`: nobody used the type yet.
fn searchable(
    connection: &Connection,
    object_type: &ObjectType,
) -> error::Result<Option<Searchable>> {
    let mut statement = connection.prepare_cached("SELECT doc FROM collections WHERE type = ?")?;
    let schema: Option<String> = statement
        .query_row([object_type.as_str()], |row| row.get(0))
        .optional()?;
    let Some(schema) = schema else {
        return Ok(None);
    };
    let schema: Map<String, serde_json::Value> =
        serde_json::from_str(&schema).map_err(DomainError::internal)?;
    Ok(Some(Searchable::of_schema(&schema)))
}

fn has_objects(connection: &Connection, object_type: &ObjectType) -> error::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM objects WHERE type = ?")?;
    Ok(statement.exists([object_type.as_str()])?)
}

fn prospect(
    connection: &Connection,
    asker: &Asker,
    types: &[ObjectType],
) -> error::Result<Prospect> {
    let mut prospect = Prospect {
        new: Vec::new(),
        is_unnoted: false,
        being_made: None,
        newest: outbox::end(connection)?.seq,
        indexed: outbox::consumer(connection, CONSUMER)?.unwrap_or(0),
    };
    for object_type in types {
        Backend::require_list(connection, asker, object_type)?;
        let wanted = searchable(connection, object_type)?.unwrap_or(Searchable::Nothing);
        if wanted == Searchable::Nothing {
            continue;
        }
        match entry(connection, object_type)? {
            Some(entry) if entry.searchable == wanted => {
                prospect.is_unnoted |= !entry.is_noted;
                if entry.walked.is_some() && prospect.being_made.is_none() {
                    prospect.being_made = Some(Making {
                        object_type: object_type.clone(),
                        done: entry.done,
                    });
                }
            }
            None if !has_objects(connection, object_type)? => {}
            _ => prospect.new.push(object_type.clone()),
        }
    }
    Ok(prospect)
}

/// What is found: the candidates of each type, and what else must be true of them.
struct Found {
    candidates: Vec<Candidates>,
    conditions: Vec<String>,
    values: Vec<Value>,
}

/// Those of one type, as the part of a statement behind `SELECT`, from `FROM` on.
struct Candidates {
    /// The number of an object.
    seq: &'static str,
    /// The smaller it is, the better an object fits.
    score: &'static str,
    source: String,
    values: Vec<Value>,
}

impl Candidates {
    fn new(object_type: &ObjectType, number: i64, which: expression::Which) -> Option<Self> {
        let of_type = || Value::from(object_type.as_str().to_owned());
        let index = format!("search_{number}");
        let (source, values) = match which {
            expression::Which::None => return None,
            expression::Which::Matching(expression) => {
                return Some(Self {
                    seq: "rowid",
                    score: "rank",
                    source: format!("{index} WHERE {index} MATCH ?"),
                    values: vec![expression.into()],
                });
            }
            expression::Which::All => ("objects WHERE type = ?".to_owned(), vec![of_type()]),
            expression::Which::AllBut(expression) => (
                format!(
                    "objects WHERE type = ? AND seq NOT IN (SELECT rowid FROM {index} WHERE {index} MATCH ?)"
                ),
                vec![of_type(), expression.into()],
            ),
        };
        Some(Self {
            seq: "seq",
            score: "0.0",
            source,
            values,
        })
    }
}

impl Found {
    /// `None`: nothing can be found.
    fn new(
        connection: &Connection,
        asker: &Asker,
        types: &[ObjectType],
        search: &Search,
        compiled: &Compiled,
        is_filtered: bool,
    ) -> error::Result<Option<Self>> {
        let mut candidates = Vec::new();
        let (mut doubts, mut doubtful) = (Vec::new(), String::new());
        for object_type in types {
            Backend::require_list(connection, asker, object_type)?;
            let Some(entry) = entry(connection, object_type)? else {
                continue;
            };
            let some = expression::candidates(connection, entry.number, search)?;
            let Some(of_type) = Candidates::new(object_type, entry.number, some.which) else {
                continue;
            };
            candidates.push(of_type);
            if !some.is_exact {
                doubtful.push_str(" WHEN ? THEN eds_search(?, ?, doc)");
                doubts.push(Value::from(object_type.as_str().to_owned()));
                doubts.push(search.source().to_string().into());
                doubts.push(entry.searchable.to_text().into());
            }
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        if is_filtered {
            conditions.push(format!("({})", compiled.condition));
            values.extend_from_slice(compiled.condition_values());
        }
        if let Some((condition, mine)) = visible::condition(asker) {
            conditions.push(condition);
            values.extend(mine);
        }
        if !doubts.is_empty() {
            conditions.push(format!("CASE type{doubtful} ELSE 1 END"));
            values.extend(doubts);
        }
        Ok(Some(Self {
            candidates,
            conditions,
            values,
        }))
    }

    /// The candidates of all types, with their scores where these matter.
    fn arms(&self, with_score: bool) -> (String, Vec<Value>) {
        let arms = self.candidates.iter().map(|of_type| {
            let score = match with_score {
                true => format!(", {} AS score", of_type.score),
                false => String::new(),
            };
            format!(
                "SELECT {} AS found{score} FROM {}",
                of_type.seq, of_type.source
            )
        });
        let values = self.candidates.iter().flat_map(|of_type| &of_type.values);
        (
            arms.collect::<Vec<_>>().join(" UNION ALL "),
            values.cloned().collect(),
        )
    }

    /// The page of those that fit best; what fits equally well comes in the order in which it was created. An object
    /// is looked at only when its turn comes: most of a frequent word's are not on the page.
    fn best(self, connection: &Connection, page: Page) -> error::Result<Vec<String>> {
        let (arms, mut values) = self.arms(true);
        let mut sql = format!("SELECT found FROM ({arms}) ORDER BY score, found");
        let mut passed_over = page.offset;
        if self.conditions.is_empty() {
            sql.push_str(" LIMIT ? OFFSET ?");
            values.push(i64::from(page.limit).into());
            values.push(i64::try_from(page.offset).unwrap_or(i64::MAX).into());
            passed_over = 0;
        }
        let mut ranked = connection.prepare_cached(&sql)?;
        let mut ranked = ranked.query(params_from_iter(values))?;
        let conditions: Vec<String> = std::iter::once("seq = ?".to_owned())
            .chain(self.conditions)
            .collect();
        let sql = format!("SELECT doc FROM objects WHERE {}", conditions.join(" AND "));
        let mut look = connection.prepare_cached(&sql)?;
        for (place, value) in self.values.iter().enumerate() {
            look.raw_bind_parameter(place + 2, value)?;
        }
        let mut results = Results::default();
        while results.texts.len() < usize::try_from(page.limit).unwrap_or(usize::MAX)
            && let Some(row) = ranked.next()?
        {
            look.raw_bind_parameter(1, row.get::<_, i64>(0)?)?;
            let mut rows = look.raw_query();
            let Some(row) = rows.next()? else {
                continue;
            };
            if passed_over > 0 {
                passed_over -= 1;
            } else {
                results.add(row.get(0)?)?;
            }
        }
        Ok(results.texts)
    }

    /// The page of those that come first in the order of the query.
    fn sorted(
        self,
        connection: &Connection,
        compiled: &Compiled,
        page: Page,
    ) -> error::Result<Vec<String>> {
        let (source, mut values) = self.source();
        let sql = format!(
            "SELECT listed.doc FROM (SELECT objects.seq AS seq FROM {source} ORDER BY {} LIMIT ? OFFSET ?) AS page \
             CROSS JOIN objects AS listed ON listed.seq = page.seq",
            compiled.order
        );
        values.extend_from_slice(compiled.order_values());
        values.push(i64::from(page.limit).into());
        values.push(i64::try_from(page.offset).unwrap_or(i64::MAX).into());
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut results = Results::default();
        while let Some(row) = rows.next()? {
            results.add(row.get(0)?)?;
        }
        Ok(results.texts)
    }

    fn count(self, connection: &Connection) -> error::Result<u64> {
        let (source, values) = match self.conditions.is_empty() {
            true => {
                let (arms, values) = self.arms(false);
                (format!("({arms})"), values)
            }
            false => self.source(),
        };
        let sql = format!("SELECT count(*) FROM {source}");
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row(params_from_iter(values), |row| row.get(0))?)
    }

    /// The part of a statement behind `FROM`, with the columns of `objects`.
    fn source(self) -> (String, Vec<Value>) {
        let (arms, mut values) = self.arms(false);
        let mut source = format!("({arms}) CROSS JOIN objects ON objects.seq = found");
        if !self.conditions.is_empty() {
            source.push_str(" WHERE ");
            source.push_str(&self.conditions.join(" AND "));
        }
        values.extend(self.values);
        (source, values)
    }
}

/// The texts on a page, which are not too many bytes.
#[derive(Default)]
struct Results {
    texts: Vec<String>,
    bytes: usize,
}

impl Results {
    fn add(&mut self, text: String) -> error::Result<()> {
        self.bytes += text.len();
        if self.bytes > PAGE_MAX_BYTES {
            let message = "this page of results is larger than 32 MiB; ask for fewer with `limit`";
            return Err(DomainError::too_large(message).into());
        }
        self.texts.push(text);
        Ok(())
    }
}

/// In which columns of an index the texts of which properties are.
fn places(connection: &Connection, number: i64) -> error::Result<Vec<(String, usize)>> {
    let mut statement = connection
        .prepare_cached("SELECT property, place FROM searched_properties WHERE number = ?")?;
    let rows = statement.query_map(params![number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
