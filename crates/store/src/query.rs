//! From the query language to SQLite: a [`Filter`] and a [`Sort`] become a condition and an order over the table
//! `objects`, with every value bound.
//!
//! `pilvi_model::query` says what a filter means; the SQL here agrees with it to the row, and a property test
//! holds it there. What SQLite decides exactly is said in SQL: scalars compared at the end of a path that meets no
//! array. Everything else is decided by the evaluator itself, called as the SQL function `eds_matches`, and only
//! for the rows where SQL cannot know. `condition` is about that division, `place` about how a path becomes an
//! expression, `functions` about the way back into Rust.
//!
//! # Indexes
//!
//! A property is compared and sorted through one expression, its *key* (see `place`), and the path within it is
//! literal text wherever the names allow it, because SQLite never uses an expression index for a bound path. So
//! an index on `(type, <key of the property>, id)` serves equality, `$in`, ranges and the sort order alike; the
//! tests show the text and the plan. The branch for arrays asks the same key, so it uses the same index.

#[cfg(test)]
mod agreement;
mod condition;
mod functions;
mod place;
mod sql;
#[cfg(test)]
mod tests;

use pilvi_model::query::value::Reference;
use pilvi_model::query::{Condition, Direction, Field, Filter, Path, Sort, Test};
use rusqlite::Connection;
use rusqlite::types::Value;

use place::Place;
use sql::Sql;

/// SQL over the columns of the table `objects`, without an alias.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// A condition. It may also be `NULL`, which means no; put it in parentheses.
    pub condition: String,
    /// The terms of an `ORDER BY`, ending with `id`.
    pub order: String,
    /// What the unnumbered `?` stand for, first those of the condition, then those of the order.
    pub values: Vec<Value>,
}

/// A longer condition is left to the evaluator as a whole: preparing it would cost more than it saves.
const CONDITION_TEXT_MAX: usize = 64 << 10;

/// Teaches a connection the functions that compiled queries call. Every connection that runs one needs it.
pub fn register(connection: &Connection) -> rusqlite::Result<()> {
    functions::register(connection)
}

/// Compiles a filter and a sort order.
pub fn compile(filter: &Filter, sort: &Sort) -> Compiled {
    let mut condition = condition::compile(filter.condition());
    if condition.text.len() > CONDITION_TEXT_MAX {
        condition = functions::matches(filter.source());
    }
    let order = order(sort);
    let mut values = condition.values;
    values.extend(order.values);
    Compiled {
        condition: condition.text,
        order: order.text,
        values,
    }
}

/// The keys of properties by which an index on `(type, key, id)` would help, the most helpful first: what every
/// result must pass, then what the list is sorted by.
pub(crate) fn index_keys(filter: &Filter, sort: &Sort) -> Vec<String> {
    let mut paths = Vec::new();
    collect_required(filter.condition(), &mut paths);
    paths.extend(sort.keys().first().map(|key| key.path.clone()));
    paths.iter().filter_map(place::index_key).collect()
}

fn collect_required(condition: &Condition, paths: &mut Vec<Path>) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| collect_required(condition, paths)),
        // References are found by the key of their ids.
        Condition::Field(Field {
            path,
            test: Test::OneOf(values),
            ..
        }) if values.iter().all(|value| Reference::of(value).is_some()) => {
            paths.push(path.member("id"));
        }
        Condition::Field(Field {
            path,
            test: Test::OneOf(_) | Test::Compare(..),
            ..
        }) => paths.push(path.clone()),
        _ => {}
    }
}

fn order(sort: &Sort) -> Sql {
    let mut terms: Vec<Sql> = sort
        .keys()
        .iter()
        .map(|key| {
            let place = Place::for_sort(&key.path);
            match key.direction {
                Direction::Ascending => place,
                Direction::Descending => Sql::fill("{} DESC", &[&place]),
            }
        })
        .collect();
    terms.push(Sql::text("id"));
    Sql::list(&terms)
}
