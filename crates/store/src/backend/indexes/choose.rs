//! Which index a query goes along.
//!
//! SQLite chooses by what it knows of an index as a whole, and not by the values that are asked for. Here those are
//! looked at: how far a stretch goes is counted on the index itself, and no further than it matters.

use pilvi_model::query::{Filter, Sort};
use rusqlite::{Connection, params_from_iter};

use super::{Index, TypeIndexes};
use crate::error::Result;
use crate::query::{self, Compiled, Lookup, Way};

/// What a query is carried out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Page,
    Count,
}

/// However few objects there are, so many are few.
const FEW_AT_LEAST: i64 = 200;
/// Alternatives that are looked up one by one.
const ALTERNATIVES_MAX: usize = 32;

/// A stretch of an index that all results are on.
struct Candidate<'a> {
    index: &'a Index,
    lookup: Lookup,
    /// Whether the index holds arrays, whose elements it does not know.
    arrays: bool,
    /// Whether the stretch comes in the order of the list.
    in_order: bool,
    sorts: bool,
}

/// Has the query go along an index where that is shorter.
pub(crate) fn choose(
    connection: &Connection,
    indexes: &TypeIndexes,
    (filter, sort): (&Filter, &Sort),
    compiled: Compiled,
    purpose: Purpose,
) -> Result<Compiled> {
    if indexes.is_empty() || compiled.names_rows() || sort.nearest().is_some() {
        return Ok(compiled);
    }
    let lookups = query::lookups(filter);
    if lookups.iter().any(|lookup| lookup.path.to_string() == "id") {
        return Ok(compiled);
    }
    let first = sort.keys().first();
    let sorting = first.and_then(|key| ready(indexes, &key.path));
    let mut candidates = Vec::new();
    for lookup in lookups {
        let Some(index) = ready(indexes, &lookup.path) else {
            continue;
        };
        let arrays = holds_arrays(connection, index)?;
        let sorts = first.is_some_and(|key| key.path == index.path);
        candidates.push(Candidate {
            in_order: !arrays && (sorts || (first.is_none() && lookup.is_one_key)),
            index,
            lookup,
            arrays,
            sorts,
        });
    }
    let few = few(connection)?;
    if candidates.is_empty()
        && let Some((rows, values)) = alternatives(connection, indexes, filter, few, purpose)?
    {
        return Ok(compiled.of_rows(&rows, values));
    }
    let mut shortest: Option<(i64, Candidate<'_>)> = None;
    let mut ordered: Option<Candidate<'_>> = None;
    for candidate in candidates {
        let length = length(connection, &candidate, few)?;
        if shortest.as_ref().is_none_or(|(least, _)| length < *least) {
            let before = shortest.replace((length, candidate));
            ordered = ordered.or(before
                .map(|(_, before)| before)
                .filter(|before| before.in_order));
        } else if candidate.in_order && ordered.is_none() {
            ordered = Some(candidate);
        }
    }
    let is_walkable = purpose == Purpose::Page && (first.is_none() || sorting.is_some());
    Ok(match shortest {
        Some((length, candidate)) if length < few || candidate.in_order || !is_walkable => {
            candidate.take(compiled, length < few)
        }
        _ => match (ordered, sorting) {
            (Some(ordered), _) => ordered.take(compiled, false),
            (None, Some(index)) if purpose == Purpose::Page => {
                compiled.along(Way::whole(index.number, &index.indexed))
            }
            _ => compiled,
        },
    })
}

impl Candidate<'_> {
    fn take(self, compiled: Compiled, is_short: bool) -> Compiled {
        if self.arrays {
            let (rows, values) = self.lookup.rows(self.index.number, true);
            return compiled.of_rows(&rows, values);
        }
        let (number, indexed) = (self.index.number, &self.index.indexed);
        let way = Way::stretch_of(number, indexed, &self.lookup, self.sorts);
        compiled.along(way.with_few(is_short))
    }
}

fn ready<'a>(indexes: &'a TypeIndexes, path: &pilvi_model::query::Path) -> Option<&'a Index> {
    indexes.find(path).filter(|index| index.is_ready)
}

