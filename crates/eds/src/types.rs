//! Object types: what is said about a type, as far as rights need it (`eds.md` §9.1, §14.3). Administrators only.

use pilvi_model::{Error, FieldError, ObjectType, Result};
use pilvi_store::backend::{Collection, SchemaChange};
use serde_json::{Map, Value, json};

use crate::Eds;
use crate::caller::Caller;

/// The parts of a schema that a request may name; all else in it does not matter.
const PARTS: [&str; 5] = [
    "settings",
    "properties",
    "validators",
    "accessControlList",
    "accessControlListTemplate",
];
/// The types of properties that clients know.
pub(crate) const PROPERTY_TYPES: [&str; 9] = [
    "string", "number", "boolean", "time", "ref", "hash", "objectid", "array", "geoloc",
];
pub(crate) const ENTRIES_MAX: usize = 500;
const BYTES_MAX: usize = 256 << 10;

impl Eds {
    pub(crate) async fn list_types(&self, caller: &Caller) -> Result<Vec<Collection>> {
        caller.require_admin()?;
        caller.backend.list_collections().await
    }

    /// By id, or by name.
    pub(crate) async fn get_type(&self, caller: &Caller, id: &str) -> Result<Collection> {
        caller.require_admin()?;
        let found = caller.backend.find_collection(key(id)).await?;
        found.ok_or_else(|| Error::not_found("there is no such object type"))
    }

    /// Makes a type, or adds to the one of this name. Says whether it is new.
    pub(crate) async fn merge_type(
        &self,
        caller: &Caller,
        body: Value,
    ) -> Result<(Collection, bool)> {
        caller.require_admin()?;
        let name = body.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Error::invalid("name", "is required"))?;
        let object_type = named(name).map_err(|error| Error::invalid("name", error.message))?;
        let schema = schema(body)?;
        let change = SchemaChange::Merge;
        caller
            .backend
            .describe_collection(object_type.to_string(), schema, change, caller.author(self))
            .await
    }

    /// Puts what the request names in the place of what was there.
    pub(crate) async fn replace_type(
        &self,
        caller: &Caller,
        id: &str,
        body: Value,
    ) -> Result<Collection> {
        caller.require_admin()?;
        let schema = schema(body)?;
        let (collection, _) = caller
            .backend
            .describe_collection(key(id), schema, SchemaChange::Replace, caller.author(self))
            .await?;
        Ok(collection)
    }
}

/// A path may name a type by its id, or by its name.
fn key(id: &str) -> String {
    match named(id) {
        Ok(object_type) if id.parse::<pilvi_model::ObjectId>().is_err() => object_type.to_string(),
        _ => id.to_owned(),
    }
}

/// Tools name a custom type without `objects.`; with it there is no doubt.
fn named(name: &str) -> Result<ObjectType> {
    name.parse().or_else(|_| ObjectType::custom(name))
}

/// The parts of a schema in a request, checked.
fn schema(body: Value) -> Result<Map<String, Value>> {
    if body.to_string().len() > BYTES_MAX {
        return Err(Error::too_large(format!(
            "a schema has at most {BYTES_MAX} bytes"
        )));
    }
    let Value::Object(mut body) = body else {
        return Err(Error::bad_request(
            "the body must be a JSON object with a schema",
        ));
    };
    body.retain(|name, value| PARTS.contains(&name.as_str()) && !value.is_null());
    let mut faults = Vec::new();
    let mut fault =
        |property: String, message: String| faults.push(FieldError { property, message });
    if body
        .get("settings")
        .is_some_and(|settings| !settings.is_object())
    {
        fault("settings".into(), "must be an object".into());
    }
    for list in ["properties", "validators"] {
        match body.get(list) {
            None => {}
            Some(Value::Array(entries)) if entries.len() <= ENTRIES_MAX => {
                for (place, entry) in entries.iter().enumerate() {
                    if let Some(message) = entry_fault(list, entry) {
                        fault(format!("{list}[{place}]"), message);
                    }
                }
            }
            Some(_) => fault(
                list.into(),
                format!("must be an array of at most {ENTRIES_MAX} objects"),
            ),
        }
    }
    match faults.is_empty() {
        true => Ok(body),
        false => Err(Error::invalid_fields(faults)),
    }
}

