//! Which objects name which files, kept in step with the objects' documents.
//!
//! A file belongs to one object. Others may name it; that opens nothing and keeps nothing. So naming a file makes it an
//! object's own only if it is nobody else's, and if whoever names it may read it, or it was this object's before.

use std::collections::BTreeMap;

use memchr::memmem;
use pilvi_model::{Error, FileTarget, Object, ObjectId, ObjectType, Properties, WebhookId};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::author::Author;
use super::files::{self, Entry};
use super::{access, objects};
use crate::error::Result;

/// Files that one object may name.
const FILES_MAX: usize = 1000;

/// The files that a document names, and by which property.
type Links = BTreeMap<ObjectId, String>;

/// What stands in a document for a file.
pub(super) fn reference(id: ObjectId) -> Value {
    json!({"id": id.to_string(), "objectType": "files"})
}

/// After an object was written: files that it names now are its own if they may be, and those that it names no longer
/// are not. Adds the webhooks that are to hear of it.
pub(super) fn follow(
    connection: &Connection,
    author: &Author,
    before: Option<&Object>,
    after: &Object,
    webhooks: &mut Vec<WebhookId>,
) -> Result<()> {
    // Most objects name no files, and looking for the name is all that this costs them.
    let before = before.filter(|object| may_name_files(&object.text));
    if before.is_none() && !may_name_files(&after.text) || after.object_type == ObjectType::files()
    {
        return Ok(());
    }
    let had = before.map(links).transpose()?.unwrap_or_default();
    let has = links(after)?;
    if has.len() > FILES_MAX && has.len() > had.len() {
        let message = format!("an object can have at most {FILES_MAX} files");
        return Err(Error::bad_request(message).into());
    }
    for id in had.keys().filter(|id| !has.contains_key(id)) {
        webhooks.extend(unlink(connection, author, after, *id)?);
    }
    for (id, property) in &has {
        if had.get(id) != Some(property) {
            webhooks.extend(link(connection, author, after, *id, property)?);
        }
    }
    Ok(())
}

fn may_name_files(text: &str) -> bool {
    memmem::find(text.as_bytes(), b"\"files\"").is_some()
}

/// References by properties of the document itself, alone or in an array, as `include` knows them.
fn links(object: &Object) -> Result<Links> {
    let Value::Object(document) = object.to_json()? else {
        return Ok(Links::new());
    };
    let mut links = Links::new();
    for (property, value) in &document {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        for id in items.iter().filter_map(file_of) {
            links.entry(id).or_insert_with(|| property.clone());
        }
    }
    Ok(links)
}

/// The file that a value refers to.
fn file_of(value: &Value) -> Option<ObjectId> {
    let text = |name: &str| value.get(name)?.as_str();
    if text("objectType")? != "files" {
        return None;
    }
    text("id")?.parse().ok()
}

/// An object names a file now by this property.
fn link(
    connection: &Connection,
    author: &Author,
    object: &Object,
    id: ObjectId,
    property: &str,
) -> Result<Vec<WebhookId>> {
    let Some(mut entry) = files::find(connection, id)? else {
        return Ok(Vec::new());
    };
    let Some(stored) = objects::find(connection, &ObjectType::files(), id)? else {
        return Ok(Vec::new());
    };
    let is_home = is_owner(&entry, object);
    let may = match entry.is_attached {
        true => is_home,
        false => is_home || access::may_read(connection, stored.readers, &author.asker)?,
    };
    if !may {
        return Ok(Vec::new());
    }
    let by_same = entry
        .owner
        .as_ref()
        .and_then(|owner| owner.property.as_deref())
        == Some(property);
    entry.is_linked = true;
    if entry.is_attached && by_same {
        // It was uploaded for this property, so its document says so.
        connection
            .prepare_cached("UPDATE files SET unlinked_at = NULL WHERE id = ?")?
            .execute([id.to_string()])?;
        return Ok(Vec::new());
    }
    entry.is_attached = true;
    entry.owner = Some(FileTarget {
        object_type: object.object_type.clone(),
        id: object.id,
        property: Some(property.to_owned()),
    });
    let updater = author.asker.user();
    Ok(files::rewrite(connection, author, &stored, &entry, updater)?.webhooks)
}

/// An object names a file no longer.
fn unlink(
    connection: &Connection,
    author: &Author,
    object: &Object,
    id: ObjectId,
) -> Result<Vec<WebhookId>> {
    let Some(mut entry) = files::find(connection, id)? else {
        return Ok(Vec::new());
    };
    if !entry.is_attached || !entry.is_linked || !is_owner(&entry, object) {
        return Ok(Vec::new());
    }
    let Some(stored) = objects::find(connection, &ObjectType::files(), id)? else {
        return Ok(Vec::new());
    };
    entry.is_attached = false;
    entry.is_linked = false;
    let updater = author.asker.user();
    Ok(files::rewrite(connection, author, &stored, &entry, updater)?.webhooks)
}

fn is_owner(entry: &Entry, object: &Object) -> bool {
    let owner = entry.owner.as_ref();
    owner.is_some_and(|owner| owner.id == object.id && owner.object_type == object.object_type)
}

/// Takes a file that is gone out of the object that named it.
pub(super) fn drop_from(
    connection: &Connection,
    author: &Author,
    owner: &FileTarget,
    id: ObjectId,
) -> Result<Vec<WebhookId>> {
    let Some(stored) = objects::find(connection, &owner.object_type, owner.id)? else {
        return Ok(Vec::new());
    };
    let Value::Object(document) = stored.object.to_json()? else {
        return Ok(Vec::new());
    };
    let mut changes = Map::new();
    for (property, mut value) in document {
        match &mut value {
            Value::Array(items) => {
                let count = items.len();
                items.retain(|item| file_of(item) != Some(id));
                if items.len() < count {
                    changes.insert(property, value);
                }
            }
            single if file_of(single) == Some(id) => {
                changes.insert(property, Value::Null);
            }
            _ => {}
        }
    }
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let changes = Properties::from_json(Value::Object(changes))?;
    let object = stored
        .object
        .update_by(author.at, author.asker.user(), changes)?;
    Ok(objects::replace(connection, author, &stored, object)?.webhooks)
}
