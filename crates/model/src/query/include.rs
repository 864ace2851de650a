//! Which references a reply expands: `{"file":{},"list":{"include":{"owner":{}}}}` (`eds.md` §6).

use serde_json::{Map, Value};

use super::parse::{self, shorten};
use crate::{Error, Result};

/// How many levels of references one call may expand.
pub const LEVELS_MAX: usize = 5;
/// How many properties one call may name, over all levels.
pub const NAMES_MAX: usize = 50;

/// The properties to expand, each with what to expand in the object that it leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Include(Vec<(String, Include)>);

impl Include {
    /// Reads the text of `include`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_json(&parse::json("include", text)?)
    }

    /// Reads a JSON object of properties. In the object of each, only the member `include` counts.
    pub fn from_json(json: &Value) -> Result<Self> {
        let Value::Object(members) = json else {
            return Err(Error::bad_request(
                "include must be a JSON object, such as {\"creator\":{}}",
            ));
        };
        Self::level(members, 1, &mut 0)
    }

    fn level(members: &Map<String, Value>, level: usize, names: &mut usize) -> Result<Self> {
        if level > LEVELS_MAX && !members.is_empty() {
            return Err(Error::bad_request(format!(
                "include goes deeper than {LEVELS_MAX} levels; fetch the rest in another call"
            )));
        }
        *names += members.len();
        if *names > NAMES_MAX {
            return Err(Error::bad_request(format!(
                "include names more than {NAMES_MAX} properties; split it into several calls"
            )));
        }
        let entry = |(name, value): (&String, &Value)| match (value, value.get("include")) {
            (Value::Object(_), None) => Ok((name.clone(), Self::default())),
            (Value::Object(_), Some(Value::Object(inner))) => {
                Ok((name.clone(), Self::level(inner, level + 1, names)?))
            }
            _ => Err(Error::bad_request(format!(
                "include needs an object for `{0}`: {{}}, or {{\"include\":{{…}}}} to go on from there",
                shorten(name)
            ))),
        };
        members.iter().map(entry).collect::<Result<_>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to expand in the object that the property leads to; `None` when the property stays as it is.
    pub fn under(&self, property: &str) -> Option<&Self> {
        let entry = self.0.iter().find(|(name, _)| name == property);
        entry.map(|(_, include)| include)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_property_says_what_comes_next() {
        let include = Include::parse(r#"{"a":{"include":{"b":{"more":1}}},"c":{}}"#).unwrap();
        let a = include.under("a").unwrap();
        assert!(a.under("b").unwrap().is_empty());
        assert!(a.under("c").is_none());
        assert!(include.under("c").unwrap().is_empty());
        assert!(include.under("d").is_none());
        assert!(Include::parse("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_include_is_refused() {
        let nested =
            |levels| (0..levels).fold(json!({}), |inner, _| json!({"a": {"include": inner}}));
        let wide = |names| -> Value { (0..names).map(|n| (format!("p{n}"), json!({}))).collect() };
        assert!(Include::from_json(&nested(LEVELS_MAX)).is_ok());
        assert!(Include::from_json(&wide(NAMES_MAX)).is_ok());
        let cases = [
            (json!([]), "include must be a JSON object"),
            (json!("creator"), "include must be a JSON object"),
            (json!({"a": 1}), "include needs an object for `a`"),
            (json!({"a": null}), "include needs an object for `a`"),
            (
                json!({"a": {"include": []}}),
                "include needs an object for `a`",
            ),
            (nested(LEVELS_MAX + 1), "include goes deeper than 5 levels"),
            (nested(50), "include goes deeper than 5 levels"),
            (wide(NAMES_MAX + 1), "include names more than 50"),
        ];
        for (json, expected) in cases {
            let error = Include::from_json(&json).unwrap_err();
            assert_eq!(error.kind, crate::Kind::BadRequest);
            assert!(error.message.starts_with(expected), "{json}: {error}");
        }
        assert!(
            Include::parse("{")
                .unwrap_err()
                .message
                .starts_with("include is not JSON")
        );
    }
}
