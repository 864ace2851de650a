//! What binds objects to one another: references that say what happens when their target goes, and values that only
//! one object of a type may have.
//!
//! Both are written down beside the documents by every write of a type whose schema has such a rule, so that a delete
//! finds whoever refers to the object, and a write finds whoever has the value, without looking through documents.

use std::collections::{BTreeSet, HashSet};

use pilvi_base::secret::sha256;
use pilvi_model::schema::{OnDelete, unique_key};
use pilvi_model::{Error, FieldError, Kind, Object, ObjectType, Properties, WebhookId};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::author::Author;
use super::facts::{self, TypeFacts};
use super::objects::{self, Stored};
use crate::error::Result;

/// Objects that one delete takes with it or changes, so that it ends within seconds.
const FALLOUT_MAX: usize = 10_000;
/// Objects of a type that one change of its schema may bind anew.
const BOUND_MAX: usize = 100_000;

/// Refuses a document that breaks a rule of its type which can be told from the document alone.
pub(super) fn check(facts: &TypeFacts, before: Option<&Object>, after: &Object) -> Result<()> {
    if facts.validators.is_empty() {
        return Ok(());
    }
    let before = before.map(Object::to_json).transpose()?;
    Ok(facts.validators.check(before.as_ref(), &after.to_json()?)?)
}

/// Writes down what an object refers to and has alone. Refuses it when another one has such a value already.
pub(super) fn follow(
    connection: &Connection,
    facts: &TypeFacts,
    seq: i64,
    before: Option<&Object>,
    after: &Object,
) -> Result<()> {
    if !facts.binds() {
        return Ok(());
    }
    let before = before.map(Object::to_json).transpose()?;
    let document = after.to_json()?;
    let is_old = |property: &str| {
        let before = before.as_ref();
        before.is_some_and(|before| before.get(property) == document.get(property))
    };
    for dependency in &facts.dependencies {
        if is_old(&dependency.property) {
            continue;
        }
        if before.is_some() {
            connection
                .prepare_cached("DELETE FROM dependents WHERE child = ? AND property = ?")?
                .execute(params![seq, dependency.property])?;
        }
        let mut insert = connection.prepare_cached(
            "INSERT OR IGNORE INTO dependents (child, property, target_type, target) VALUES (?, ?, ?, ?)",
        )?;
        for (object_type, id) in dependency.targets(&document) {
            insert.execute(params![seq, dependency.property, object_type, id])?;
        }
    }
    let mut taken = Vec::new();
    for rule in facts.validators.unique() {
        let property = rule.property.as_str();
        let is_told = |fault: &FieldError| fault.property == property;
        if is_old(property) || taken.iter().any(is_told) {
            continue;
        }
        if before.is_some() {
            connection
                .prepare_cached("DELETE FROM uniques WHERE object = ? AND property = ?")?
                .execute(params![seq, property])?;
        }
        let Some(key) = unique_key(document.get(property)) else {
            continue;
        };
        // A rule that stands there twice has the value itself.
        let has_it: i64 = connection
            .prepare_cached(
                "INSERT INTO uniques (type, property, value, object) VALUES (?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET object = object RETURNING object",
            )?
            .query_row(
                params![
                    after.object_type.as_str(),
                    property,
                    sha256(key.as_bytes()).as_slice(),
                    seq
                ],
                |row| row.get(0),
            )?;
        if has_it != seq {
            taken.push(rule.fault());
        }
    }
    match taken.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid_fields(taken).into()),
    }
}

/// After an object was deleted.
pub(super) fn forget(connection: &Connection, facts: &TypeFacts, seq: i64) -> Result<()> {
    if !facts.dependencies.is_empty() {
        connection
            .prepare_cached("DELETE FROM dependents WHERE child = ?")?
            .execute([seq])?;
    }
    if facts.validators.unique().next().is_some() {
        connection
            .prepare_cached("DELETE FROM uniques WHERE object = ?")?
            .execute([seq])?;
    }
    Ok(())
}

