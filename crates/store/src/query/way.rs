//! A way along an index to the rows of a query.

use pilvi_model::query::{Direction, Position, Sort};
use rusqlite::types::Value;

use super::lookup::Lookup;
use super::place::{ARRAY, Indexed, key_of};
use super::sql::Sql;

/// The key that an index holds for what has none. JSON has no infinite numbers, and this one is below all others, as
/// what is missing is in the order of a list.
pub(crate) const MISSING: &str = "-9e999";

/// Which index a query goes along, and which stretch of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    index: i64,
    /// What the condition says where it means the key.
    term: String,
    keys: Option<Sql>,
    start: Option<Sql>,
    /// Whether the key is what the list is sorted by first.
    sorts: bool,
    leads_to_few: bool,
}

impl Way {
    /// The whole of the index that `number` names, in its order or against it.
    pub(crate) fn whole(number: i64, indexed: &Indexed) -> Self {
        Self {
            index: number,
            term: indexed.term.clone(),
            keys: None,
            start: None,
            sorts: true,
            leads_to_few: false,
        }
    }

    /// The stretch of it where the keys of a look-up are. The index must not hold arrays. `sorts`: it is of what the
    /// list is sorted by first.
    pub(crate) fn stretch_of(number: i64, indexed: &Indexed, lookup: &Lookup, sorts: bool) -> Self {
        Self {
            keys: Some(lookup.keys.clone()),
            sorts,
            ..Self::whole(number, indexed)
        }
    }

    #[must_use]
    pub(crate) fn with_few(self, leads_to_few: bool) -> Self {
        Self {
            leads_to_few,
            ..self
        }
    }

    pub(super) fn index(&self) -> i64 {
        self.index
    }

    pub(super) fn leads_to_few(&self) -> bool {
        self.leads_to_few
    }

    /// The condition of being on the stretch. Its values are `values`.
    pub(super) fn stretch(&self) -> String {
        let pieces = self.keys.iter().chain(&self.start);
        pieces.fold(format!("of_index = {}", self.index), |text, piece| {
            format!("{text} AND ({})", piece.text)
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        let pieces = self.keys.iter().chain(&self.start);
        pieces.flat_map(|piece| &piece.values)
    }

    /// The same condition, asking the index for the key. The text of a key has no values in it and stands for nothing
    /// else wherever it is met.
    pub(super) fn meaning(&self, condition: &str) -> String {
        if self.is_of_column() {
            return condition.to_owned();
        }
        condition.replace(&self.term, &format!("nullif(at_key, {MISSING})"))
    }

    /// The same order, as the index has it.
    pub(super) fn order(&self, order: &str) -> String {
        let order = order.strip_suffix("id").unwrap_or(order);
        let order = match order.strip_prefix(&self.term) {
            Some(rest) if self.sorts => format!("at_key{rest}"),
            _ => order.to_owned(),
        };
        format!("{}object", self.meaning(&order))
    }

    fn is_of_column(&self) -> bool {
        !self.term.contains('(')
    }

    /// Begins behind a position rather than at the beginning. What the condition says of the position is the same,
    /// but not in a form that an index can start from.
    pub(super) fn start_behind(&mut self, sort: &Sort, position: &Position) {
        let first = sort.keys().first().zip(position.values.first());
        self.start = match first {
            None if self.keys.is_some() => Some(Sql::fill(
                "object > {}",
                &[&Sql::value(position.id.clone())],
            )),
            Some((key, value)) if self.sorts => match (key.direction, key_of(value)) {
                (Direction::Ascending, None) => None,
                (Direction::Ascending, Some(value)) => Some(Sql::fill("at_key >= {}", &[&value])),
                (Direction::Descending, None) => Some(Sql::text(format!("at_key <= {MISSING}"))),
                (Direction::Descending, Some(value)) => Some(Sql::fill("at_key <= {}", &[&value])),
            },
            _ => None,
        };
    }
}

impl Lookup {
    /// The query for the rows that an index has under the keys, and under those of arrays.
    pub(crate) fn rows(&self, number: i64, arrays: bool) -> (String, Vec<Value>) {
        let select = format!("SELECT at_row FROM index_keys WHERE of_index = {number}");
        let mut text = format!("{select} AND ({})", self.keys.text);
        if arrays {
            text.push_str(&format!(" UNION ALL {select} AND at_key = {ARRAY}"));
        }
        (text, self.keys.values.clone())
    }
}
