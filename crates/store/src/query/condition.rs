//! How a filter's tree becomes an SQL condition.
//!
//! A field's test is divided in two: `sure`, which is true only for rows that pass, and `unsure`, which is true
//! for rows where SQL cannot know. A row that is neither does not pass. The whole is
//! `sure OR (unsure AND eds_matches(…))`, so that Rust runs for the few, and both sides can use an index.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use pilvi_model::query::value::Reference;
use pilvi_model::query::{Comparison, Condition, Field, Path, Scalar, Test};
use rusqlite::types::Value as Bound;
use serde_json::{Number, Value};

use super::functions;
use super::place::{ARRAY, FALSE, OBJECT, Place, Property, TRUE, document_key};
use super::sql::Sql;

/// The condition of a whole filter.
pub(super) fn compile(condition: &Condition) -> Sql {
    match condition {
        Condition::All(conditions) => Sql::all(&compile_each(conditions)),
        Condition::Any(conditions) => Sql::any(&compile_each(conditions)),
        Condition::Not(condition) => compile(condition).not(),
        Condition::Field(field) => compile_field(field),
    }
}

fn compile_each(conditions: &[Condition]) -> Vec<Sql> {
    conditions.iter().map(compile).collect()
}

fn compile_field(field: &Field) -> Sql {
    let Decision { sure, unsure } = decide(&field.path, &Place::of(&field.path), &field.test);
    let asked = unsure.map(|unsure| {
        let matches = functions::matches(&field.source);
        Sql::fill("({} AND {})", &[&unsure, &matches])
    });
    Sql::any(&sure.into_iter().chain(asked).collect::<Vec<_>>())
}

/// What SQL knows about a test; `None` means for no row.
#[derive(Clone, Debug, Default)]
struct Decision {
    sure: Option<Sql>,
    unsure: Option<Sql>,
}

impl Decision {
    fn never() -> Self {
        Self::default()
    }

    fn unsure(unsure: Sql) -> Self {
        Self {
            sure: None,
            unsure: Some(unsure),
        }
    }
}

fn decide(path: &Path, place: &Place, test: &Test) -> Decision {
    match test {
        Test::All(tests) => all(tests.iter().map(|test| decide(path, place, test))),
        Test::Not(test) => not(decide(path, place, test)),
        _ => match place {
            Place::Column(column) => decide_column(column, test),
            Place::Property(property) => decide_property(path, property, test),
            Place::Unreachable => Decision::unsure(Sql::text("1")),
        },
    }
}

/// If a row passes all tests and is not sure to, it is unsure to pass at least one of them.
fn all(decisions: impl Iterator<Item = Decision>) -> Decision {
    let mut sures = Some(Vec::new());
    let mut unsures: Vec<Sql> = Vec::new();
    for Decision { sure, unsure } in decisions {
        sures = sures.zip(sure).map(|(mut sures, sure)| {
            sures.push(sure);
            sures
        });
        unsure
            .into_iter()
            .for_each(|unsure| add_once(&mut unsures, unsure));
    }
    Decision {
        sure: sures.map(|sures| Sql::all(&sures)),
        unsure: (!unsures.is_empty()).then(|| Sql::any(&unsures)),
    }
}

/// Where SQL knows about a test, it also knows about its opposite.
fn not(decision: Decision) -> Decision {
    let opposites: Vec<Sql> = [&decision.sure, &decision.unsure]
        .into_iter()
        .flatten()
        .map(Sql::not)
        .collect();
    Decision {
        sure: Some(Sql::all(&opposites)),
        unsure: decision.unsure,
    }
}

/// A column holds a text, always. Other values must not be compared with it: SQLite would turn them into texts.
fn decide_column(column: &Sql, test: &Test) -> Decision {
    match test {
        Test::OneOf(values) => {
            let texts = values.iter().filter_map(Value::as_str);
            let texts: Vec<Sql> = texts.map(|text| Sql::value(text.to_owned())).collect();
            Decision {
                sure: is_one_of(column, &texts),
                unsure: None,
            }
        }
        Test::Compare(comparison, Scalar::Text(text)) => Decision {
            sure: Some(compare_text(column, *comparison, &Sql::value(text.clone()))),
            unsure: None,
        },
        Test::Exists => Decision {
            sure: Some(Sql::text("1")),
            unsure: None,
        },
        Test::Matches(_) => Decision::unsure(Sql::text("1")),
        _ => Decision::never(),
    }
}

