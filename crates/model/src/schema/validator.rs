//! Validators: rules for single properties, each with a message of its own.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use super::PropertyType;
use crate::query::value::{self, Reference};
use crate::{Error, FieldError, Result};

/// Bytes of a pattern, and of the program that it becomes.
const PATTERN_BYTES_MAX: usize = 1000;
const PROGRAM_BYTES_MAX: usize = 32 << 10;
/// Validators with a pattern that one type may have.
pub const PATTERNS_MAX: usize = 50;
/// Values that one `enum` may list.
const ENUM_MAX: usize = 1000;
/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 1000;
/// The types of validators, in the order in which the message of a refusal names them.
const KINDS: [&str; 9] = [
    "required",
    "unique",
    "type",
    "min",
    "max",
    "minLength",
    "maxLength",
    "pattern",
    "enum",
];

/// What a property's value must be like. All but [`Rule::Required`] are about values that are there.
#[derive(Clone, Debug)]
pub enum Rule {
    /// It is there, and neither `null` nor an empty text.
    Required,
    /// No other object of the type has an equal one.
    Unique,
    Type(PropertyType),
    Min(Number),
    Max(Number),
    /// Characters of a text, elements of an array.
    MinLength(usize),
    MaxLength(usize),
    /// Matched in time linear in the text, anywhere in it.
    Pattern(Regex),
    Enum(Vec<Value>),
}

/// A rule for a property.
#[derive(Clone, Debug)]
pub struct Validator {
    pub property: String,
    pub rule: Rule,
    /// What a refusal says, in words that follow the property's name.
    pub message: String,
}

impl Validator {
    /// Reads an entry of `validators`: `property`, `type`, and `options` with a `message` and what the type needs.
    /// Why it cannot be read, in words that follow the entry's place.
    pub fn from_json(entry: &Value, properties: &[Value]) -> Result<Self, String> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let property = text("property").filter(|name| !name.is_empty());
        let property = property.ok_or("must name a property")?.to_owned();
        let kind = text("type").ok_or_else(unknown_type)?;
        let none = Map::new();
        let options = match entry.get("options") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(options)) => options,
            Some(_) => return Err("has options that are no object".into()),
        };
        let rule = Rule::read(kind, options, || declared_type(properties, &property))?;
        let message = match options.get("message") {
            None | Some(Value::Null) => rule.message(),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX => {
                text.clone()
            }
            Some(_) => {
                return Err(format!(
                    "has an options.message that is no text of 1 to {MESSAGE_BYTES_MAX} bytes"
                ));
            }
        };
        Ok(Self {
            property,
            rule,
            message,
        })
    }
}

fn unknown_type() -> String {
    format!("must have a type, one of {}", KINDS.join(", "))
}

fn declared_type(properties: &[Value], name: &str) -> Option<PropertyType> {
    let found = properties
        .iter()
        .find(|property| property.get("name").and_then(Value::as_str) == Some(name))?;
    PropertyType::parse(found.get("type")?.as_str()?)
}

impl Rule {
    fn read(
        kind: &str,
        options: &Map<String, Value>,
        declared: impl FnOnce() -> Option<PropertyType>,
    ) -> Result<Self, String> {
        // What a rule needs is under its own name, or under `value`.
        let option = options.get(kind).or_else(|| options.get("value"));
        Ok(match kind {
            "required" => Self::Required,
            "unique" => Self::Unique,
            "type" => Self::Type(read_type(option, declared)?),
            "min" => Self::Min(number(kind, option)?),
            "max" => Self::Max(number(kind, option)?),
            "minLength" => Self::MinLength(length(kind, option)?),
            "maxLength" => Self::MaxLength(length(kind, option)?),
            "pattern" => Self::Pattern(pattern(option)?),
            "enum" => Self::Enum(values(option.or_else(|| options.get("values")))?),
            _ => return Err(unknown_type()),
        })
    }

    /// What a refusal says where the schema does not.
    fn message(&self) -> String {
        match self {
            Self::Required => "is required".into(),
            Self::Unique => "has already been taken".into(),
            Self::Type(kind) => format!("must be of type {}", kind.as_str()),
            Self::Min(bound) => format!("must not be less than {bound}"),
            Self::Max(bound) => format!("must not be more than {bound}"),
            Self::MinLength(bound) => format!("must not be shorter than {bound}"),
            Self::MaxLength(bound) => format!("must not be longer than {bound}"),
            Self::Pattern(_) => "does not have the form that is asked for".into(),
            Self::Enum(_) => "is none of the values that it may have".into(),
        }
    }

