//! Atomic updates: reading one neither panics nor keeps what is too large, carrying it out touches only what it names,
//! and numbers add up as they do on paper.
//!
//! An input is the update; behind its first line feed stands the object that it changes.

use pilvi_model::update::{RESULT_BYTES_MAX, Update};
use pilvi_model::{Kind, ObjectType, Properties};
use serde_json::{Map, Value, json};

use crate::Random;

/// The longest words of a refusal: they may repeat a regular expression, and no more.
const REFUSAL_BYTES_MAX: usize = 4 << 10;
/// What carrying out a second time changes nothing about.
const LASTING: [&str; 7] = [
    "$set",
    "$unset",
    "$min",
    "$max",
    "$addToSet",
    "$pull",
    "$pullAll",
];

/// What is changed when an input says nothing about it.
const STORED: &str =
    r#"{"a":1,"b":[1,2,"x"],"c":{"a":{"b":1.5}},"n":9007199254740993,"t":"x","z":null}"#;

/// The promises about any update of any object.
pub fn check(input: &[u8]) {
    let (update, before) = match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, STORED.as_bytes()),
    };
    let (Ok(body), Ok(before)) = (
        serde_json::from_slice::<Value>(update),
        serde_json::from_slice::<Value>(before),
    ) else {
        return;
    };
    let Ok(before) = Properties::from_json(before) else {
        return;
    };
    let todos = ObjectType::custom("todos").expect("that is a name");
    let outcome = Update::from_json(&body, &todos)
        .and_then(|update| Ok((update.apply(before.as_map())?, update)));
    match outcome {
        Ok((after, update)) => {
            let members = body.as_object().expect("an update is an object");
            expect_stored(before.as_map(), &after);
            expect_rest(members, before.as_map(), &after);
            expect_sums(members, before.as_map(), Some(&after));
            if members.keys().all(|name| LASTING.contains(&name.as_str())) {
                // More elements are compared now, which has a bound.
                let again = update.apply(&after).unwrap_or_else(|_| after.clone());
                assert_eq!(again, after, "{body} twice");
            }
        }
        Err(error) => {
            assert!(
                matches!(
                    error.kind,
                    Kind::BadRequest | Kind::Invalid | Kind::TooLarge
                ),
                "{error:?}"
            );
            let fields = error.fields.iter();
            let words = fields.map(|field| field.property.len() + field.message.len());
            assert!(
                error.message.len() + words.sum::<usize>() <= REFUSAL_BYTES_MAX,
                "{error}"
            );
            if let Value::Object(members) = &body
                && members.len() == 1
            {
                expect_sums(members, before.as_map(), None);
            }
        }
    }
}

/// What comes out is what a plain write would keep as it is, and not too large.
fn expect_stored(before: &Map<String, Value>, after: &Map<String, Value>) {
    let kept = Properties::from_json(Value::Object(after.clone()));
    assert_eq!(kept.as_ref().map(Properties::as_map).ok(), Some(after));
    let bytes = |map: &Map<String, Value>| json!(map).to_string().len();
    assert!(bytes(after) <= bytes(before).max(RESULT_BYTES_MAX));
}

/// Nothing has changed but what an operator names.
fn expect_rest(
    members: &Map<String, Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) {
    let mut named = Vec::new();
    for (operator, operand) in members {
        for (path, value) in operand.as_object().into_iter().flatten() {
            named.push(path.as_str());
            named.extend(value.as_str().filter(|_| operator == "$rename"));
        }
    }
    let is_named = |name: &str| {
        named
            .iter()
            .any(|path| path.split('.').next() == Some(name))
    };
    for name in before
        .keys()
        .chain(after.keys())
        .filter(|name| !is_named(name))
    {
        assert_eq!(before.get(name), after.get(name), "{name}");
    }
}

/// Whole numbers stay whole and exact, and one that does not fit is refused; `after` is none for a refusal.
fn expect_sums(
    members: &Map<String, Value>,
    before: &Map<String, Value>,
    after: Option<&Map<String, Value>>,
) {
    let mut sums = Vec::new();
    for (operator, operand) in members {
        for (name, number) in operand.as_object().into_iter().flatten() {
            let stored = whole(before.get(name).unwrap_or(&Value::Null));
            let (Some(stored), Some(number), false) =
                (stored, whole_number(number), name.contains('.'))
            else {
                continue;
            };
            match operator.as_str() {
                "$inc" => sums.push((name, stored.checked_add(number))),
                "$mul" => sums.push((name, stored.checked_mul(number))),
                _ => {}
            }
        }
    }
    let fits = |sum: i128| i64::try_from(sum).is_ok() || u64::try_from(sum).is_ok();
    match after {
        Some(after) => {
            for (name, sum) in sums {
                let sum = sum.filter(|sum| fits(*sum)).map(|sum| sum.to_string());
                assert_eq!(after.get(name).map(Value::to_string), sum, "{name}");
            }
        }
        // With one operator that is about one property, nothing else can be wrong.
        None if members
            .values()
            .all(|operand| operand.as_object().is_some_and(|names| names.len() == 1)) =>
        {
            for (name, sum) in sums.into_iter().filter(|(name, _)| is_free(name)) {
                assert!(!sum.is_some_and(fits), "{name} could have been changed");
            }
        }
        None => {}
    }
}

/// A name that any property may have.
fn is_free(name: &str) -> bool {
    let kept = [
        "id",
        "objectType",
        "createdAt",
        "updatedAt",
        "creator",
        "updater",
    ];
    !name.is_empty() && !name.starts_with('$') && !name.contains('\0') && !kept.contains(&name)
}

/// From what a sum begins: a whole number, or 0 where there is nothing.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Null => Some(0),
        number => whole_number(number),
    }
}

fn whole_number(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or(value.as_u64().map(i128::from))
}

const PATHS: [&str; 14] = [
    "a", "b", "c", "n", "t", "z", "b.0", "b.5", "c.a", "c.a.b", "new", "new.x", "id", "b.x",
];

const VALUES: [&str; 18] = [
    "null",
    "true",
    "0",
    "1",
    "-1",
    "2.5",
    "1e308",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775808",
    r#""x""#,
    r#""new""#,
    "[1,2]",
    r#"{"a":{"b":1}}"#,
    r#"{"$gte":1}"#,
    r#"{"$each":[1,"x",[2]]}"#,
    r#"{"$type":"time","$value":0}"#,
    r#"{"$in":[1,2]}"#,
];

const OPERATORS: [&str; 13] = [
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$set",
    "$unset",
    "$push",
    "$addToSet",
    "$pull",
    "$pullAll",
    "$pop",
    "$rename",
    "$inc",
];

/// An update that is right, or almost, mostly of an object of its own.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut operators = Vec::new();
    for _ in 0..=random.below(3) {
        let changes: Vec<String> = (0..=random.below(2))
            .map(|_| format!("\"{}\":{}", random.pick(&PATHS), random.pick(&VALUES)))
            .collect();
        operators.push(format!(
            "\"{}\":{{{}}}",
            random.pick(&OPERATORS),
            changes.join(",")
        ));
    }
    let mut text = format!("{{{}}}", operators.join(","));
    if !random.one_in(3) {
        let properties: Vec<String> = (0..random.below(4))
            .map(|_| {
                format!(
                    "\"{}\":{}",
                    random.pick(&["a", "b", "c", "n", "z"]),
                    random.pick(&VALUES)
                )
            })
            .collect();
        text.push_str(&format!("\n{{{}}}", properties.join(",")));
    }
    text.into_bytes()
}