/// An object that refers to one that goes.
struct Bound {
    child: i64,
    property: String,
    /// What it refers to.
    object_type: String,
    id: String,
}

/// Does what the schemas say about the objects that refer to one that is about to be deleted: deletes them, with what
/// refers to them in their turn, takes the reference away, or refuses. That the author may not do so by themselves does
/// not matter: whoever described the types decided it.
pub(super) fn before_delete(
    connection: &Connection,
    author: &Author,
    root: &Stored,
) -> Result<Vec<WebhookId>> {
    let root_id = root.object.id.to_string();
    let mut doomed = vec![(root.seq, root.object.object_type.to_string(), root_id)];
    let mut known = HashSet::from([root.seq]);
    let (mut cleared, mut kept) = (Vec::new(), Vec::new());
    let mut place = 0;
    while let Some((_, object_type, id)) = doomed.get(place).cloned() {
        place += 1;
        for bound in bound_to(connection, &object_type, &id)? {
            let Some((child_type, child_id)) = name_of(connection, bound.child)? else {
                continue;
            };
            let (_, facts) = facts::facts(connection, &child_type.parse()?)?;
            let mut dependencies = facts.dependencies.iter();
            let dependency = dependencies.find(|known| known.property == bound.property);
            match dependency.map(|dependency| dependency.on_delete) {
                Some(OnDelete::DeleteObject) if known.insert(bound.child) => {
                    doomed.push((bound.child, child_type, child_id));
                }
                Some(OnDelete::Clear) => cleared.push(bound),
                Some(OnDelete::Restrict) => kept.push((bound, child_type)),
                Some(OnDelete::DeleteObject) | None => {}
            }
            if doomed.len() + cleared.len() + kept.len() > FALLOUT_MAX {
                return Err(Error::conflict(format!(
                    "more than {FALLOUT_MAX} objects depend on this one, which is more than one delete can reach; \
                     delete some of them first"
                ))
                .into());
            }
        }
    }
    kept.retain(|(bound, _)| !known.contains(&bound.child));
    if let Some((bound, child_type)) = kept.first() {
        return Err(Error::conflict(format!(
            "{} still refer to it by `{}`, of type {child_type} among others; delete them or change what they refer \
             to first",
            counted(kept.len()),
            bound.property
        ))
        .into());
    }
    cleared.retain(|bound| !known.contains(&bound.child));
    let mut webhooks = BTreeSet::new();
    for bound in cleared {
        webhooks.extend(clear(connection, author, &bound)?);
    }
    // The last first: whoever inherits from the others is deleted while those who may read it still may.
    for (_, object_type, id) in doomed.drain(1..).rev() {
        // Some go with others without a schema that says so, as files do with their owners.
        if let Some(stored) = objects::find(connection, &object_type.parse()?, id.parse()?)? {
            webhooks.extend(objects::remove(connection, author, stored)?.webhooks);
        }
    }
    Ok(webhooks.into_iter().collect())
}

fn counted(number: usize) -> String {
    match number {
        1 => "1 object does not let this one go: it".to_owned(),
        number => format!("{number} objects do not let this one go: they"),
    }
}

