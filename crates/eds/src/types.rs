//! Object types: what is said about a type (`eds.md` §9.1, §14.3). Administrators only.

pub(crate) mod exchange;
pub(crate) mod templates;

use pilvi_model::schema::{Dependency, Inferred, PropertyType, Validator};
use pilvi_model::variant;
use pilvi_model::{Error, FieldError, ObjectId, ObjectType, Result};
use pilvi_store::backend::{Collection, Removed, SchemaChange};
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
pub(crate) use pilvi_model::schema::ENTRIES_MAX;
/// Of the body that describes a type.
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
        let (schema, _) = schema(body, Strictness::Strict, || self.new_id())?;
        let change = SchemaChange::Merge;
        let described = caller
            .backend
            .describe_collection(object_type.to_string(), schema, change, caller.author(self))
            .await?;
        self.0.variants.wake(caller.backend.id);
        Ok(described)
    }

    /// Puts what the request names in the place of what was there.
    pub(crate) async fn replace_type(
        &self,
        caller: &Caller,
        id: &str,
        body: Value,
    ) -> Result<Collection> {
        caller.require_admin()?;
        let (schema, _) = schema(body, Strictness::Strict, || self.new_id())?;
        let (collection, _) = caller
            .backend
            .describe_collection(key(id), schema, SchemaChange::Replace, caller.author(self))
            .await?;
        self.0.variants.wake(caller.backend.id);
        Ok(collection)
    }

    /// Removes a type, and its objects with it if that is asked for.
    pub(crate) async fn remove_type(
        &self,
        caller: &Caller,
        id: &str,
        with_objects: bool,
    ) -> Result<Removed> {
        caller.require_admin()?;
        let author = caller.author(self);
        let backend = &caller.backend;
        let mut removed = backend
            .remove_collection(key(id), with_objects, author)
            .await?;
        for webhook in std::mem::take(&mut removed.webhooks) {
            self.0.wakes.wake(backend.id, webhook);
        }
        Ok(removed)
    }
}

/// What to do about a validator that is unknown here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Whoever writes it is told.
    Strict,
    /// It came with others from elsewhere: it is kept, and told beside what was read.
    Lenient,
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

/// The parts of a schema in a request, checked, and what of it will have no effect.
fn schema(
    body: Value,
    strictness: Strictness,
    new_id: impl Fn() -> ObjectId,
) -> Result<(Map<String, Value>, Vec<FieldError>)> {
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
    if let Some(Value::Array(validators)) = body.get_mut("validators") {
        validators
            .iter_mut()
            .for_each(|entry| complete(entry, &new_id));
    }
    // What was only seen in use is not described by whoever sends it back.
    if let Some(Value::Array(properties)) = body.get_mut("properties") {
        properties.retain(|property| !Inferred::is_inferred(property));
    }
    let (mut faults, mut unknown) = (Vec::new(), Vec::new());
    let settings = body.get("settings");
    if settings.is_some_and(|settings| !settings.is_object()) {
        faults.push(fault("settings".into(), "must be an object".into()));
    }
    let described = match body.get("properties") {
        Some(Value::Array(properties)) => properties.as_slice(),
        _ => &[],
    };
    for list in ["properties", "validators"] {
        match body.get(list) {
            None => {}
            Some(Value::Array(entries)) if entries.len() <= ENTRIES_MAX => {
                for (place, entry) in entries.iter().enumerate() {
                    let place = format!("{list}[{place}]");
                    if let Some(message) = entry_fault(list, entry) {
                        faults.push(fault(place, message));
                    } else if let Err(message) = match list {
                        "validators" => Validator::from_json(entry, described).map(drop),
                        _ => variant::recipes(&entry["processors"]).map(drop),
                    } {
                        match strictness {
                            Strictness::Strict => faults.push(fault(place, message)),
                            Strictness::Lenient => unknown.push(fault(place, message)),
                        }
                    }
                }
            }
            Some(_) => faults.push(fault(
                list.into(),
                format!("must be an array of at most {ENTRIES_MAX} objects"),
            )),
        }
    }
    match faults.is_empty() {
        true => Ok((body, unknown)),
        false => Err(Error::invalid_fields(faults)),
    }
}

fn fault(property: String, message: String) -> FieldError {
    FieldError { property, message }
}

/// A validator has an id, and a name by which another one takes its place: that of its property and its type.
fn complete(validator: &mut Value, new_id: impl Fn() -> ObjectId) {
    let Value::Object(members) = validator else {
        return;
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if text("name").is_none()
        && let (Some(property), Some(kind)) = (text("property"), text("type"))
    {
        let name = format!("{property}.{kind}");
        members.insert("name".to_owned(), name.into());
    }
    if members.get("id").is_none_or(Value::is_null) {
        members.insert("id".to_owned(), new_id().to_string().into());
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
    let known = text("type").is_some_and(|name| PropertyType::parse(name).is_some());
    if !known {
        let known = PropertyType::ALL.map(PropertyType::as_str).join(", ");
        return Some(format!("must have a type, one of {known}"));
    }
    let refers = entry.get("objectType").filter(|value| !value.is_null());
    let is_type = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        name.parse::<ObjectType>().is_ok()
    };
    if refers.is_some_and(|value| !is_type(value)) {
        return Some("has an objectType that is none".into());
    }
    Dependency::from_property(entry).err()
}

/// A type as replies show it, in the shape that the dashboard exported.
pub(crate) fn to_json(collection: &Collection) -> Value {
    let name = collection.object_type.as_str();
    let array = |part: &str| collection.schema.get(part).and_then(Value::as_array);
    let properties: Vec<Value> = array("properties")
        .into_iter()
        .flatten()
        .chain(&collection.inferred)
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
            {"name": "seen", "type": "string", "indexed": false, "inferred": true},
            {"name": "fileAttachment", "type": "ref", "objectType": "files", "indexed": true}],
            "validators": [{"property": "title", "type": "required"}]});
        let id = || ObjectId::from_bytes([1; 12]);
        let (schema, unknown) = schema(fits, Strictness::Strict, id).unwrap();
        assert_eq!(
            schema.keys().collect::<Vec<_>>(),
            ["settings", "properties", "validators"]
        );
        assert_eq!(schema["properties"].as_array().unwrap().len(), 2);
        let completed = &schema["validators"][0];
        assert_eq!(completed["name"], "title.required");
        assert_eq!(completed["id"], id().to_string());
        assert!(unknown.is_empty());
        for wrong in [
            json!([]),
            json!({"settings": 1}),
            json!({"properties": {}}),
            json!({"properties": [{"name": "a"}]}),
            json!({"properties": [{"name": "a.b", "type": "string"}]}),
            json!({"properties": [{"name": "a", "type": "ref", "objectType": "nothing"}]}),
            json!({"properties": [{"name": "a", "type": "text"}]}),
            json!({"properties": [{"name": "a", "type": "ref", "target": {"onDelete": {"dependency": "x"}}}]}),
            json!({"validators": [{"property": "a", "type": "magic"}]}),
            json!({"validators": [5]}),
        ] {
            let refused = super::schema(wrong.clone(), Strictness::Strict, id);
            assert!(refused.is_err(), "{wrong}");
        }
    }
}
