//! The tree of a filter: what `q` says, checked and with its shorthands written out.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::geo::{Near, Shape};
use super::path::Path;

/// A checked filter, with the JSON it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub(super) condition: Condition,
    pub(super) source: Value,
}

/// A condition on a whole document.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All hold; an empty list always holds. From `$and`, and from the members of an object.
    All(Vec<Condition>),
    /// At least one holds. From `$or`.
    Any(Vec<Condition>),
    /// It does not hold. `$nor` is the opposite of [`Condition::Any`].
    Not(Box<Condition>),
    Field(Field),
}

/// A condition on what a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub path: Path,
    pub test: Test,
    /// This condition alone, as the JSON of a whole filter: an engine that cannot carry it out itself hands it
    /// to the evaluator in this spelling.
    pub source: Value,
}

/// A test of a value. Operators that say the same share a test: `$eq` is `$in` with one value, `$ne` its
/// opposite, `$all` several of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Equal to one of the values; to none when there are none.
    OneOf(Vec<Value>),
    /// Before or after the operand, which is of the same type.
    Compare(Comparison, Scalar),
    /// There is a value, if only `null`.
    Exists,
    /// An array of this length.
    Size(u64),
    /// A number that leaves this remainder. The divisor is not zero.
    Remainder {
        divisor: i64,
        remainder: i64,
    },
    /// A text in which the pattern is found.
    Matches(Pattern),
    /// A location within some distance of another.
    Near(Near),
    /// A location in a shape.
    Within(Shape),
    /// An array with an object among its elements for which the condition holds.
    Element(Box<Condition>),
    /// An array with an element that passes the test.
    ElementPasses(Box<Test>),
    /// All tests, each on its own: different elements of an array may pass them.
    All(Vec<Test>),
    Not(Box<Test>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value that has an order among its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
}

/// A compiled regular expression; its search takes linear time.
#[derive(Clone, Debug)]
pub struct Pattern(pub(super) Regex);

impl Default for Filter {
    /// The filter that every document passes.
    fn default() -> Self {
        Self {
            condition: Condition::All(Vec::new()),
            source: Value::Object(Map::new()),
        }
    }
}

impl Filter {
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The JSON that the filter was read from, for echoes.
    pub fn source(&self) -> &Value {
        &self.source
    }
}

impl Comparison {
    /// Whether a value that is so ordered against the operand passes.
    pub fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Patterns are equal when they are written alike.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
