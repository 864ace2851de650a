//! Schemas on their way between backends, in the format in which the original's console exported them
//! (`eds.md` §14.3): `{"meta":{"type":"schemas"},"objects":[{"object":{…}}]}`.

use pilvi_model::id::IdMaker;
use pilvi_model::{Error, FieldError, ObjectId, Result, Timestamp};
use pilvi_store::backend::{Collection, NewCollection};
use serde_json::{Value, json};

use super::{Strictness, named, schema, to_json};
use crate::Eds;
use crate::caller::Caller;

/// Types that one document may bring.
const TYPES_MAX: usize = 1000;

/// What a document brings.
#[derive(Debug)]
pub(crate) struct Schemas {
    pub(crate) types: Vec<NewCollection>,
    /// What is kept as it came but has no effect here, in whole sentences.
    pub(crate) warnings: Vec<String>,
}

/// Schemas that are in force now.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) types: Vec<Collection>,
    pub(crate) warnings: Vec<String>,
}

impl Eds {
    /// All types of the backend as a document that [`Eds::import_schema`] reads.
    pub(crate) async fn export_schema(&self, caller: &Caller) -> Result<Value> {
        caller.require_admin()?;
        Ok(write(&caller.backend.list_collections().await?))
    }

    /// Puts the types of a document in the place of those of the same names, all of them or none. Others stay.
    pub(crate) async fn import_schema(&self, caller: &Caller, document: Value) -> Result<Imported> {
        caller.require_admin()?;
        let author = caller.author(self);
        let Schemas { types, warnings } = read(document, &self.0.ids, author.at)?;
        let types = caller.backend.import_collections(types, author).await?;
        self.0.variants.wake(caller.backend.id);
        Ok(Imported { types, warnings })
    }
}

/// The document of some types.
pub(crate) fn write(types: &[Collection]) -> Value {
    let objects: Vec<Value> = types
        .iter()
        .map(|collection| json!({"object": to_json(collection)}))
        .collect();
    json!({"meta": {"type": "schemas"}, "objects": objects})
}