fn decide_property(path: &Path, property: &Property, test: &Test) -> Decision {
    let Property {
        key,
        kind,
        length,
        array_before,
    } = property;
    match test {
        Test::OneOf(values) => one_of(path, property, values),
        Test::Compare(comparison, operand) => ordered(path, property, *comparison, operand),
        Test::Exists => Decision {
            sure: Some(Sql::fill("({} IS NOT NULL)", &[kind])),
            unsure: array_before.clone(),
        },
        Test::Size(size) => Decision {
            // A longer array than SQLite can count cannot be stored.
            sure: i64::try_from(*size).ok().map(|size| {
                Sql::fill(
                    "({} = 'array' AND {} = {})",
                    &[kind, length, &Sql::value(size)],
                )
            }),
            unsure: array_before.clone(),
        },
        Test::Remainder { divisor, remainder } => Decision {
            sure: Some(Sql::fill(
                "(typeof({}) = 'integer' AND {} % {} = {})",
                &[key, key, &Sql::value(*divisor), &Sql::value(*remainder)],
            )),
            unsure: Some(Sql::fill(
                &format!("(typeof({{}}) = 'real' OR {{}} = {ARRAY})"),
                &[key, key],
            )),
        },
        // Texts and arrays; objects lie between them, and the evaluator turns them away.
        Test::Matches(_) => Decision::unsure(Sql::fill(
            &format!("({{}} >= '' AND {{}} <= {ARRAY})"),
            &[key, key],
        )),
        Test::Element(_) | Test::ElementPasses(_) => Decision::unsure(is(ARRAY, key)),
        // A location is an array or an object, or among the elements of an array.
        Test::Near(_) | Test::Within(_) => {
            Decision::unsure(Sql::fill(&format!("{{}} IN ({OBJECT}, {ARRAY})"), &[key]))
        }
        Test::All(_) | Test::Not(_) => unreachable!("`decide` takes them apart"),
    }
}

/// Equality with one of the values: sure for `null`, exact scalars and references, unsure for the rest and for
/// arrays, whose elements may be equal.
fn one_of(path: &Path, property: &Property, values: &[Value]) -> Decision {
    if values.is_empty() {
        return Decision::never();
    }
    let key = &property.key;
    let mut sure = Vec::new();
    let mut unsure = Vec::new();
    let mut scalars = Vec::new();
    let mut references = Vec::new();
    for value in values {
        match value {
            Value::Null => add_once(&mut sure, Sql::fill("{} IS NULL", &[key])),
            Value::Bool(flag) => scalars.push(Sql::text(if *flag { TRUE } else { FALSE })),
            Value::String(text) => scalars.push(Sql::value(text.clone())),
            Value::Number(number) => match exact(number) {
                Some(number) => scalars.push(Sql::value(number)),
                None => add_once(&mut unsure, is_number(key)),
            },
            Value::Object(_) => match Reference::of(value) {
                Some(reference) => references.push(reference),
                None => add_once(&mut unsure, is(OBJECT, key)),
            },
            Value::Array(_) => {}
        }
    }
    let only_references = references.len() == values.len();
    sure.extend(is_one_of(key, &scalars));
    if references.is_empty() {
        unsure.push(is(ARRAY, key));
    } else {
        // Where only references are asked for, one index on the key of their ids serves all of the condition.
        let id = document_key(&path.member("id"));
        unsure.push(is(ARRAY, if only_references { &id } else { key }));
        sure.extend(refers_to_one_of(path, &id, &references));
    }
    Decision {
        sure: (!sure.is_empty()).then(|| Sql::any(&sure)),
        unsure: Some(Sql::any(&unsure)),
    }
}

