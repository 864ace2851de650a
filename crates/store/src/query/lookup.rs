//! What an index knows about a filter: the keys that results must have.
//!
//! A stretch of keys is a condition over `at_key`, the column of `index_keys`. It never leaves out an object that
//! passes, unless the object has the key of an array: a test of an array is passed by its elements, which no index
//! holds, so whoever follows a stretch looks at the arrays as well.

use pilvi_model::query::value::Reference;
use pilvi_model::query::{Comparison, Condition, Field, Filter, Path, Scalar, Test};
use serde_json::Value;
use std::cmp::Ordering;

use super::condition::{compare_number, compare_text, exact, is_one_of};
use super::place::{ARRAY, FALSE, OBJECT, TRUE};
use super::sql::Sql;
use super::way::MISSING;

/// What must be true of the key of a path.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) path: Path,
    pub(super) keys: Sql,
    /// Only one key will do, so what an index holds under it is in order of the ids.
    pub(crate) is_one_key: bool,
}

/// What every object that passes the filter must have.
pub(crate) fn lookups(filter: &Filter) -> Vec<Lookup> {
    let mut found = Vec::new();
    collect(filter.condition(), &mut found);
    found
}

fn collect(condition: &Condition, found: &mut Vec<Lookup>) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| collect(condition, found)),
        Condition::Field(Field { path, test, .. }) => found.extend(of_test(path, test)),
        Condition::Any(_) | Condition::Not(_) => {}
    }
}

/// Alternatives of which every object that passes must have one, where the filter names some: for each of them what
/// must be true then, any of which is enough to find it.
pub(crate) fn any_lookups(filter: &Filter) -> Vec<Vec<Vec<Lookup>>> {
    let mut found = Vec::new();
    collect_any(filter.condition(), &mut found);
    found
}

fn collect_any(condition: &Condition, found: &mut Vec<Vec<Vec<Lookup>>>) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| collect_any(condition, found)),
        Condition::Any(conditions) => {
            let each = conditions.iter().map(|condition| {
                let mut lookups = Vec::new();
                collect(condition, &mut lookups);
                lookups
            });
            found.push(each.collect());
        }
        Condition::Field(_) | Condition::Not(_) => {}
    }
}

fn of_test(path: &Path, test: &Test) -> Option<Lookup> {
    match test {
        Test::OneOf(values) => one_of(path, values),
        Test::Compare(comparison, operand) => compare(path, *comparison, operand),
        Test::All(tests) => {
            let parts: Vec<Lookup> = tests
                .iter()
                .filter_map(|test| of_test(path, test))
                .collect();
            let path = parts.first()?.path.clone();
            let parts = parts.into_iter().filter(|part| part.path == path);
            let (keys, singles): (Vec<Sql>, Vec<bool>) =
                parts.map(|part| (part.keys, part.is_one_key)).unzip();
            Some(Lookup {
                path,
                keys: Sql::all(&keys),
                is_one_key: singles.contains(&true),
            })
        }
        _ => None,
    }
}

fn key() -> Sql {
    Sql::text("at_key")
}

fn one_of(path: &Path, values: &[Value]) -> Option<Lookup> {
    let references: Vec<Reference<'_>> = values.iter().filter_map(Reference::of).collect();
    if values.is_empty() || (!references.is_empty() && references.len() < values.len()) {
        return None;
    }
    if !references.is_empty() {
        // A reference is found by its id.
        let ids = references.iter().map(|reference| reference.id.to_owned());
        let ids: Vec<Sql> = ids.map(Sql::value).collect();
        return points(path.member("id"), &ids, Vec::new());
    }
    let mut keys: Vec<Sql> = Vec::new();
    let mut stretches = Vec::new();
    for value in values {
        match value {
            Value::Null => keys.push(Sql::text(MISSING)),
            Value::Bool(flag) => keys.push(Sql::text(if *flag { TRUE } else { FALSE })),
            Value::String(text) => keys.push(Sql::value(text.clone())),
            Value::Number(number) => match exact(number) {
                Some(number) => keys.push(Sql::value(number)),
                None => stretches.push(numbers()),
            },
            Value::Object(_) => keys.push(Sql::text(OBJECT)),
            Value::Array(_) => keys.push(Sql::text(ARRAY)),
        }
    }
    points(path.clone(), &keys, stretches)
}

fn points(path: Path, keys: &[Sql], mut stretches: Vec<Sql>) -> Option<Lookup> {
    let is_one_key = keys.len() == 1 && stretches.is_empty();
    stretches.extend(is_one_of(&key(), keys));
    Some(Lookup {
        path,
        keys: Sql::any(&stretches),
        is_one_key,
    })
}

fn numbers() -> Sql {
    Sql::text(format!("(at_key > {MISSING} AND at_key < '')"))
}

fn compare(path: &Path, comparison: Comparison, operand: &Scalar) -> Option<Lookup> {
    let keys = match operand {
        Scalar::Null => {
            let is_equal = comparison.accepts(Ordering::Equal);
            return is_equal.then(|| one_of(path, &[Value::Null])).flatten();
        }
        Scalar::Boolean(operand) => {
            let flags = [false, true].into_iter();
            let accepted = flags.filter(|flag| comparison.accepts(flag.cmp(operand)));
            return one_of(path, &accepted.map(Value::Bool).collect::<Vec<_>>());
        }
        Scalar::Number(number) => match exact(number) {
            Some(number) => {
                let within = compare_number(&key(), comparison, &Sql::value(number));
                match comparison {
                    // What is missing is below all numbers, and it is not asked for.
                    Comparison::Less | Comparison::LessOrEqual => {
                        Sql::all(&[within, Sql::text(format!("at_key > {MISSING}"))])
                    }
                    Comparison::Greater | Comparison::GreaterOrEqual => within,
                }
            }
            None => numbers(),
        },
        Scalar::Text(text) => compare_text(&key(), comparison, &Sql::value(text.clone())),
    };
    Some(Lookup {
        path: path.clone(),
        keys,
        is_one_key: false,
    })
}
