//! What *equal* and *less* mean between JSON values.
//!
//! Values of different types are neither equal nor ordered: `1`, `"1"` and `true` have nothing in common.
//! Numbers compare by their mathematical value, however they are written: `5` is `5.0`, and 2^53 + 1 is not the
//! double 2^53. Texts compare by code point. Arrays are equal item by item, objects member by member in any order.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::{ObjectId, ObjectType};

/// A reference to an object, as queries and documents write it: `{"id","objectType"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    pub id: &'a str,
    pub object_type: &'a str,
}

impl<'a> Reference<'a> {
    /// The reference that a query's value stands for: an object whose `id` is an object id and whose
    /// `objectType` is an object type. Clients send whole objects where a reference is meant, so other members
    /// do not count.
    pub fn of(value: &'a Value) -> Option<Self> {
        let id = value.get("id")?.as_str()?;
        let object_type = value.get("objectType")?.as_str()?;
        let valid = id.parse::<ObjectId>().is_ok() && object_type.parse::<ObjectType>().is_ok();
        valid.then_some(Self { id, object_type })
    }

    /// The reference alone, as it is stored and returned.
    pub fn to_json(self) -> Value {
        serde_json::json!({"id": self.id, "objectType": self.object_type})
    }

    fn is_named_by(self, stored: &Value) -> bool {
        let text = |name| stored.get(name).and_then(Value::as_str);
        text("id") == Some(self.id) && text("objectType") == Some(self.object_type)
    }
}

/// Whether a stored value is what a query asks for.
///
/// Where the query holds a [`Reference`], at whatever depth, a stored object with this `id` and `objectType` is
/// equal to it, whatever else either of them holds. All other values are compared whole.
pub fn same(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Number(stored), Value::Number(wanted)) => compare_numbers(stored, wanted).is_eq(),
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len()
                && stored
                    .iter()
                    .zip(wanted)
                    .all(|(stored, wanted)| same(stored, wanted))
        }
        (Value::Object(members), Value::Object(wishes)) => match Reference::of(wanted) {
            Some(reference) => reference.is_named_by(stored),
            None => {
                members.len() == wishes.len()
                    && wishes.iter().all(|(name, wish)| {
                        members.get(name).is_some_and(|member| same(member, wish))
                    })
            }
        },
        (stored, wanted) => stored == wanted,
    }
}

/// Orders two numbers by their mathematical value, exactly.
pub fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => compare_whole_to_real(left, real(right)),
        (None, Some(right)) => compare_whole_to_real(right, real(left)).reverse(),
        (None, None) => compare_reals(real(left), real(right)),
    }
}

/// The number as a whole one, if it was written as one.
pub(crate) fn whole(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

pub(crate) fn real(number: &Number) -> f64 {
    number.as_f64().expect("a JSON number has a nearest double")
}

pub(crate) fn compare_reals(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .expect("JSON has no number that is none")
}

/// Converting the whole number to a double would round it, so the double is split instead.
pub(crate) fn compare_whole_to_real(whole: i128, real: f64) -> Ordering {
    // Beyond any whole number of JSON's; inside, truncation is exact.
    const FAR: f64 = (1_u128 << 100) as f64;
    if real.abs() >= FAR {
        return compare_reals(0.0, real);
    }
    let truncated = real.trunc();
    whole
        .cmp(&(truncated as i128))
        .then_with(|| compare_reals(truncated, real))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "51cdbc08989e975ec300772a";

    #[test]
    fn numbers_are_ordered_by_their_mathematical_value() {
        let ascending = [
            json!(-1e300),
            json!(i64::MIN),
            json!(-2.5),
            json!(-2),
            json!(-1e-300),
            json!(0),
            json!(5e-324),
            json!(0.1),
            json!(2),
            json!(2.000_000_000_000_000_4),
            json!(9_007_199_254_740_992.0),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808.0),
            json!(9_223_372_036_854_775_809_u64),
            json!(18_446_744_073_709_551_614_u64),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(1e300),
        ];
        for (left_place, left) in ascending.iter().enumerate() {
            for (right_place, right) in ascending.iter().enumerate() {
                let (Value::Number(left), Value::Number(right)) = (left, right) else {
                    panic!("only numbers here");
                };
                assert_eq!(
                    compare_numbers(left, right),
                    left_place.cmp(&right_place),
                    "{left} and {right}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        for (left, right) in [
            ("5", "5.0"),
            ("0", "-0.0"),
            ("-0", "0"),
            ("1e2", "100"),
            ("18446744073709551616", "1.8446744073709551616e19"),
        ] {
            let (left, right): (Value, Value) = (
                serde_json::from_str(left).unwrap(),
                serde_json::from_str(right).unwrap(),
            );
            assert!(same(&left, &right), "{left} and {right}");
        }
    }

    #[test]
    fn types_have_nothing_in_common() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(1),
            json!(""),
            json!("1"),
            json!("true"),
            json!([]),
            json!([1]),
            json!({}),
            json!({"a": 1}),
        ];
        for (left_place, left) in values.iter().enumerate() {
            for (right_place, right) in values.iter().enumerate() {
                assert_eq!(
                    same(left, right),
                    left_place == right_place,
                    "{left} and {right}"
                );
            }
        }
    }

    #[test]
    fn objects_are_equal_in_any_order_and_arrays_only_in_theirs() {
        assert!(same(
            &json!({"a": 1, "b": [2]}),
            &json!({"b": [2.0], "a": 1})
        ));
        assert!(!same(&json!({"a": 1, "b": 2}), &json!({"a": 1})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!([1, 2]), &json!([2, 1])));
        assert!(!same(&json!([1, 2]), &json!([1])));
    }

    #[test]
    fn a_reference_is_equal_by_id_and_type() {
        let wanted = json!({"objectType": "objects.todos", "id": ID, "title": "sent along"});
        assert!(same(
            &json!({"id": ID, "objectType": "objects.todos"}),
            &wanted
        ));
        assert!(same(
            &json!([{"x": {"id": ID, "objectType": "objects.todos", "y": 1}}]),
            &json!([{ "x": wanted }])
        ));
        for stored in [
            json!({"id": ID, "objectType": "objects.others", "title": "sent along"}),
            json!({"id": "51cdbc08989e975ec300772b", "objectType": "objects.todos"}),
            json!({"id": ID}),
            json!(ID),
            json!(null),
        ] {
            assert!(!same(&stored, &wanted), "{stored}");
        }
    }

    #[test]
    fn an_object_that_only_resembles_a_reference_is_compared_whole() {
        for wanted in [
            json!({"id": "1", "objectType": "objects.todos"}),
            json!({"id": ID, "objectType": "apple"}),
            json!({"id": ID, "objectType": 1}),
        ] {
            let mut more = wanted.clone();
            more["more"] = json!(1);
            assert_eq!(Reference::of(&wanted), None);
            assert!(same(&wanted, &wanted));
            assert!(!same(&more, &wanted));
        }
    }
}