/// The types of a document. What other servers know and this one does not is no reason to refuse it all.
pub(crate) fn read(document: Value, ids: &IdMaker, now: Timestamp) -> Result<Schemas> {
    let objects = entries(document)?;
    let (mut types, mut warnings, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (place, object) in objects.into_iter().enumerate() {
        let place = format!("objects[{place}]");
        let name = object
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let object_type = match named(name) {
            Ok(object_type) => object_type,
            Err(error) => {
                faults.push(FieldError {
                    property: format!("{place}.object.name"),
                    message: error.message,
                });
                continue;
            }
        };
        if types
            .iter()
            .any(|known: &NewCollection| known.object_type == object_type)
        {
            faults.push(FieldError {
                property: format!("{place}.object.name"),
                message: format!("is {object_type}, which stands there twice"),
            });
            continue;
        }
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let id: Option<ObjectId> = text("id").and_then(|id| id.parse().ok());
        let created_at = text("createdAt").and_then(Timestamp::from_millis_text);
        match schema(object, Strictness::Lenient, || ids.next(now)) {
            Ok((schema, unknown)) => {
                let told = unknown.into_iter().map(|fault| {
                    format!(
                        "`{}` of {object_type} {}; it is kept and has no effect.",
                        fault.property, fault.message
                    )
                });
                warnings.extend(told);
                types.push(NewCollection {
                    object_type,
                    id,
                    created_at,
                    schema,
                });
            }
            Err(error) if error.fields.is_empty() => return Err(error),
            Err(error) => faults.extend(error.fields.into_iter().map(|fault| FieldError {
                property: format!("{place}.object.{}", fault.property),
                message: fault.message,
            })),
        }
    }
    match faults.is_empty() {
        true => Ok(Schemas { types, warnings }),
        false => Err(Error::invalid_fields(faults)),
    }
}

/// The types in a document, each as it stands there.
fn entries(mut document: Value) -> Result<Vec<Value>> {
    let kind = document.pointer("/meta/type");
    let is_of_schemas = kind.is_none_or(|kind| kind == "schemas");
    let Some(Value::Array(objects)) = document.get_mut("objects").filter(|_| is_of_schemas) else {
        return Err(Error::bad_request(
            "the body must be an export of schemas: {\"meta\":{\"type\":\"schemas\"},\"objects\":[{\"object\":{…}}]}",
        ));
    };
    if objects.len() > TYPES_MAX {
        let message = format!("one document describes at most {TYPES_MAX} object types");
        return Err(Error::too_large(message));
    }
    let object = |entry: &mut Value| match entry.get_mut("object") {
        Some(object) => object.take(),
        None => entry.take(),
    };
    Ok(objects.iter_mut().map(object).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: Value) -> Result<Schemas> {
        super::read(document, &IdMaker::new([1; 5]), Timestamp::from_millis(1))
    }

    /// As the console of the original wrote it, shortened.
    fn exported() -> Value {
        json!({"meta": {"type": "schemas"}, "objects": [{"object": {
            "id": "53c5027be5bde50bb7004d62", "name": "objects.cards",
            "createdAt": "2014-07-15T10:29:15.000Z", "updatedAt": "2014-07-16T10:29:15.000Z",
            "properties": [{"id": null, "name": "board", "type": "ref", "objectType": "objects.boards",
                "indexed": true, "processors": [],
                "onCreate": {"id": "53c5", "accessControlList": "extend"},
                "target": {"id": "53c5", "onDelete": {"id": "53c5", "dependency": "deleteObject"}}}],
            "internalProperties": [{"name": "objectType", "type": "string"}],
            "validators": [{"id": "53c5027be5bde50bb7004d63", "name": "title.required", "property": "title",
                "type": "required", "options": {"message": "is required"}},
                {"id": "53c5027be5bde50bb7004d64", "name": "title.magic", "property": "title", "type": "magic"}],
            "accessControlList": {"read": [{"id": "*", "objectType": "aclSubject"}], "create": []}}}]})
    }

    #[test]
    fn what_the_original_exported_is_read_and_what_is_unknown_is_told() {
        let schemas = read(exported()).unwrap();
        let [cards] = schemas.types.as_slice() else {
            unreachable!("one type went in");
        };
        assert_eq!(cards.object_type.as_str(), "objects.cards");
        assert_eq!(cards.id.unwrap().to_string(), "53c5027be5bde50bb7004d62");
        assert_eq!(
            cards.created_at.unwrap().to_millis_text(),
            "2014-07-15T10:29:15.000Z"
        );
        assert_eq!(
            cards.schema["validators"][0]["id"],
            "53c5027be5bde50bb7004d63"
        );
        assert_eq!(cards.schema["validators"].as_array().unwrap().len(), 2);
        assert_eq!(schemas.warnings.len(), 1);
        assert!(
            schemas.warnings[0].contains("validators[1]"),
            "{:?}",
            schemas.warnings
        );
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let mut wrong = exported();
        wrong["objects"][0]["object"]["properties"][0]["type"] = json!("text");
        let twice = wrong["objects"][0].clone();
        wrong["objects"] = json!([twice, {"object": {"name": "a b"}}, {"name": "todos"}, {"name": "objects.todos"}]);
        let places: Vec<String> = read(wrong)
            .unwrap_err()
            .fields
            .into_iter()
            .map(|fault| fault.property)
            .collect();
        let expected = [
            "objects[0].object.properties[0]",
            "objects[1].object.name",
            "objects[3].object.name",
        ];
        assert_eq!(places, expected);
        for no_export in [
            json!({}),
            json!([]),
            json!({"meta": {"type": "users"}, "objects": []}),
        ] {
            assert!(read(no_export).is_err());
        }
    }
}
