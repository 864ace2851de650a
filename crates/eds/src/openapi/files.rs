//! Schemas of files.

use serde_json::{Value, json};

use super::schemas::{Named, object, of};

/// The multipart form of an upload, beside the JSON that announces one.
pub(super) const FORM: &str = "FileForm";

pub(super) fn schemas() -> Vec<Named> {
    let text = || json!({"type": "string"});
    let target = |required: &[&str]| {
        let members =
            json!({"id": of("Id"), "objectType": of("ObjectTypeName"), "propertyName": text()});
        object(
            "The object that the file is for, and the property of it that is to name it",
            required,
            members,
        )
    };
    let about = || {
        let members = json!({"fileName": text(), "contentType": text()});
        object("", &[], members)
    };
    vec![
        (
            "NewFile",
            object(
                "A file whose bytes follow in pieces",
                &[],
                json!({"targetFileProperty": target(&[]), "file": about()}),
            ),
        ),
        (
            FORM,
            object(
                "A file in one go. `object` is the JSON of a `NewFile`",
                &["file"],
                json!({
                    "object": of("NewFile"),
                    "filename": {"type": "string", "description": "The name, if neither `object` nor `file` says it"},
                    "file": {"type": "string", "format": "binary"},
                }),
            ),
        ),
        (
            "File",
            object(
                "A file: what is known of its bytes, and the properties that it was given",
                &[
                    "id",
                    "objectType",
                    "createdAt",
                    "updatedAt",
                    "fileName",
                    "contentType",
                    "status",
                    "variants",
                ],
                json!({
                    "id": of("Id"),
                    "objectType": {"type": "string", "enum": ["files"]},
                    "createdAt": of("Time"),
                    "updatedAt": of("Time"),
                    "fileName": text(),
                    "contentType": text(),
                    "status": {"type": "string", "enum": ["empty", "incomplete", "complete"]},
                    "fileSize": {"type": "integer", "minimum": 0, "description": "In bytes, once it is complete"},
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of a complete file"},
                    "url": {"type": "string", "description": "Where the bytes of a complete file are, for an hour"},
                    "received": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "How many bytes there are of one that is not complete: go on from there",
                    },
                    "variants": {
                        "type": "object",
                        "description": "What is made of the file, by name",
                        "additionalProperties": object(
                            "",
                            &["status"],
                            json!({
                                "status": {"type": "string", "enum": ["processing", "complete", "failed"]},
                                "reason": {"type": "string", "description": "Why it failed"},
                            }),
                        ),
                    },
                    "targetFileProperty": target(&["id", "objectType"]),
                }),
            ),
        ),
    ]
}

/// What a request with a file brings.
pub(super) fn content(takes: &str) -> Option<Value> {
    match takes {
        "Bytes" => Some(json!({"application/octet-stream": {"schema": super::schema(takes)}})),
        "NewFile" => Some(json!({
            "multipart/form-data": {"schema": super::schema(FORM)},
            "application/json": {"schema": super::schema(takes)},
        })),
        _ => None,
    }
}