fn bound_to(connection: &Connection, object_type: &str, id: &str) -> Result<Vec<Bound>> {
    let mut statement = connection.prepare_cached(
        "SELECT child, property FROM dependents WHERE target_type = ? AND target = ? LIMIT ?",
    )?;
    let rows = statement.query_map(params![object_type, id, FALLOUT_MAX + 1], |row| {
        Ok(Bound {
            child: row.get(0)?,
            property: row.get(1)?,
            object_type: object_type.to_owned(),
            id: id.to_owned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn name_of(connection: &Connection, seq: i64) -> Result<Option<(String, String)>> {
    let mut statement = connection.prepare_cached("SELECT type, id FROM objects WHERE seq = ?")?;
    let found = statement.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

/// Takes a reference away from the object that has it.
fn clear(connection: &Connection, author: &Author, bound: &Bound) -> Result<Vec<WebhookId>> {
    let Some((object_type, id)) = name_of(connection, bound.child)? else {
        return Ok(Vec::new());
    };
    let object_type: ObjectType = object_type.parse()?;
    let stored = objects::get(connection, &object_type, id.parse()?)?;
    let (_, facts) = facts::facts(connection, &object_type)?;
    let mut dependencies = facts.dependencies.iter();
    let Some(dependency) = dependencies.find(|known| known.property == bound.property) else {
        return Ok(Vec::new());
    };
    let document = stored.object.to_json()?;
    let value = document.get(&bound.property).unwrap_or(&Value::Null);
    let value = dependency.without(value, &bound.object_type, &bound.id);
    let changes = Properties::from_json(json!({ &bound.property: value }))?;
    let object = stored
        .object
        .update_by(author.at, author.asker.user(), changes)?;
    Ok(objects::put(connection, author, &stored, object, objects::By::Schema)?.webhooks)
}

/// Writes down what all objects of a type refer to and have alone, after its schema says differently what that is.
pub(super) fn bind_anew(connection: &Connection, object_type: &ObjectType) -> Result<()> {
    let (_, facts) = facts::facts(connection, object_type)?;
    let now = match facts.binds() {
        true => {
            let dependencies = facts.dependencies.iter();
            let by: Vec<Value> = dependencies
                .map(|known| {
                    json!([
                        known.property,
                        known.object_type.as_ref().map(ObjectType::as_str)
                    ])
                })
                .collect();
            let unique: BTreeSet<&str> = facts
                .validators
                .unique()
                .map(|rule| rule.property.as_str())
                .collect();
            json!([by, unique]).to_string()
        }
        false => String::new(),
    };
    let before: Option<String> = connection
        .prepare_cached("SELECT bound FROM collections WHERE type = ?")?
        .query_row([object_type.as_str()], |row| row.get(0))
        .optional()?;
    if before.as_ref().is_none_or(|before| *before == now) {
        return Ok(());
    }
    connection
        .prepare_cached("UPDATE collections SET bound = ? WHERE type = ?")?
        .execute([&now, object_type.as_str()])?;
    unbind(connection, object_type)?;
    if !facts.binds() {
        return Ok(());
    }
    let count: usize = connection.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM objects WHERE type = ? LIMIT ?)",
        params![object_type.as_str(), BOUND_MAX + 1],
        |row| row.get(0),
    )?;
    if count > BOUND_MAX {
        return Err(Error::conflict(format!(
            "this type has more than {BOUND_MAX} objects, which is more than one change of what binds them can reach"
        ))
        .into());
    }
    let mut ids = connection.prepare("SELECT seq, id FROM objects WHERE type = ? ORDER BY id")?;
    let mut rows = ids.query([object_type.as_str()])?;
    while let Some(row) = rows.next()? {
        let (seq, id): (i64, String) = (row.get(0)?, row.get(1)?);
        let object = objects::get(connection, object_type, id.parse()?)?.object;
        follow(connection, &facts, seq, None, &object).map_err(|error| in_the_way(error, &id))?;
    }
    Ok(())
}

/// A value that somebody has twice already is no fault of the schema's author, who is told where to look.
fn in_the_way(error: crate::Error, id: &str) -> crate::Error {
    match error {
        crate::Error::Rule(rule) if rule.kind == Kind::Invalid => {
            let names = rule.fields.iter().map(|fault| fault.property.as_str());
            Error::conflict(format!(
                "the object {id} has the same value as another one in `{}`, which the schema wants to be unique; \
                 change one of them first",
                names.collect::<Vec<_>>().join("`, `")
            ))
            .into()
        }
        other => other,
    }
}

/// Forgets what was written down of all objects of a type.
pub(super) fn unbind(connection: &Connection, object_type: &ObjectType) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM dependents WHERE child IN (SELECT seq FROM objects WHERE type = ?)",
        )?
        .execute([object_type.as_str()])?;
    connection
        .prepare_cached("DELETE FROM uniques WHERE type = ?")?
        .execute([object_type.as_str()])?;
    Ok(())
}
