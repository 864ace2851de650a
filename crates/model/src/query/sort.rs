//! In which order a list comes.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::filter::Filter;
use super::geo::Nearest;
use super::path::Path;
use super::value::{compare_reals, compare_whole_to_real};
use super::{Segment, parse};
use crate::{Error, Result};

/// How many properties a list may be sorted by.
pub const KEYS_MAX: usize = 8;

/// A total order over objects: by each key in turn, at last by `id`, ascending.
///
/// Over the values of one property, ascending:
///
/// 1. missing and `null`, which are equal;
/// 2. numbers, by value; whole numbers of 2^63 and more by the double nearest to them;
/// 3. texts, by code point;
/// 4. objects, all equal;
/// 5. arrays, all equal;
/// 6. `false`, then `true`.
///
/// A path that meets an array on its way ends there, and the object sorts as an array does; only a number leads
/// on, to the array's element at that place.
///
/// Instead of keys, a list may come by its distance from what its filter calls near.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sort {
    keys: Vec<SortKey>,
    nearest: Option<Box<Nearest>>,
}

/// Where an object stands in an order: what it sorts by, as JSON that sorts alike, and its `id`.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// One for each term of the order: a scalar, or an empty object or array for any of its kind.
    pub values: Vec<Value>,
    pub id: String,
}

/// One property to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub path: Path,
    pub direction: Direction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Ascending,
    Descending,
}

/// What a document sorts by under one path. The variants stand in their ascending order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SortValue<'a> {
    Nothing,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Object,
    Array,
    Boolean(bool),
}

impl Sort {
    /// Reads the text of `sort`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_json(&parse::json("sort", text)?)
    }

    /// Reads an array of `{"sortBy","direction"}`, or a single one. Other members are ignored.
    pub fn from_json(json: &Value) -> Result<Self> {
        let keys = match json {
            Value::Array(keys) => keys.as_slice(),
            single => std::slice::from_ref(single),
        };
        if keys.len() > KEYS_MAX {
            return Err(Error::bad_request(format!(
                "sort has at most {KEYS_MAX} properties"
            )));
        }
        keys.iter()
            .map(SortKey::from_json)
            .collect::<Result<_>>()
            .map(|keys| Self {
                keys,
                nearest: None,
            })
    }

    /// This order; or by distance, when it has no keys and the filter asks for what is near.
    #[must_use]
    pub fn or_nearest(mut self, filter: &Filter) -> Self {
        if self.keys.is_empty() {
            self.nearest = filter.nearest().map(Box::new);
        }
        self
    }

    pub fn keys(&self) -> &[SortKey] {
        &self.keys
    }

    /// What the list comes by the distance of, closest first; then there are no keys.
    pub fn nearest(&self) -> Option<&Nearest> {
        self.nearest.as_deref()
    }

    /// Where a document stands.
    pub fn position(&self, document: &Value) -> Position {
        let values = match &self.nearest {
            Some(nearest) => vec![json!(nearest.distance(document))],
            None => self
                .keys
                .iter()
                .map(|key| SortValue::at(document, &key.path).to_json())
                .collect(),
        };
        Position {
            values,
            id: id(document).unwrap_or_default().to_owned(),
        }
    }

    fn directions(&self) -> impl Iterator<Item = Direction> {
        let by_distance = self.nearest.iter().map(|_| Direction::Ascending);
        by_distance.chain(self.keys.iter().map(|key| key.direction))
    }

    /// Orders two positions. Equal means that both have the same `id`.
    pub fn compare_positions(&self, left: &Position, right: &Position) -> Ordering {
        let values = left.values.iter().zip(&right.values);
        let mut by_values = values
            .zip(self.directions())
            .map(|((left, right), direction)| {
                let order = SortValue::of(left).compare(SortValue::of(right));
                match direction {
                    Direction::Ascending => order,
                    Direction::Descending => order.reverse(),
                }
            });
        by_values
            .find(|order| order.is_ne())
            .unwrap_or_else(|| left.id.cmp(&right.id))
    }

    /// Orders two documents. Equal means that both have the same `id`.
    pub fn compare(&self, left: &Value, right: &Value) -> Ordering {
        self.compare_positions(&self.position(left), &self.position(right))
    }
}

fn id(document: &Value) -> Option<&str> {
    document.get("id").and_then(Value::as_str)
}

impl SortKey {
    fn from_json(json: &Value) -> Result<Self> {
        let Some(Value::String(name)) = json.get("sortBy") else {
            return Err(Error::bad_request(
                "sort must be an array of objects such as {\"sortBy\":\"title\",\"direction\":\"asc\"}",
            ));
        };
        let direction = match json.get("direction") {
            None | Some(Value::Null) => Direction::default(),
            Some(Value::String(text)) if text == "asc" => Direction::Ascending,
            Some(Value::String(text)) if text == "desc" => Direction::Descending,
            Some(_) => {
                return Err(Error::bad_request(
                    "the direction of a sort is \"asc\" or \"desc\"",
                ));
            }
        };
        Ok(Self {
            path: Path::parse(name, "sort by")?,
            direction,
        })
    }
}