fn entry_fault(list: &str, entry: &Value) -> Option<String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let Some(name) = text("name").filter(|name| !name.is_empty() && name.len() <= 200) else {
        return Some("must be an object with a name".into());
    };
    if list == "validators" {
        return None;
    }
    if name.starts_with('$') || name.contains(['.', '\0']) {
        return Some("has a name that no property can have".into());
    }
    let known = text("type").is_some_and(|name| PROPERTY_TYPES.contains(&name));
    if !known {
        return Some(format!(
            "must have a type, one of {}",
            PROPERTY_TYPES.join(", ")
        ));
    }
    let refers = entry.get("objectType").filter(|value| !value.is_null());
    let is_type = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.parse::<ObjectType>().is_ok()
    };
    let refers_wrongly = refers.is_some_and(|value| !is_type(value));
    refers_wrongly.then(|| "has an objectType that is none".into())
}

/// A type as replies show it, in the shape that the dashboard exported.
pub(crate) fn to_json(collection: &Collection) -> Value {
    let name = collection.object_type.as_str();
    let array = |part: &str| collection.schema.get(part).and_then(Value::as_array);
    let properties: Vec<Value> = array("properties")
        .into_iter()
        .flatten()
        .map(property)
        .collect();
    let rights = &collection.rights;
    let mut shown = json!({
        "id": collection.id,
        "name": name,
        "createdAt": collection.created_at.to_millis_text(),
        "updatedAt": collection.updated_at.to_millis_text(),
        "settings": collection.schema.get("settings").cloned().unwrap_or_else(|| json!({})),
        "properties": properties,
        "internalProperties": internal_properties(name),
        "validators": array("validators").cloned().unwrap_or_default(),
        "accessControlList": rights.access_json(name == "usergroups"),
    });
    shown["accessControlListTemplate"] = rights.template.to_json();
    shown
}

/// A property with every key that the export has; those that were given win.
fn property(given: &Value) -> Value {
    let mut shown = json!({
        "id": null, "name": null, "type": null, "indexed": false, "processors": [], "onCreate": null, "target": null,
    });
    if let (Some(shown), Some(given)) = (shown.as_object_mut(), given.as_object()) {
        shown.extend(given.clone());
    }
    shown
}

fn internal_properties(name: &str) -> Value {
    let own: &[(&str, &str)] = match name {
        "users" => &[
            ("username", "string"),
            ("email", "string"),
            ("firstName", "string"),
            ("lastName", "string"),
        ],
        "usergroups" => &[("name", "string")],
        _ => &[],
    };
    let writers: &[(&str, &str)] = match name {
        "users" => &[],
        _ => &[("creator", "ref"), ("updater", "ref")],
    };
    let common = [
        ("objectType", "string"),
        ("createdAt", "time"),
        ("updatedAt", "time"),
        ("id", "objectid"),
    ];
    let shown = |(name, kind): &(&str, &str)| {
        let mut shown = property(&json!({"name": name, "type": kind}));
        if *kind == "ref" {
            shown["objectType"] = json!("users");
        }
        shown
    };
    common.iter().chain(writers).chain(own).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_with_or_without_its_prefix() {
        assert_eq!(named("todos").unwrap().as_str(), "objects.todos");
        assert_eq!(named("objects.users").unwrap().as_str(), "objects.users");
        assert_eq!(named("users").unwrap().as_str(), "users");
        assert!(named("a b").is_err());
        assert_eq!(key("todos"), "objects.todos");
        assert_eq!(key("51cdbc08989e975ec300772a"), "51cdbc08989e975ec300772a");
    }

    #[test]
    fn a_schema_is_checked() {
        let fits = json!({"name": "CustomObject1", "settings": {"websocket": true}, "id": null, "properties": [
            {"name": "title", "type": "string", "indexed": false},
            {"name": "fileAttachment", "type": "ref", "objectType": "files", "indexed": true}]});
        let schema = schema(fits).unwrap();
        assert_eq!(
            schema.keys().collect::<Vec<_>>(),
            ["settings", "properties"]
        );
        for wrong in [
            json!([]),
            json!({"settings": 1}),
            json!({"properties": {}}),
            json!({"properties": [{"name": "a"}]}),
            json!({"properties": [{"name": "a.b", "type": "string"}]}),
            json!({"properties": [{"name": "a", "type": "ref", "objectType": "nothing"}]}),
            json!({"properties": [{"name": "a", "type": "text"}]}),
        ] {
            assert!(super::schema(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
