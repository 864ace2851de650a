//! Properties that nobody described but somebody used: their type follows from the first value (`eds.md` §4.7).

use serde_json::{Value, json};

use super::PropertyType;
use crate::query::value::Reference;
use crate::wrapper;

/// A property as its first value shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    pub name: String,
    pub kind: PropertyType,
    /// Of what type the object is that the first value refers to.
    pub object_type: Option<String>,
}

/// What a value says of its property. `null` says nothing.
pub fn infer(name: &str, value: &Value) -> Option<Inferred> {
    let reference = Reference::of(value);
    let kind = match value {
        Value::Null => return None,
        Value::Bool(_) => PropertyType::Boolean,
        Value::Number(_) => PropertyType::Number,
        // What a typed time becomes when it is stored.
        Value::String(text) if wrapper::is_stored_moment(text) => PropertyType::Time,
        Value::String(_) => PropertyType::String,
        Value::Array(_) => PropertyType::Array,
        Value::Object(_) if reference.is_some() => PropertyType::Ref,
        Value::Object(_) => PropertyType::Hash,
    };
    Some(Inferred {
        name: name.to_owned(),
        kind,
        object_type: reference.map(|found| found.object_type.to_owned()),
    })
}

impl Inferred {
    /// As a schema shows it. `inferred` tells it from a property that somebody described.
    pub fn to_json(&self) -> Value {
        let mut property = json!({"name": self.name, "type": self.kind.as_str(), "indexed": false, "inferred": true});
        if let Some(object_type) = &self.object_type {
            property["objectType"] = json!(object_type);
        }
        property
    }

    /// Whether a property of a schema is one that nobody described.
    pub fn is_inferred(property: &Value) -> bool {
        property.get("inferred") == Some(&Value::Bool(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_tells_the_type() {
        let reference = json!({"id": "51cdbc08989e975ec300772a", "objectType": "objects.boards"});
        for (value, kind) in [
            (json!("text"), "string"),
            (json!("2013-06-28T16:38:32.369Z"), "time"),
            (json!("2013-06-28"), "string"),
            (json!(5), "number"),
            (json!(true), "boolean"),
            (json!([1, 2]), "array"),
            (json!({"a": 1}), "hash"),
            (reference.clone(), "ref"),
        ] {
            assert_eq!(infer("a", &value).unwrap().kind.as_str(), kind, "{value}");
        }
        assert_eq!(infer("a", &Value::Null), None);
        let shown = infer("board", &reference).unwrap().to_json();
        assert_eq!(shown["objectType"], "objects.boards");
        assert!(Inferred::is_inferred(&shown));
    }
}
