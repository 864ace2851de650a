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
//! A property is compared and sorted through one expression, its *key* (see `place`). An index keeps the keys of one
//! property of one type, in order, in the table `index_keys`. What of a filter an index knows is `lookup`'s: a stretch
//! of keys that every result has. A `Way` goes along such a stretch; the whole condition is still asked of every
//! object on it, so a way may lead past too much and never past too little. Where the condition says the key, it says
//! what the index holds instead, and no document is opened for it. Which way is the shortest is decided where the
//! statement is carried out (see `backend::indexes`), for SQLite knows too little about it.
//!
//! Tests of locations are the evaluator's; an index of locations only narrows where it is asked (see `backend::geo`).

#[cfg(test)]
pub(crate) mod agreement;
mod condition;
mod functions;
mod lookup;
mod place;
mod sql;
#[cfg(test)]
mod tests;
mod way;

use pilvi_model::query::{Direction, Filter, Nearest, Path, Position, Sort};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;

pub(crate) use lookup::{Lookup, any_lookups, lookups};
use place::Place;
pub(crate) use place::{Indexed, indexed, location_rectangles};
use sql::Sql;
pub(crate) use way::Way;

/// SQL over the columns of the table `objects`, without an alias.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// A condition. It may also be `NULL`, which means no; put it in parentheses.
    pub condition: String,
    /// The terms of an `ORDER BY`, ending with `id`.
    pub order: String,
    /// What the unnumbered `?` stand for, first those of the condition, then those of the order.
    pub values: Vec<Value>,
    /// How many of them are the condition's.
    bound: usize,
    /// Whether the condition says which rows to look at.
    names_rows: bool,
    /// The index that leads to the rows.
    way: Option<Way>,
}

/// A longer condition is left to the evaluator as a whole: preparing it would cost more than it saves.
const CONDITION_TEXT_MAX: usize = 64 << 10;

/// Teaches a connection the functions that compiled queries call, and to keep the plan of a statement whatever is
/// bound to it: otherwise SQLite plans anew for other values, which takes longer than most queries. Every connection
/// that runs one needs it.
pub fn register(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    functions::register(connection)
}

/// Gathers what SQLite needs to choose among the indexes of objects. Without it SQLite takes the one by type and id for
/// the best. What it gathers is about an index as a whole and never about single values, for which no plan is made.
pub(crate) const GATHER_STATISTICS: &str = "PRAGMA analysis_limit = 1000; ANALYZE objects";

/// Compiles a filter and a sort order.
pub fn compile(filter: &Filter, sort: &Sort) -> Compiled {
    let mut condition = condition::compile(filter.condition());
    if condition.text.len() > CONDITION_TEXT_MAX {
        condition = functions::matches(filter.source());
    }
    let order = order(sort);
    let mut values = condition.values;
    let bound = values.len();
    values.extend(order.values);
    Compiled {
        condition: condition.text,
        order: order.text,
        values,
        bound,
        names_rows: false,
        way: None,
    }
}

impl Compiled {
    /// Leaves only what stands behind `position` in the order, which must be the one that this was compiled with.
    #[must_use]
    pub fn behind(mut self, sort: &Sort, position: &Position) -> Self {
        if let Some(way) = &mut self.way {
            way.start_behind(sort, position);
        }
        let behind = behind(sort, position);
        self.and(&behind.text, behind.values)
    }

    /// Leaves only what is within a distance of what the list comes by the distance of.
    #[must_use]
    pub(crate) fn within(self, nearest: &Nearest, most: f64) -> Self {
        let within = Sql::fill(
            "{} <= {}",
            &[&functions::distance(nearest), &Sql::value(most)],
        );
        self.and(&within.text, within.values)
    }

    /// Leaves only the rows whose `seq` the query `rows` gives, and looks at no others.
    #[must_use]
    pub(crate) fn of_rows(self, rows: &str, values: Vec<Value>) -> Self {
        let named = self.and(&format!("seq IN ({rows})"), values);
        Self {
            names_rows: true,
            way: named.way.filter(Way::leads_to_few),
            ..named
        }
    }

    /// Looks for the rows along an index.
    #[must_use]
    pub(crate) fn along(self, way: Way) -> Self {
        Self {
            way: Some(way),
            ..self
        }
    }

    /// The number of the index that leads to the rows.
    pub(crate) fn index_used(&self) -> Option<i64> {
        self.way.as_ref().map(Way::index)
    }

    pub(crate) fn names_rows(&self) -> bool {
        self.names_rows
    }

    /// What the statements bind first: the type, then what belongs to the way and the condition, and for a page what
    /// belongs to the order.
    pub(crate) fn bound_for(&self, object_type: &str) -> Vec<Value> {
        let mut values = vec![Value::from(object_type.to_owned())];
        values.extend(self.way.iter().flat_map(Way::values).cloned());
        values.extend_from_slice(&self.values);
        values
    }

