//! What becomes of an object when one goes that it refers to: `target.onDelete` of a property.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ObjectType;
use crate::query::value::Reference;

/// What happens to the object that refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// It goes, too.
    DeleteObject,
    /// It stays, without the reference.
    Clear,
    /// As long as it is there, the other one cannot go.
    Restrict,
}

impl OnDelete {
    pub const ALL: [Self; 3] = [Self::DeleteObject, Self::Clear, Self::Restrict];

    /// As `dependency` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeleteObject => "deleteObject",
            Self::Clear => "clear",
            Self::Restrict => "restrict",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == name)
    }
}

/// A property whose reference binds its object to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub property: String,
    /// References to objects of this type bind, and no others; `None`: all do.
    pub object_type: Option<ObjectType>,
    pub on_delete: OnDelete,
}

impl Dependency {
    /// From a property of a schema. Why not, in words that follow the property's place.
    pub fn from_property(property: &Value) -> Result<Option<Self>, String> {
        let Some(on_delete) = property
            .pointer("/target/onDelete")
            .filter(|value| !value.is_null())
        else {
            return Ok(None);
        };
        let dependency = match on_delete.get("dependency") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(name)) if name == "none" => return Ok(None),
            Some(Value::String(name)) => OnDelete::parse(name),
            Some(_) => None,
        };
        let Some(on_delete) = dependency else {
            let known = OnDelete::ALL.map(OnDelete::as_str).join(", ");
            return Err(format!(
                "has a target.onDelete.dependency that is unknown; there are {known}"
            ));
        };
        let text = |name: &str| property.get(name).and_then(Value::as_str);
        if text("type") != Some("ref") && text("type") != Some("array") {
            return Err(
                "has a target, which only a property of type ref can have, or one of type array that holds references"
                    .into(),
            );
        }
        let object_type = text("objectType").and_then(|name| name.parse().ok());
        Ok(text("name").map(|name| Self {
            property: name.to_owned(),
            object_type,
            on_delete,
        }))
    }

    /// The objects that a document is bound to by this property, by type and id; an array of references counts by
    /// element.
    pub fn targets<'a>(&self, document: &'a Value) -> BTreeSet<(&'a str, &'a str)> {
        let bound = |value: &'a Value| {
            let found = Reference::of(value)?;
            let asked = self.object_type.as_ref();
            let binds = asked.is_none_or(|asked| asked.as_str() == found.object_type);
            binds.then_some((found.object_type, found.id))
        };
        match document.get(&self.property) {
            Some(Value::Array(items)) => items.iter().filter_map(bound).collect(),
            Some(value) => bound(value).into_iter().collect(),
            None => BTreeSet::new(),
        }
    }

    /// The property's value without references to this object: `null`, or an array with fewer elements.
    pub fn without(&self, value: &Value, object_type: &str, id: &str) -> Value {
        let is_it = |value: &Value| {
            Reference::of(value)
                .is_some_and(|found| found.id == id && found.object_type == object_type)
        };
        match value {
            Value::Array(items) => items.iter().filter(|item| !is_it(item)).cloned().collect(),
            value if is_it(value) => Value::Null,
            value => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "51cdbc08989e975ec300772a";
    const OTHER: &str = "51cdbc08989e975ec300772b";

    fn board(dependency: &str) -> Value {
        json!({"name": "board", "type": "ref", "objectType": "objects.boards",
               "target": {"id": null, "onDelete": {"id": null, "dependency": dependency}}})
    }

    #[test]
    fn a_reference_binds_as_the_export_of_the_original_says() {
        let found = Dependency::from_property(&board("deleteObject"))
            .unwrap()
            .unwrap();
        assert_eq!(found.on_delete, OnDelete::DeleteObject);
        let document = json!({"board": {"id": ID, "objectType": "objects.boards", "title": "x"}});
        let expected = BTreeSet::from([("objects.boards", ID)]);
        assert_eq!(found.targets(&document), expected);
        let to_another_type = json!({"board": {"id": ID, "objectType": "objects.todos"}});
        assert!(found.targets(&to_another_type).is_empty());
        assert!(found.targets(&json!({"board": ID})).is_empty());
    }

    #[test]
    fn an_array_binds_by_element_and_loses_elements() {
        let found = Dependency {
            property: "boards".into(),
            object_type: None,
            on_delete: OnDelete::Clear,
        };
        let [one, other] = [ID, OTHER].map(|id| json!({"id": id, "objectType": "objects.boards"}));
        let document = json!({"boards": [one, other, one, 5]});
        assert_eq!(found.targets(&document).len(), 2);
        let left = found.without(&document["boards"], "objects.boards", ID);
        assert_eq!(left, json!([other, 5]));
        assert_eq!(found.without(&one, "objects.boards", ID), Value::Null);
        assert_eq!(found.without(&one, "objects.boards", OTHER), one);
    }

    #[test]
    fn what_a_schema_does_not_say_binds_nothing_and_what_nobody_knows_is_refused() {
        for silent in [
            json!({"name": "a", "type": "ref"}),
            json!({"name": "a", "type": "ref", "target": null}),
            json!({"name": "a", "type": "ref", "target": {"id": null}}),
            json!({"name": "a", "type": "ref", "target": {"onDelete": {"dependency": null}}}),
            board("none"),
        ] {
            assert_eq!(Dependency::from_property(&silent), Ok(None), "{silent}");
        }
        assert!(Dependency::from_property(&board("explode")).is_err());
        let number =
            json!({"name": "a", "type": "number", "target": {"onDelete": {"dependency": "clear"}}});
        assert!(Dependency::from_property(&number).is_err());
    }
}
