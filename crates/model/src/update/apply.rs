//! What the operators do to the properties of an object.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{Action, Change, GAP_MAX, Pulled, RESULT_BYTES_MAX, Update};
use crate::object::check_value;
use crate::query::parse::shorten;
use crate::query::path::{Path, Segment};
use crate::query::value::{compare_numbers, real, same, whole};
use crate::{Error, Result};

/// How many comparisons of elements `$addToSet` and `$pullAll` may take in one update.
const COMPARISONS_MAX: usize = 1_000_000;

type Properties = Map<String, Value>;

impl Update {
    /// Carries out all changes on an object's own properties, or none: a failure leaves nothing behind.
    pub fn apply(&self, before: &Properties) -> Result<Properties> {
        let mut after = before.clone();
        let mut work = Work::default();
        for change in &self.changes {
            change.apply(&mut after, &mut work)?;
        }
        for path in self.paths() {
            let name = &path.segments()[0].name;
            let value = after.get(name).unwrap_or(&Value::Null);
            check_value(value, 1).map_err(|fault| Error::invalid(shorten(name), fault))?;
        }
        check_bytes(before, &after)?;
        Ok(after)
    }
}

fn check_bytes(before: &Properties, after: &Properties) -> Result<()> {
    let bytes = |properties: &Properties| {
        serde_json::to_string(properties).map_or(usize::MAX, |text| text.len())
    };
    let now = bytes(after);
    if now > RESULT_BYTES_MAX && now > bytes(before) {
        return Err(Error::too_large(format!(
            "the object would grow to {now} bytes; an update may make it at most {RESULT_BYTES_MAX}"
        )));
    }
    Ok(())
}

#[derive(Default)]
struct Work {
    comparisons: usize,
}

impl Work {
    fn compare(&mut self, stored: usize, wanted: usize) -> Result<()> {
        self.comparisons = self
            .comparisons
            .saturating_add(stored.saturating_mul(wanted));
        match self.comparisons > COMPARISONS_MAX {
            true => Err(Error::bad_request(
                "the update compares too many elements; send fewer values at once",
            )),
            false => Ok(()),
        }
    }
}

impl Change {
    fn apply(&self, properties: &mut Properties, work: &mut Work) -> Result<()> {
        let path = &self.path;
        match &self.action {
            Action::Set(value) => *make(properties, path)? = value.clone(),
            Action::Unset => {
                remove(properties, path);
            }
            Action::Increase(number) => {
                let slot = make(properties, path)?;
                *slot = match number_at(slot, path, "$inc")? {
                    None => number.clone().into(),
                    Some(stored) => add(stored, number).ok_or_else(|| overflow(path))?.into(),
                };
            }
            Action::Multiply(number) => {
                let slot = make(properties, path)?;
                *slot = match number_at(slot, path, "$mul")? {
                    None if number.is_f64() => 0.0.into(),
                    None => 0.into(),
                    Some(stored) => multiply(stored, number)
                        .ok_or_else(|| overflow(path))?
                        .into(),
                };
            }
            Action::Lower(value) => keep(make(properties, path)?, path, value, Ordering::Greater)?,
            Action::Raise(value) => keep(make(properties, path)?, path, value, Ordering::Less)?,
            Action::Push(values) => {
                array_at(make(properties, path)?, path)?.extend_from_slice(values)
            }
            Action::AddToSet(values) => {
                let items = array_at(make(properties, path)?, path)?;
                work.compare(items.len() + values.len(), values.len())?;
                for value in values {
                    if !items.iter().any(|item| same(item, value)) {
                        items.push(value.clone());
                    }
                }
            }
            Action::Pull(pulled) => {
                if let Some(items) = existing_array(properties, path)? {
                    pull(items, pulled, work)?;
                }
            }
            Action::PopFirst => {
                if let Some(items) =
                    existing_array(properties, path)?.filter(|items| !items.is_empty())
                {
                    items.remove(0);
                }
            }
            Action::PopLast => {
                if let Some(items) = existing_array(properties, path)? {
                    items.pop();
                }
            }
            Action::Rename(target) => rename(properties, path, target)?,
        }
        Ok(())
    }
}

fn wrong(path: &Path, message: impl Into<String>) -> Error {
    Error::invalid(shorten(&path.to_string()), message)
}

/// What the path leads to, if it is there.
fn find<'a>(properties: &'a mut Properties, path: &Path) -> Option<&'a mut Value> {
    let (first, rest) = path.segments().split_first()?;
    rest.iter().try_fold(
        properties.get_mut(&first.name)?,
        |value, segment| match value {
            Value::Object(members) => members.get_mut(&segment.name),
            Value::Array(items) => items.get_mut(segment.index?),
            _ => None,
        },
    )
}

