//! Atomic updates: documents of operators that change an object where it is stored (`eds.md` §17).
//!
//! [`Update::from_json`] reads and checks one, [`Update::apply`] carries it out: all of it, or nothing. The meaning
//! is MongoDB's where that is not silent:
//!
//! - No two operators may name the same property, or one inside the other's; so their order does not matter.
//! - `null` counts as missing: `$inc` starts from 0 and `$push` with an empty array, and a path leads through it as
//!   if nothing were there, because `null` is how clients of this protocol clear a property.
//! - Whole numbers stay whole. A result that does not fit 64 bits is an error, never a rounded number.
//! - `$min` and `$max` compare numbers with numbers and texts with texts, which times are too.
//! - A path meets an element of an array by its place. One beyond the end fills the gap with `null`, up to
//!   [`GAP_MAX`]; `$unset` leaves `null` in an element's place.
//! - `$pull` takes a value, an object of operators, or conditions that an element must meet.
//! - `$pop` with -1 removes the first element, with anything else the last.

mod apply;

use serde_json::{Number, Value};

use crate::object::{SYSTEM_PROPERTIES, check_value};
use crate::query::filter::Test;
use crate::query::parse::{self, shorten};
use crate::query::path::Path;
use crate::{Error, ObjectType, Result, wrapper};

/// How many changes one update may make.
pub const CHANGES_MAX: usize = 100;
/// How many values the lists of one update may hold together.
pub const VALUES_MAX: usize = 1000;
/// How many bytes the properties of an updated object may take as JSON, unless they took more before.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// How many elements a place beyond the end of an array may skip.
pub const GAP_MAX: usize = 1000;

const OPERATORS: &str =
    "$inc $mul $min $max $set $unset $push $addToSet $pull $pullAll $pop $rename";

/// A checked update: whoever holds one can only fail on what is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// No path is within another.
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq)]
struct Change {
    path: Path,
    action: Action,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Increase(Number),
    Multiply(Number),
    /// A number or a text; the lesser stays.
    Lower(Value),
    /// A number or a text; the greater stays.
    Raise(Value),
    Set(Value),
    Unset,
    Push(Vec<Value>),
    AddToSet(Vec<Value>),
    Pull(Pulled),
    PopFirst,
    PopLast,
    Rename(Path),
}

/// Which elements of an array go.
#[derive(Clone, Debug, PartialEq)]
enum Pulled {
    OneOf(Vec<Value>),
    Passing(Box<Test>),
}

impl Update {
    /// Reads the body of an atomic call on an object of this type. Refuses what is no update document, what
    /// contradicts itself, and what is not the caller's to change.
    pub fn from_json(body: &Value, object_type: &ObjectType) -> Result<Self> {
        let Some(operators) = body.as_object().filter(|operators| !operators.is_empty()) else {
            return refuse(
                "the body must be an object of operators, such as {\"$inc\":{\"count\":1}}",
            );
        };
        let mut reader = Reader::default();
        for (operator, operand) in operators {
            reader.operator(operator, operand)?;
        }
        let update = Self {
            changes: reader.changes,
        };
        update.check_paths(object_type)?;
        Ok(update)
    }

    /// All paths that are written or removed.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().flat_map(|change| {
            let target = match &change.action {
                Action::Rename(target) => Some(target),
                _ => None,
            };
            std::iter::once(&change.path).chain(target)
        })
    }

    fn check_paths(&self, object_type: &ObjectType) -> Result<()> {
        let mut paths: Vec<Vec<&str>> = Vec::new();
        for path in self.paths() {
            let names: Vec<&str> = path
                .segments()
                .iter()
                .map(|segment| segment.name.as_str())
                .collect();
            check_owner(names[0], object_type)?;
            paths.push(names);
        }
        if paths.is_empty() {
            return refuse("the operators name no property; there is nothing to change");
        }
        // Sorted, whatever is within a path stands right behind it.
        paths.sort_unstable();
        match paths.windows(2).find(|pair| pair[1].starts_with(&pair[0])) {
            Some(pair) => refuse(format!(
                "`{}` and `{}` change the same property; name it once, or send two updates",
                shorten(&pair[0].join(".")),
                shorten(&pair[1].join("."))
            )),
            None => Ok(()),
        }
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::bad_request(message))
}

fn check_owner(property: &str, object_type: &ObjectType) -> Result<()> {
    if SYSTEM_PROPERTIES.contains(&property) {
        return Err(Error::invalid(
            property,
            "is kept by the server; leave it out",
        ));
    }
    // On other types it is plain data (`eds.md` §4.7).
    if object_type.as_str() == "users" && property == "password" {
        return Err(Error::invalid(
            property,
            "cannot be changed by operators; set it with a plain PUT",
        ));
    }
    Ok(())
}

/// Counts what must stay few over a whole update.
#[derive(Default)]
struct Reader {
    changes: Vec<Change>,
    values: usize,
}

