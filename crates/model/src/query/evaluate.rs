//! The meaning of a filter: whether a document passes it. Every SQL dialect is held to what this module says.
//!
//! A path leads to *places*. An object leads on to the member of the name, or to a missing value when it has
//! none; a value that is neither object nor array leads to a missing value. An array leads on through each of its
//! elements that is an object, and, when the name is a number, to the element at that place; elements that are no
//! objects lead nowhere. A field passes a test when one of its places does; a negated test is passed when the
//! test itself is not, so `$ne`, `$nin` and `$not` look at all places.
//!
//! At a place, the tests for equality, order, remainder, pattern and location ask the value itself and, if it is an
//! array, each element. The tests for existence, size and elements ask only the value itself. A missing value counts as
//! `null`.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::filter::{Condition, Field, Filter, Pattern, Scalar, Test};
use super::geo::Point;
use super::path::Segment;
use super::value::{compare_numbers, real, same, whole};

impl Filter {
    /// Whether the document passes.
    pub fn matches(&self, document: &Value) -> bool {
        self.condition.holds(document)
    }
}

impl Condition {
    fn holds(&self, document: &Value) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(document)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(document)),
            Self::Not(condition) => !condition.holds(document),
            Self::Field(Field { path, test, .. }) => {
                some_place_passes(document, path.segments(), test)
            }
        }
    }
}

fn some_place_passes(document: &Value, path: &[Segment], test: &Test) -> bool {
    match test {
        Test::All(tests) => tests
            .iter()
            .all(|test| some_place_passes(document, path, test)),
        Test::Not(test) => !some_place_passes(document, path, test),
        test => any_place(document, path, &mut |place| test.accepts_place(place)),
    }
}

/// Visits the places that a path leads to, until the visitor says yes.
pub(super) fn any_place(
    document: &Value,
    path: &[Segment],
    visit: &mut dyn FnMut(Option<&Value>) -> bool,
) -> bool {
    leads_to(Some(document), path, visit)
}

fn leads_to(
    value: Option<&Value>,
    path: &[Segment],
    visit: &mut dyn FnMut(Option<&Value>) -> bool,
) -> bool {
    let Some((segment, rest)) = path.split_first() else {
        return visit(value);
    };
    match value {
        Some(Value::Object(members)) => leads_to(members.get(&segment.name), rest, visit),
        Some(Value::Array(items)) => {
            let place = segment.index.and_then(|index| items.get(index));
            place.is_some_and(|item| leads_to(Some(item), rest, visit))
                || items
                    .iter()
                    .filter(|item| item.is_object())
                    .any(|item| leads_to(Some(item), path, visit))
        }
        _ => visit(None),
    }
}

impl Test {
    /// Whether an element of an array passes a test of elements.
    pub(crate) fn accepts_element(&self, item: &Value) -> bool {
        match self {
            Self::ElementPasses(test) => test.accepts(Some(item)),
            Self::Element(condition) => item.is_object() && condition.holds(item),
            test => test.accepts(Some(item)),
        }
    }

    fn accepts_place(&self, value: Option<&Value>) -> bool {
        if self.accepts(value) {
            return true;
        }
        match value {
            Some(Value::Array(items)) if self.asks_elements() => {
                items.iter().any(|item| self.accepts(Some(item)))
            }
            _ => false,
        }
    }

    fn asks_elements(&self) -> bool {
        match self {
            Self::OneOf(_) | Self::Compare(..) | Self::Remainder { .. } | Self::Matches(_) => true,
            Self::Near(_) | Self::Within(_) => true,
            Self::Exists | Self::Size(_) | Self::Element(_) | Self::ElementPasses(_) => false,
            // They are taken apart before a place is reached.
            Self::All(_) | Self::Not(_) => false,
        }
    }

    /// Whether this one value passes.
    fn accepts(&self, value: Option<&Value>) -> bool {
        match self {
            Self::OneOf(wanted) => {
                let value = value.unwrap_or(&Value::Null);
                wanted.iter().any(|wanted| same(value, wanted))
            }
            Self::Compare(comparison, operand) => operand
                .order(value.unwrap_or(&Value::Null))
                .is_some_and(|order| comparison.accepts(order)),
            Self::Exists => value.is_some(),
            Self::Size(size) => items(value)
                .is_some_and(|items| u64::try_from(items.len()).is_ok_and(|n| n == *size)),
            Self::Remainder { divisor, remainder } => match value {
                Some(Value::Number(number)) => {
                    leaves(number, *divisor).is_some_and(|left| left == i128::from(*remainder))
                }
                _ => false,
            },
            Self::Matches(pattern) => match value {
                Some(Value::String(text)) => pattern.is_in(text),
                _ => false,
            },
            Self::Element(_) | Self::ElementPasses(_) => items(value)
                .is_some_and(|items| items.iter().any(|item| self.accepts_element(item))),
            Self::Near(near) => value.is_some_and(|value| near.accepts(value)),
            Self::Within(shape) => value
                .and_then(Point::of)
                .is_some_and(|point| shape.contains(point)),
            Self::All(tests) => tests.iter().all(|test| test.accepts(value)),
            Self::Not(test) => !test.accepts(value),
        }
    }
}

fn items(value: Option<&Value>) -> Option<&[Value]> {
    value.and_then(Value::as_array).map(Vec::as_slice)
}

impl Scalar {
    /// How `value` stands to this operand; `None` when they are of different types.
    fn order(&self, value: &Value) -> Option<Ordering> {
        match (value, self) {
            (Value::Null, Self::Null) => Some(Ordering::Equal),
            (Value::Bool(value), Self::Boolean(operand)) => Some(value.cmp(operand)),
            (Value::Number(value), Self::Number(operand)) => Some(compare_numbers(value, operand)),
            (Value::String(value), Self::Text(operand)) => Some(value.as_str().cmp(operand)),
            _ => None,
        }
    }
}

impl Pattern {
    /// Whether the pattern is found somewhere in the text.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The remainder of the number, cut to a whole one; it has the number's sign. Numbers of 2^64 and more have none.
fn leaves(number: &Number, divisor: i64) -> Option<i128> {
    const FAR: f64 = 18_446_744_073_709_551_616.0;
    let whole = match whole(number) {
        Some(whole) => whole,
        None if real(number).abs() < FAR => real(number) as i128,
        None => return None,
    };
    whole.checked_rem(i128::from(divisor))
}

#[cfg(test)]
mod tests;