/// What the path leads to, made where it is missing; a new one is `null`.
fn make<'a>(properties: &'a mut Properties, path: &Path) -> Result<&'a mut Value> {
    let (first, rest) = path.segments().split_first().expect("a path has a segment");
    let mut value = properties.entry(first.name.clone()).or_insert(Value::Null);
    for segment in rest {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        value = match value {
            Value::Object(members) => members.entry(segment.name.clone()).or_insert(Value::Null),
            Value::Array(items) => element(items, segment, path)?,
            _ => {
                let fault = format!(
                    "cannot be reached: what stands before `{}` is no object",
                    shorten(&segment.name)
                );
                return Err(wrong(path, fault));
            }
        };
    }
    Ok(value)
}

fn element<'a>(items: &'a mut Vec<Value>, segment: &Segment, path: &Path) -> Result<&'a mut Value> {
    let Some(index) = segment.index else {
        let fault = format!(
            "cannot be reached: `{}` stands behind an array; use a place",
            shorten(&segment.name)
        );
        return Err(wrong(path, fault));
    };
    if index.saturating_sub(items.len()) > GAP_MAX {
        let fault =
            format!("lies more than {GAP_MAX} places beyond the end of its array; use $push");
        return Err(wrong(path, fault));
    }
    if items.len() <= index {
        items.resize(index + 1, Value::Null);
    }
    Ok(&mut items[index])
}

/// Takes out what the path leads to. An element of an array leaves `null` in its place.
fn remove(properties: &mut Properties, path: &Path) -> Option<Value> {
    let (last, before) = path.segments().split_last()?;
    if before.is_empty() {
        return properties.shift_remove(&last.name);
    }
    match find(properties, &path.parent()?)? {
        Value::Object(members) => members.shift_remove(&last.name),
        Value::Array(items) => items.get_mut(last.index?).map(Value::take),
        _ => None,
    }
}

fn rename(properties: &mut Properties, path: &Path, target: &Path) -> Result<()> {
    for end in [path, target] {
        if meets_array(properties, end) {
            return Err(wrong(
                end,
                "cannot be renamed: there is an array on the way",
            ));
        }
    }
    if let Some(value) = remove(properties, path) {
        *make(properties, target)? = value;
    }
    Ok(())
}

fn meets_array(properties: &Properties, path: &Path) -> bool {
    let (first, rest) = path.segments().split_first().expect("a path has a segment");
    let mut value = properties.get(&first.name);
    for segment in rest {
        match value {
            Some(Value::Array(_)) => return true,
            Some(Value::Object(members)) => value = members.get(&segment.name),
            _ => return false,
        }
    }
    false
}

fn number_at<'a>(value: &'a Value, path: &Path, operator: &str) -> Result<Option<&'a Number>> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(Some(number)),
        _ => Err(wrong(
            path,
            format!("is not a number, which `{operator}` needs"),
        )),
    }
}

fn array_at<'a>(value: &'a mut Value, path: &Path) -> Result<&'a mut Vec<Value>> {
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(wrong(path, "is not an array, which this operator needs")),
    }
}

fn existing_array<'a>(
    properties: &'a mut Properties,
    path: &Path,
) -> Result<Option<&'a mut Vec<Value>>> {
    match find(properties, path) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => array_at(value, path).map(Some),
    }
}

fn pull(items: &mut Vec<Value>, pulled: &Pulled, work: &mut Work) -> Result<()> {
    match pulled {
        Pulled::OneOf(values) => {
            work.compare(items.len(), values.len())?;
            items.retain(|item| !values.iter().any(|value| same(item, value)));
        }
        Pulled::Passing(test) => items.retain(|item| !test.accepts_element(item)),
    }
    Ok(())
}

/// Puts the value in the place of one that stands `order` to it, and of one that is missing.
fn keep(slot: &mut Value, path: &Path, value: &Value, order: Ordering) -> Result<()> {
    let stands = match (&*slot, value) {
        (Value::Null, _) => order,
        (Value::Number(stored), Value::Number(value)) => compare_numbers(stored, value),
        (Value::String(stored), Value::String(value)) => stored.cmp(value),
        _ => {
            return Err(wrong(
                path,
                "is of another type than the value it is compared with",
            ));
        }
    };
    if stands == order {
        *slot = value.clone();
    }
    Ok(())
}

fn overflow(path: &Path) -> Error {
    wrong(
        path,
        "would become a number that does not fit; whole numbers have 64 bits",
    )
}

fn add(left: &Number, right: &Number) -> Option<Number> {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => narrow(left.checked_add(right)?),
        _ => Number::from_f64(real(left) + real(right)),
    }
}

fn multiply(left: &Number, right: &Number) -> Option<Number> {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => narrow(left.checked_mul(right)?),
        _ => Number::from_f64(real(left) * real(right)),
    }
}

fn narrow(whole: i128) -> Option<Number> {
    let signed = i64::try_from(whole).ok().map(Number::from);
    signed.or_else(|| u64::try_from(whole).ok().map(Number::from))
}