impl<'a> SortValue<'a> {
    /// What `document` sorts by under `path`.
    pub fn at(document: &'a Value, path: &Path) -> Self {
        let mut value = document;
        for segment in path.segments() {
            let next = match (value, segment) {
                (Value::Object(members), Segment { name, .. }) => members.get(name),
                (
                    Value::Array(items),
                    Segment {
                        index: Some(index), ..
                    },
                ) => items.get(*index),
                (Value::Array(_), _) => return Self::Array,
                _ => None,
            };
            let Some(next) = next else {
                return Self::Nothing;
            };
            value = next;
        }
        Self::of(value)
    }

    /// What a value itself sorts by.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(flag) => Self::Boolean(*flag),
            Value::String(text) => Self::Text(text),
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Real(super::value::real(number)),
            },
        }
    }

    /// A value that sorts alike and is small, unless it is a text.
    fn to_json(self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Integer(integer) => json!(integer),
            Self::Real(real) => json!(real),
            Self::Text(text) => json!(text),
            Self::Object => json!({}),
            Self::Array => json!([]),
            Self::Boolean(flag) => json!(flag),
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Integer(left), Self::Real(right)) => compare_whole_to_real(left.into(), right),
            (Self::Real(left), Self::Integer(right)) => {
                compare_whole_to_real(right.into(), left).reverse()
            }
            (Self::Real(left), Self::Real(right)) => compare_reals(left, right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Boolean(left), Self::Boolean(right)) => left.cmp(&right),
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Integer(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
            Self::Object => 3,
            Self::Array => 4,
            Self::Boolean(_) => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sorted(sort: &str, mut documents: Vec<Value>) -> Vec<String> {
        let sort = Sort::parse(sort).unwrap();
        documents.sort_by(|left, right| sort.compare(left, right));
        documents
            .iter()
            .map(|document| document["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn types_come_in_the_documented_order() {
        let documents = vec![
            json!({"id": "13", "a": true}),
            json!({"id": "12", "a": false}),
            json!({"id": "11", "a": []}),
            json!({"id": "10", "a": [0]}),
            json!({"id": "09", "a": {"x": 1}}),
            json!({"id": "08", "a": {}}),
            json!({"id": "07", "a": "\u{10000}"}),
            json!({"id": "06", "a": "\u{ffff}"}),
            json!({"id": "05", "a": ""}),
            json!({"id": "04", "a": 2}),
            json!({"id": "03", "a": 1.5}),
            json!({"id": "02", "a": null}),
            json!({"id": "01"}),
        ];
        let ascending = sorted(r#"[{"sortBy":"a"}]"#, documents.clone());
        assert_eq!(
            ascending,
            [
                "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13"
            ]
        );
        let descending = sorted(r#"{"sortBy":"a","direction":"desc"}"#, documents);
        assert_eq!(
            descending,
            [
                "13", "12", "10", "11", "08", "09", "07", "06", "05", "04", "03", "01", "02"
            ]
        );
    }

    #[test]
    fn later_keys_and_at_last_the_id_break_ties() {
        let documents = vec![
            json!({"id": "4", "a": 1, "b": "x"}),
            json!({"id": "3", "a": 1.0, "b": "x"}),
            json!({"id": "2", "a": 1, "b": "y"}),
            json!({"id": "1", "a": 0, "b": "x"}),
        ];
        let order = sorted(
            r#"[{"sortBy":"b","direction":"desc"},{"sortBy":"a","direction":"desc"}]"#,
            documents.clone(),
        );
        assert_eq!(order, ["2", "3", "4", "1"]);
        assert_eq!(sorted("[]", documents), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_path_leads_through_objects_and_places() {
        let path = |text| Path::parse(text, "sort by").unwrap();
        let document = json!({"a": {"b": [{"c": 1}, 2], "0": "zero"}});
        for (text, expected) in [
            ("a.b.0.c", SortValue::Integer(1)),
            ("a.b.1", SortValue::Integer(2)),
            ("a.b.2", SortValue::Nothing),
            ("a.b.c", SortValue::Array),
            ("a.b.c.d", SortValue::Array),
            ("a.b", SortValue::Array),
            ("a.0", SortValue::Text("zero")),
            ("a", SortValue::Object),
            ("a.x.y", SortValue::Nothing),
            ("a.b.0.c.d", SortValue::Nothing),
        ] {
            assert_eq!(SortValue::at(&document, &path(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        let many = format!("[{}]", [r#"{"sortBy":"a"}"#; KEYS_MAX + 1].join(","));
        let cases = [
            ("{", "sort is not JSON"),
            ("1", "sort must be an array"),
            ("[1]", "sort must be an array"),
            ("{}", "sort must be an array"),
            (r#"{"sortBy":1}"#, "sort must be an array"),
            (r#"{"sortBy":""}"#, "`` is no property to sort by"),
            (r#"{"sortBy":"$a"}"#, "`$a` is no property to sort by"),
            (r#"{"sortBy":"a..b"}"#, "`a..b` is no property to sort by"),
            (
                r#"{"sortBy":"a","direction":"up"}"#,
                "the direction of a sort",
            ),
            (r#"{"sortBy":"a","direction":1}"#, "the direction of a sort"),
            (&many, "sort has at most 8"),
        ];
        for (text, expected) in cases {
            let error = Sort::parse(text).unwrap_err();
            assert_eq!(error.kind, crate::Kind::BadRequest);
            assert!(
                error.message.starts_with(expected),
                "{text}: {}",
                error.message
            );
        }
    }
}