    /// The statement that counts what passes. It binds what `bound_for` gives; the order must be one without values.
    pub(crate) fn count(&self) -> String {
        let part = format!("{} = ?", self.type_column());
        format!("SELECT count(*) {}", self.rows(&part))
    }

    /// The statement that lists the documents of one page, in order. It binds what `bound_for` gives, then how many
    /// documents there may be and how many are passed over.
    ///
    /// The page is made of numbers first and the documents are fetched for those: whatever is sorted is copied, and
    /// documents are long. The numbers come in order and the loop over them is the outer one, so the documents do too.
    pub(crate) fn page(&self) -> String {
        self.page_of(&format!("{} = ?", self.type_column()))
    }

    fn page_of(&self, part: &str) -> String {
        let order = match &self.way {
            None => self.order.clone(),
            Some(way) => way.order(&self.order),
        };
        format!(
            "SELECT listed.doc FROM (SELECT seq {} ORDER BY {order} LIMIT ? OFFSET ?) AS page \
             CROSS JOIN objects AS listed ON listed.seq = page.seq",
            self.rows(part)
        )
    }

    fn rows(&self, part: &str) -> String {
        match &self.way {
            None => format!("FROM objects WHERE {part} AND ({})", self.condition),
            Some(way) => format!(
                "FROM index_keys CROSS JOIN objects ON seq = at_row WHERE {part} AND {} AND ({})",
                way.stretch(),
                way.meaning(&self.condition)
            ),
        }
    }

    /// What the `?` of the condition stand for.
    pub(crate) fn condition_values(&self) -> &[Value] {
        &self.values[..self.bound]
    }

    /// What the `?` of the order stand for.
    pub(crate) fn order_values(&self) -> &[Value] {
        &self.values[self.bound..]
    }

    /// How the type is to be named beside the condition: `+type` where its indexes would lead astray.
    fn type_column(&self) -> &'static str {
        match self.names_rows || self.way.is_some() {
            true => "+type",
            false => "type",
        }
    }

    /// Adds a condition of ours; nothing that came from outside may be in its text.
    #[must_use]
    pub(crate) fn and(mut self, condition: &str, values: Vec<Value>) -> Self {
        self.condition = format!("({}) AND {condition}", self.condition);
        let added = values.len();
        self.values.splice(self.bound..self.bound, values);
        self.bound += added;
        self
    }
}

/// The paths of which an index would help, the most helpful first: what every result must pass, then what the list is
/// sorted by.
pub(crate) fn paths_to_index(filter: &Filter, sort: &Sort) -> Vec<Path> {
    let asked = lookups(filter).into_iter().map(|lookup| lookup.path);
    let sorted = sort.keys().first().map(|key| key.path.clone());
    let mut paths: Vec<Path> = Vec::new();
    for path in asked.chain(sorted) {
        if indexed(&path).is_some() && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// The terms that a list is sorted by, before its `id`.
fn terms(sort: &Sort) -> Vec<(Sql, Direction)> {
    let by_distance = sort.nearest().map(functions::distance);
    let by_distance = by_distance.map(|distance| (distance, Direction::Ascending));
    let keys = sort.keys().iter();
    by_distance
        .into_iter()
        .chain(keys.map(|key| (Place::for_sort(&key.path), key.direction)))
        .collect()
}

fn order(sort: &Sort) -> Sql {
    let directed = |(term, direction)| match direction {
        Direction::Ascending => term,
        Direction::Descending => Sql::fill("{} DESC", &[&term]),
    };
    let mut terms: Vec<Sql> = terms(sort).into_iter().map(directed).collect();
    terms.push(Sql::text("id"));
    Sql::list(&terms)
}

/// The condition of standing behind a position in the order.
fn behind(sort: &Sort, position: &Position) -> Sql {
    let terms: Vec<_> = terms(sort).into_iter().zip(&position.values).collect();
    let mut behind = Sql::fill("id > {}", &[&Sql::value(position.id.clone())]);
    for ((term, direction), value) in terms.iter().rev() {
        let value = place::key_of(value);
        let further = match (direction, &value) {
            (Direction::Ascending, None) => Sql::fill("{} IS NOT NULL", &[term]),
            (Direction::Ascending, Some(value)) => Sql::fill("{} > {}", &[term, value]),
            (Direction::Descending, None) => Sql::text("0"),
            (Direction::Descending, Some(value)) => {
                Sql::fill("({} < {} OR {} IS NULL)", &[term, value, term])
            }
        };
        let level = match &value {
            None => Sql::fill("{} IS NULL", &[term]),
            Some(value) => Sql::fill("{} = {}", &[term, value]),
        };
        behind = Sql::fill("({} OR ({} AND {}))", &[&further, &level, &behind]);
    }
    // Says nothing new, but in a form that an index can start from.
    match terms.first() {
        Some(((term, Direction::Ascending), value)) => match place::key_of(value) {
            Some(value) => Sql::fill("({} >= {} AND {})", &[term, &value, &behind]),
            None => behind,
        },
        _ => behind,
    }
}