fn refers_to_one_of(path: &Path, id: &Sql, references: &[Reference<'_>]) -> Vec<Sql> {
    let mut ids_by_type: BTreeMap<&str, Vec<Sql>> = BTreeMap::new();
    for reference in references {
        let ids = ids_by_type.entry(reference.object_type).or_default();
        ids.push(Sql::value(reference.id.to_owned()));
    }
    let object_type = document_key(&path.member("objectType"));
    ids_by_type
        .into_iter()
        .filter_map(|(name, ids)| {
            let is_type = is_one_of(&object_type, &[Sql::value(name.to_owned())])?;
            Some(Sql::all(&[is_one_of(id, &ids)?, is_type]))
        })
        .collect()
}

pub(super) fn is_one_of(key: &Sql, values: &[Sql]) -> Option<Sql> {
    match values {
        [] => None,
        [value] => Some(Sql::fill("{} = {}", &[key, value])),
        values => Some(Sql::fill("{} IN ({})", &[key, &Sql::list(values)])),
    }
}

fn ordered(path: &Path, property: &Property, comparison: Comparison, operand: &Scalar) -> Decision {
    let key = &property.key;
    let array = is(ARRAY, key);
    match operand {
        Scalar::Null => {
            let values = [Value::Null];
            let accepted = if comparison.accepts(Ordering::Equal) {
                &values[..]
            } else {
                &[]
            };
            one_of(path, property, accepted)
        }
        Scalar::Boolean(operand) => {
            let accepted = [false, true]
                .into_iter()
                .filter(|flag| comparison.accepts(flag.cmp(operand)));
            one_of(
                path,
                property,
                &accepted.map(Value::Bool).collect::<Vec<_>>(),
            )
        }
        Scalar::Number(number) => match exact(number) {
            Some(number) => Decision {
                sure: Some(compare_number(key, comparison, &Sql::value(number))),
                unsure: Some(array),
            },
            None => Decision::unsure(Sql::any(&[is_number(key), array])),
        },
        Scalar::Text(text) => Decision {
            sure: Some(compare_text(key, comparison, &Sql::value(text.clone()))),
            unsure: Some(array),
        },
    }
}

/// All other keys are above the numbers; `NULL` compares with nothing. Both ends of the stretch are said, though the
/// lower one goes without saying: SQLite takes a range for much narrower then, and its index for the better one.
pub(super) fn compare_number(key: &Sql, comparison: Comparison, operand: &Sql) -> Sql {
    let template = match comparison {
        Comparison::Less => "({} < {} AND {} >= -9e999)",
        Comparison::LessOrEqual => "({} <= {} AND {} >= -9e999)",
        Comparison::Greater => "({} > {} AND {} < '')",
        Comparison::GreaterOrEqual => "({} >= {} AND {} < '')",
    };
    Sql::fill(template, &[key, operand, key])
}

/// The numbers are below the texts, all else is above.
pub(super) fn compare_text(key: &Sql, comparison: Comparison, operand: &Sql) -> Sql {
    let template = match comparison {
        Comparison::Less => "({} < {} AND {} >= '')",
        Comparison::LessOrEqual => "({} <= {} AND {} >= '')",
        Comparison::Greater => "({} > {} AND {} < x'')",
        Comparison::GreaterOrEqual => "({} >= {} AND {} < x'')",
    };
    Sql::fill(template, &[key, operand, key])
}

/// The number as SQLite holds it, if it compares there as it does in Rust.
///
/// SQLite reads a stored integer beyond 64 bits with sign as the double next to it, which is somewhere between
/// 2^63 and 2^64. Numbers in this stretch are for the evaluator; outside of it the rounding changes no order.
pub(super) fn exact(number: &Number) -> Option<Bound> {
    const FIRST: f64 = 9_223_372_036_854_775_808.0;
    const LAST: f64 = 18_446_744_073_709_551_616.0;
    if let Some(integer) = number.as_i64() {
        return Some(Bound::Integer(integer));
    }
    let real = number.as_f64().filter(|_| number.is_f64())?;
    (!(FIRST..=LAST).contains(&real)).then_some(Bound::Real(real))
}

fn is(kind: &str, key: &Sql) -> Sql {
    Sql::fill(&format!("{{}} = {kind}"), &[key])
}

fn is_number(key: &Sql) -> Sql {
    Sql::fill("{} < ''", &[key])
}

fn add_once(pieces: &mut Vec<Sql>, piece: Sql) {
    if !pieces.contains(&piece) {
        pieces.push(piece);
    }
}
