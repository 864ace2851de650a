//! The filter of the notification stream (`eds.md` §12.1): a message passes when every member of the filter equals the
//! same member of the message, all the way down.

use pilvi_model::{Error, Result};
use serde_json::{Map, Value};

/// A filter travels in an address.
const BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subset(Value);

impl Subset {
    /// Reads the text of `filter`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > BYTES_MAX {
            let message = format!("filter has more than {BYTES_MAX} bytes");
            return Err(Error::bad_request(message));
        }
        let value = serde_json::from_str(text)
            .map_err(|error| Error::bad_request(format!("filter is no JSON: {error}")))?;
        Self::from_json(value)
    }

    pub(super) fn from_json(value: Value) -> Result<Self> {
        match value {
            Value::Object(_) => Ok(Self(value)),
            _ => Err(Error::bad_request(
                "filter must be a JSON object, such as {\"data\":{\"objectType\":\"objects.todos\"}}",
            )),
        }
    }

    pub(super) fn source(&self) -> &Value {
        &self.0
    }

    /// Whether messages about this event and type may pass at all.
    pub(super) fn may_pass(&self, event: &str, object_type: &str) -> bool {
        let equals = |value: Option<&Value>, text: &str| value.is_none_or(|value| value == text);
        let data = self.0.get("data");
        equals(self.0.get("event"), event)
            && equals(data.and_then(|data| data.get("objectType")), object_type)
    }

    /// Whether it looks at more of the object than its type.
    pub(super) fn looks_inside(&self) -> bool {
        let members = |value: &Value, known: &[&str]| {
            let members = value.as_object();
            members.is_none_or(|members| members.keys().any(|name| !known.contains(&name.as_str())))
        };
        members(&self.0, &["event", "data"])
            || self
                .0
                .get("data")
                .is_some_and(|data| members(data, &["objectType"]))
    }

    /// Whether the message passes.
    pub(super) fn passes(&self, message: &Value) -> bool {
        is_part(&self.0, message)
    }
}

fn is_part(filter: &Value, message: &Value) -> bool {
    match (filter, message) {
        (Value::Object(filter), Value::Object(message)) => are_members(filter, message),
        (filter, message) => filter == message,
    }
}

fn are_members(filter: &Map<String, Value>, message: &Map<String, Value>) -> bool {
    filter
        .iter()
        .all(|(name, value)| message.get(name).is_some_and(|found| is_part(value, found)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_member_of_the_filter_must_be_in_the_message() {
        let message = json!({
            "event": "create",
            "data": {"objectType": "objects.todos", "title": "A", "place": {"city": "Oulu", "zip": 90100}, "tags": [1]},
            "origin": {"apiRequestId": "x"},
        });
        for passes in [
            json!({}),
            json!({"event": "create"}),
            json!({"data": {"objectType": "objects.todos"}}),
            json!({"event": "create", "data": {"place": {"city": "Oulu"}}}),
            json!({"data": {"tags": [1]}}),
        ] {
            assert!(
                Subset::from_json(passes.clone()).unwrap().passes(&message),
                "{passes}"
            );
        }
        for other in [
            json!({"event": "delete"}),
            json!({"data": {"objectType": "objects.notes"}}),
            json!({"data": {"place": "Oulu"}}),
            json!({"data": {"tags": []}}),
            json!({"data": {"missing": null}}),
        ] {
            assert!(
                !Subset::from_json(other.clone()).unwrap().passes(&message),
                "{other}"
            );
        }
    }

    #[test]
    fn what_can_be_told_from_the_head_is() {
        let filter = |value| Subset::from_json(value).unwrap();
        let typed = filter(json!({"event": "create", "data": {"objectType": "objects.todos"}}));
        assert!(typed.may_pass("create", "objects.todos") && !typed.looks_inside());
        assert!(!typed.may_pass("delete", "objects.todos"));
        assert!(!typed.may_pass("create", "objects.notes"));
        assert!(filter(json!({"data": {"title": "A"}})).looks_inside());
        assert!(filter(json!({"origin": {}})).looks_inside());
        assert!(filter(json!({"data": 1})).looks_inside());
        assert!(!filter(json!({})).looks_inside());
    }

    #[test]
    fn a_filter_is_an_object() {
        for wrong in ["", "[]", "1", "{", "null"] {
            assert!(Subset::parse(wrong).is_err(), "{wrong}");
        }
    }
}