    /// Whether a value keeps the rule, as far as that can be told from the value. A rule that does not concern values
    /// of this kind is kept.
    fn is_kept_by(&self, value: Option<&Value>) -> bool {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return !matches!(self, Self::Required);
        };
        let length = || match value {
            Value::String(text) => Some(text.chars().count()),
            Value::Array(items) => Some(items.len()),
            _ => None,
        };
        match (self, value) {
            (Self::Required, value) => value.as_str() != Some(""),
            (Self::Unique, _) => true,
            (Self::Type(kind), value) => kind.fits(value),
            (Self::Min(bound), Value::Number(number)) => {
                value::compare_numbers(number, bound).is_ge()
            }
            (Self::Max(bound), Value::Number(number)) => {
                value::compare_numbers(number, bound).is_le()
            }
            (Self::MinLength(bound), _) => length().is_none_or(|length| length >= *bound),
            (Self::MaxLength(bound), _) => length().is_none_or(|length| length <= *bound),
            (Self::Pattern(pattern), Value::String(text)) => pattern.is_match(text),
            (Self::Enum(values), value) => values.iter().any(|one| value::same(value, one)),
            (Self::Min(_) | Self::Max(_) | Self::Pattern(_), _) => true,
        }
    }
}

fn read_type(
    option: Option<&Value>,
    declared: impl FnOnce() -> Option<PropertyType>,
) -> Result<PropertyType, String> {
    let kind = match option {
        None | Some(Value::Null) => declared(),
        Some(name) => name.as_str().and_then(PropertyType::parse),
    };
    kind.ok_or_else(|| {
        let known = PropertyType::ALL.map(PropertyType::as_str).join(", ");
        format!("needs options.type, one of {known}, or a property that is described with a type")
    })
}

fn number(kind: &str, option: Option<&Value>) -> Result<Number, String> {
    match option {
        Some(Value::Number(number)) => Ok(number.clone()),
        _ => Err(format!("needs a number in options.{kind}")),
    }
}

fn length(kind: &str, option: Option<&Value>) -> Result<usize, String> {
    let length = option.and_then(Value::as_u64);
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.ok_or_else(|| format!("needs a whole number in options.{kind}"))
}

fn pattern(option: Option<&Value>) -> Result<Regex, String> {
    let text = option.and_then(Value::as_str);
    let text = text.filter(|text| text.len() <= PATTERN_BYTES_MAX);
    let text = text.ok_or_else(|| {
        format!(
            "needs a regular expression of at most {PATTERN_BYTES_MAX} bytes in options.pattern"
        )
    })?;
    let built = RegexBuilder::new(text)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(50)
        .build();
    built.map_err(|_| {
        "has an options.pattern that cannot be read, or is too costly; look-around and back-references do not exist"
            .into()
    })
}

fn values(option: Option<&Value>) -> Result<Vec<Value>, String> {
    match option {
        Some(Value::Array(values)) if (1..=ENUM_MAX).contains(&values.len()) => Ok(values.clone()),
        _ => Err(format!(
            "needs an array of 1 to {ENUM_MAX} values in options.enum"
        )),
    }
}

/// All validators of a type.
#[derive(Clone, Debug, Default)]
pub struct Validators(Vec<Validator>);

impl Validators {
    /// Those of a type's schema that can be read. What cannot be is refused when a schema is given, so here it is what
    /// an older release took, or what came with others from elsewhere. The password of a user is in no document, and
    /// its rule stands without a schema.
    pub fn of(object_type: &str, schema: &Map<String, Value>) -> Self {
        let array = |name: &str| match schema.get(name) {
            Some(Value::Array(entries)) => entries.as_slice(),
            _ => &[],
        };
        let properties = array("properties");
        let is_password = |rule: &Validator| object_type == "users" && rule.property == "password";
        let readable = array("validators").iter();
        let all: Vec<Validator> = readable
            .filter_map(|entry| Validator::from_json(entry, properties).ok())
            .filter(|rule| !is_password(rule))
            .collect();
        Self(all)
    }