fn holds_arrays(connection: &Connection, index: &Index) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM index_keys WHERE of_index = ? AND at_key = x'02')",
    )?;
    Ok(statement.query_row([index.number], |row| row.get(0))?)
}

/// How many objects on a stretch are few: to sort them all is shorter than to pass over the others on the way to a
/// page. That takes `page × all / found` steps, so what is few grows with the root of all.
fn few(connection: &Connection) -> Result<i64> {
    let newest: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM objects")?
        .query_row([], |row| row.get(0))?;
    Ok(newest
        .unwrap_or(0)
        .isqrt()
        .saturating_mul(8)
        .max(FEW_AT_LEAST))
}

/// How many objects are on a stretch, counted no further than needed.
fn length(connection: &Connection, candidate: &Candidate<'_>, few: i64) -> Result<i64> {
    let most = if candidate.in_order {
        FEW_AT_LEAST
    } else {
        few
    };
    let (rows, values) = candidate
        .lookup
        .rows(candidate.index.number, candidate.arrays);
    let length = count(connection, &rows, values, most)?;
    // What comes in order and is no shorter than counted may be as long as it likes.
    Ok(if length >= most { few } else { length })
}

fn count(
    connection: &Connection,
    rows: &str,
    values: Vec<rusqlite::types::Value>,
    most: i64,
) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM ({rows}) LIMIT {most})");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row(params_from_iter(values), |row| row.get(0))?)
}

/// The rows of alternatives, one of which every result has, when each has an index and all together are few.
fn alternatives(
    connection: &Connection,
    indexes: &TypeIndexes,
    filter: &Filter,
    few: i64,
    purpose: Purpose,
) -> Result<Option<(String, Vec<rusqlite::types::Value>)>> {
    for alternatives in query::any_lookups(filter) {
        if alternatives.is_empty() || alternatives.len() > ALTERNATIVES_MAX {
            continue;
        }
        let mut pieces = Vec::with_capacity(alternatives.len());
        let mut values = Vec::new();
        for lookups in &alternatives {
            let found = lookups
                .iter()
                .find_map(|lookup| Some((ready(indexes, &lookup.path)?, lookup)));
            let Some((index, lookup)) = found else { break };
            let (piece, its) = lookup.rows(index.number, holds_arrays(connection, index)?);
            pieces.push(piece);
            values.extend(its);
        }
        if pieces.len() < alternatives.len() {
            continue;
        }
        let rows = pieces.join(" UNION ALL ");
        if purpose == Purpose::Count || count(connection, &rows, values.clone(), few)? < few {
            return Ok(Some((rows, values)));
        }
    }
    Ok(None)
}

/// Every way that a query could go, so that tests can go them all.
#[cfg(test)]
pub(crate) fn every_way(
    connection: &Connection,
    indexes: &TypeIndexes,
    (filter, sort): (&Filter, &Sort),
    compiled: &Compiled,
) -> Vec<Compiled> {
    let mut ways = Vec::new();
    if sort.nearest().is_some() {
        return ways;
    }
    let first = sort.keys().first();
    if let Some(index) = first.and_then(|key| ready(indexes, &key.path)) {
        ways.push(
            compiled
                .clone()
                .along(Way::whole(index.number, &index.indexed)),
        );
    }
    for lookup in query::lookups(filter) {
        let Some(index) = ready(indexes, &lookup.path) else {
            continue;
        };
        let arrays = holds_arrays(connection, index).unwrap();
        let (rows, values) = lookup.rows(index.number, arrays);
        ways.push(compiled.clone().of_rows(&rows, values));
        if !arrays {
            let sorts = first.is_some_and(|key| key.path == index.path);
            let way = Way::stretch_of(index.number, &index.indexed, &lookup, sorts);
            ways.push(compiled.clone().along(way));
        }
    }
    let alternatives = alternatives(connection, indexes, filter, i64::MAX, Purpose::Page).unwrap();
    ways.extend(alternatives.map(|(rows, values)| compiled.clone().of_rows(&rows, values)));
    ways
}