impl Reader {
    fn operator(&mut self, operator: &str, operand: &Value) -> Result<()> {
        if !OPERATORS.split(' ').any(|known| known == operator) {
            return refuse(match operator.starts_with('$') {
                true => format!(
                    "`{}` is not an operator; there are {OPERATORS}",
                    shorten(operator)
                ),
                false => format!(
                    "`{}` is not an operator; to set it, write {{\"$set\":{{…}}}} or send a plain PUT",
                    shorten(operator)
                ),
            });
        }
        let Value::Object(members) = operand else {
            return refuse(format!(
                "`{operator}` needs an object of properties, such as {{\"{operator}\":{{\"name\":…}}}}"
            ));
        };
        if self.changes.len() + members.len() > CHANGES_MAX {
            return refuse(format!(
                "an update makes at most {CHANGES_MAX} changes; send several"
            ));
        }
        for (name, value) in members {
            let path = path(name)?;
            let action = self.action(operator, name, value)?;
            self.changes.push(Change { path, action });
        }
        Ok(())
    }

    fn action(&mut self, operator: &str, name: &str, value: &Value) -> Result<Action> {
        Ok(match operator {
            "$inc" => Action::Increase(number(operator, name, value)?),
            "$mul" => Action::Multiply(number(operator, name, value)?),
            "$min" => Action::Lower(ordered(operator, name, value)?),
            "$max" => Action::Raise(ordered(operator, name, value)?),
            "$set" => Action::Set(stored(name, value)?),
            "$unset" => Action::Unset,
            "$push" => Action::Push(self.each(operator, name, value)?),
            "$addToSet" => Action::AddToSet(self.each(operator, name, value)?),
            "$pull" => Action::Pull(pulled(name, value)?),
            "$pullAll" => Action::Pull(Pulled::OneOf(self.list(operator, name, value)?)),
            "$pop" if value.as_f64() == Some(-1.0) => Action::PopFirst,
            "$pop" => Action::PopLast,
            "$rename" => match value {
                Value::String(target) => Action::Rename(path(target)?),
                _ => {
                    return refuse(
                        "`$rename` needs the new name, such as {\"$rename\":{\"old\":\"new\"}}",
                    );
                }
            },
            _ => unreachable!("the operator was looked up"),
        })
    }

    /// One value, or those of `$each`.
    fn each(&mut self, operator: &str, name: &str, value: &Value) -> Result<Vec<Value>> {
        let members = value
            .as_object()
            .filter(|members| members.contains_key("$each"));
        let Some(members) = members else {
            self.count(1)?;
            return Ok(vec![stored(name, value)?]);
        };
        match members.keys().find(|key| *key != "$each") {
            Some(other) => refuse(format!(
                "`{}` is not supported beside $each in `{operator}`; leave it out",
                shorten(other)
            )),
            None => self.list("$each", name, &members["$each"]),
        }
    }

    fn list(&mut self, operator: &str, name: &str, value: &Value) -> Result<Vec<Value>> {
        let Value::Array(items) = value else {
            return refuse(format!(
                "`{operator}` needs an array of values for `{}`",
                shorten(name)
            ));
        };
        self.count(items.len())?;
        items.iter().map(|item| stored(name, item)).collect()
    }

    fn count(&mut self, values: usize) -> Result<()> {
        self.values += values;
        match self.values > VALUES_MAX {
            true => refuse(format!(
                "the lists of an update hold at most {VALUES_MAX} values together; send several updates"
            )),
            false => Ok(()),
        }
    }
}

fn path(name: &str) -> Result<Path> {
    let path = Path::parse(name, "change")?;
    match path
        .segments()
        .iter()
        .any(|segment| segment.name.starts_with('$'))
    {
        true => refuse(format!(
            "`{}` names an element by $; name it by its place, as in `list.0`",
            shorten(name)
        )),
        false => Ok(path),
    }
}

/// A value as it will be stored: checked, and with its wrappers opened.
fn stored(name: &str, value: &Value) -> Result<Value> {
    let fault = |message: String| Error::invalid(shorten(name), message);
    check_value(value, 1).map_err(fault)?;
    wrapper::open_all(value.clone()).map_err(fault)
}

fn number(operator: &str, name: &str, value: &Value) -> Result<Number> {
    match value {
        Value::Number(number) => Ok(number.clone()),
        _ => refuse(format!(
            "`{operator}` needs a number for `{}`",
            shorten(name)
        )),
    }
}

fn ordered(operator: &str, name: &str, value: &Value) -> Result<Value> {
    match stored(name, value)? {
        value @ (Value::Number(_) | Value::String(_)) => Ok(value),
        _ => refuse(format!(
            "`{operator}` compares with a number, a text or a time for `{}`",
            shorten(name)
        )),
    }
}

fn pulled(name: &str, value: &Value) -> Result<Pulled> {
    match value {
        Value::Object(members) if !wrapper::is_wrapper(members) => {
            parse::element_test(value).map(|test| Pulled::Passing(Box::new(test)))
        }
        plain => Ok(Pulled::OneOf(vec![stored(name, plain)?])),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