    /// How many of them are regular expressions, which cost memory.
    pub fn patterns(&self) -> usize {
        let is_pattern = |rule: &&Validator| matches!(rule.rule, Rule::Pattern(_));
        self.0.iter().filter(is_pattern).count()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn require(&self, property: &str) -> bool {
        let requires =
            |rule: &Validator| rule.property == property && matches!(rule.rule, Rule::Required);
        self.0.iter().any(requires)
    }

    /// The properties that must be unique, with the message that a second one gets.
    pub fn unique(&self) -> impl Iterator<Item = &Validator> {
        self.0
            .iter()
            .filter(|validator| matches!(validator.rule, Rule::Unique))
    }

    /// Checks a document, or what differs in it from what was there before: an object that breaks a rule which came
    /// later can still be changed, as long as it is not in that property.
    pub fn check(&self, before: Option<&Value>, after: &Value) -> Result<()> {
        let mut faults: BTreeMap<&str, &Validator> = BTreeMap::new();
        for validator in &self.0 {
            let name = validator.property.as_str();
            let value = after.get(name);
            let is_old = before.is_some_and(|before| before.get(name) == value);
            if !is_old && !validator.rule.is_kept_by(value) {
                faults.entry(name).or_insert(validator);
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let faults = faults.into_values().map(Validator::fault);
        Err(Error::invalid_fields(faults.collect()))
    }
}

impl Validator {
    /// What whoever breaks the rule is told.
    pub fn fault(&self) -> FieldError {
        FieldError {
            property: self.property.clone(),
            message: self.message.clone(),
        }
    }
}

/// A text that two values have in common exactly when they are equal; `None` for what is not there.
pub fn unique_key(value: Option<&Value>) -> Option<String> {
    let value = value.filter(|value| !value.is_null())?;
    let mut key = String::new();
    write_key(value, &mut key);
    Some(key)
}

fn write_key(value: &Value, key: &mut String) {
    match value {
        Value::Number(number) => key.push_str(&number_key(number)),
        Value::Array(items) => {
            key.push('[');
            for item in items {
                write_key(item, key);
                key.push(',');
            }
            key.push(']');
        }
        Value::Object(members) => {
            // Whatever else is with a reference does not count.
            let reference = Reference::of(value).map(Reference::to_json);
            let members = reference
                .as_ref()
                .and_then(Value::as_object)
                .unwrap_or(members);
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            key.push('{');
            for (name, member) in sorted {
                key.push_str(&Value::from(name.as_str()).to_string());
                key.push(':');
                write_key(member, key);
                key.push(',');
            }
            key.push('}');
        }
        plain => key.push_str(&plain.to_string()),
    }
}

/// Numbers are equal by their mathematical value, however they are written.
fn number_key(number: &Number) -> String {
    const EXACT: f64 = (1_u128 << 64) as f64;
    match (value::whole(number), number.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(real)) if real.fract() == 0.0 && real.abs() <= EXACT => {
            (real as i128).to_string()
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validators(entries: &Value) -> Validators {
        let schema =
            json!({"validators": entries, "properties": [{"name": "count", "type": "number"}]});
        let Value::Object(schema) = schema else {
            unreachable!("it is an object");
        };
        for entry in schema["validators"].as_array().unwrap() {
            Validator::from_json(entry, schema["properties"].as_array().unwrap()).unwrap();
        }
        Validators::of("objects.todos", &schema)
    }

    fn rule(kind: &str, options: &Value) -> Validators {
        validators(&json!([{"property": "a", "type": kind, "options": options}]))
    }

    fn keeps(validators: &Validators, document: &Value) -> bool {
        validators.check(None, document).is_ok()
    }

    #[test]
    fn the_validator_of_the_original_refuses_with_its_own_message() {
        let required = validators(
            &json!([{"id": "53c5", "name": "title.required", "property": "title",
            "type": "required", "options": {"message": "is required"}}]),
        );
        let error = required.check(None, &json!({"a": 1})).unwrap_err();
        assert_eq!(error.kind, crate::Kind::Invalid);
        let expected = FieldError {
            property: "title".into(),
            message: "is required".into(),
        };
        assert_eq!(error.fields, [expected]);
        for missing in [json!({"title": null}), json!({"title": ""})] {
            assert!(!keeps(&required, &missing));
        }
        for there in [
            json!({"title": "a"}),
            json!({"title": 0}),
            json!({"title": false}),
        ] {
            assert!(keeps(&required, &there));
        }
    }

    #[test]
    fn every_property_that_breaks_a_rule_is_named_once() {
        let three = validators(&json!([
            {"property": "b", "type": "minLength", "options": {"minLength": 3}},
            {"property": "b", "type": "pattern", "options": {"pattern": "^x", "message": "must begin with x"}},
            {"property": "a", "type": "required", "options": {"message": "can't be blank"}},
        ]));
        let error = three.check(None, &json!({"b": "y"})).unwrap_err();
        let told: Vec<(&str, &str)> = error
            .fields
            .iter()
            .map(|fault| (fault.property.as_str(), fault.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [("a", "can't be blank"), ("b", "must not be shorter than 3")]
        );
    }

    #[test]
    fn each_rule_is_about_values_that_are_there() {
        for (kind, options, kept, broken) in [
            ("type", json!({"type": "string"}), json!("x"), json!(5)),
            (
                "type",
                json!({"type": "time"}),
                json!("2013-06-28T16:38:32Z"),
                json!("yesterday"),
            ),
            (
                "type",
                json!({"type": "geoloc"}),
                json!([24.9, 60.2]),
                json!([1]),
            ),
            ("min", json!({"min": 5}), json!(5.0), json!(4.9)),
            (
                "max",
                json!({"value": 9_007_199_254_740_993_i64}),
                json!(9_007_199_254_740_992_i64),
                json!(9_007_199_254_740_994_i64),
            ),
            (
                "minLength",
                json!({"minLength": 2}),
                json!("äö"),
                json!("ä"),
            ),
            (
                "maxLength",
                json!({"maxLength": 2}),
                json!(["a", "b"]),
                json!(["a", "b", "c"]),
            ),
            (
                "pattern",
                json!({"pattern": "^[a-z]+$"}),
                json!("abc"),
                json!("ab1"),
            ),
            ("enum", json!({"values": ["a", 1]}), json!(1.0), json!("b")),
        ] {
            let rule = rule(kind, &options);
            assert!(keeps(&rule, &json!({"a": kept})), "{kind}");
            assert!(!keeps(&rule, &json!({"a": broken})), "{kind}");
            assert!(keeps(&rule, &json!({"a": null})), "{kind}");
            assert!(keeps(&rule, &json!({})), "{kind}");
        }
        let declared = validators(&json!([{"property": "count", "type": "type"}]));
        assert!(!keeps(&declared, &json!({"count": "5"})));
    }

    #[test]
    fn what_an_update_leaves_alone_is_not_checked_again() {
        let required = rule("required", &json!({}));
        let before = json!({"b": 1});
        assert!(required.check(Some(&before), &json!({"b": 2})).is_ok());
        assert!(
            required
                .check(Some(&json!({"a": 1})), &json!({"a": null}))
                .is_err()
        );
        assert!(required.check(Some(&json!({"a": 1})), &json!({})).is_err());
    }

    #[test]
    fn a_validator_that_means_nothing_is_refused() {
        for wrong in [
            json!({"type": "required"}),
            json!({"property": "a"}),
            json!({"property": "a", "type": "magic"}),
            json!({"property": "a", "type": "type"}),
            json!({"property": "a", "type": "type", "options": {"type": "text"}}),
            json!({"property": "a", "type": "min", "options": {"min": "5"}}),
            json!({"property": "a", "type": "maxLength", "options": {"maxLength": -1}}),
            json!({"property": "a", "type": "pattern", "options": {"pattern": "("}}),
            json!({"property": "a", "type": "pattern", "options": {"pattern": "(a{1000}){1000}"}}),
            json!({"property": "a", "type": "pattern", "options": {"pattern": "a".repeat(1001)}}),
            json!({"property": "a", "type": "enum", "options": {"enum": []}}),
            json!({"property": "a", "type": "required", "options": []}),
            json!({"property": "a", "type": "required", "options": {"message": 5}}),
        ] {
            assert!(Validator::from_json(&wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn equal_values_have_the_same_key_and_others_do_not() {
        let key = |value: Value| unique_key(Some(&value));
        assert_eq!(key(json!(5)), key(json!(5.0)));
        assert_eq!(
            key(json!({"a": 1, "b": [2]})),
            key(json!({"b": [2.0], "a": 1}))
        );
        let reference = json!({"id": "51cdbc08989e975ec300772a", "objectType": "objects.a"});
        let mut expanded = reference.clone();
        expanded["title"] = json!("x");
        assert_eq!(key(reference), key(expanded));
        let different = [
            json!(5),
            json!("5"),
            json!(5.5),
            json!(true),
            json!("true"),
            json!([5]),
            json!({"a": 5}),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992_i64),
            json!([[], 1]),
            json!([[1]]),
        ];
        for (place, one) in different.iter().enumerate() {
            for other in &different[place + 1..] {
                assert_ne!(
                    unique_key(Some(one)),
                    unique_key(Some(other)),
                    "{one} {other}"
                );
            }
        }
        assert_eq!(key(Value::Null), None);
        assert_eq!(unique_key(None), None);
    }
}
