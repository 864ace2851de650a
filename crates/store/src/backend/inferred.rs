//! Properties that were used without being described become part of their type, with the type of their first value
//! (`eds.md` §4.7), in the transaction that uses them.
//!
//! What is known of a type is in memory, so a write that uses nothing new costs one look for each property.

use pilvi_model::schema::{Inferred, infer};
use pilvi_model::{Error, ObjectType, Properties};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::facts::{self, TypeFacts};
use crate::error::Result;

/// So many properties of a type are learned. Clients that use ids as names would never end.
const INFERRED_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 200;

/// The properties among these that the type is not known to have.
pub(super) fn unknown(
    facts: &TypeFacts,
    object_type: &ObjectType,
    used: &Properties,
) -> Vec<Inferred> {
    if facts.inferred >= INFERRED_MAX {
        return Vec::new();
    }
    let is_known = |name: &str| {
        facts.properties.contains(name)
            || name.len() > NAME_BYTES_MAX
            || is_internal(object_type, name)
    };
    let used = used.as_map().iter();
    let new = used.filter(|(name, _)| !is_known(name));
    new.filter_map(|(name, value)| infer(name, value))
        .take(INFERRED_MAX - facts.inferred)
        .collect()
}

/// The same, when it is not known yet what the type is.
pub(super) fn unknown_of(
    connection: &Connection,
    object_type: &ObjectType,
    used: &Properties,
) -> Result<Vec<Inferred>> {
    let (_, facts) = facts::facts(connection, object_type)?;
    Ok(unknown(&facts, object_type, used))
}

/// What users and groups have without anybody describing it.
fn is_internal(object_type: &ObjectType, name: &str) -> bool {
    match object_type.as_str() {
        "users" => ["username", "email", "firstName", "lastName"].contains(&name),
        "usergroups" => name == "name",
        _ => false,
    }
}

/// Adds properties to a type.
pub(super) fn add(
    connection: &Connection,
    object_type: &ObjectType,
    new: &[Inferred],
) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let known: Option<String> = connection
        .prepare_cached("SELECT inferred FROM collections WHERE type = ?")?
        .query_row([object_type.as_str()], |row| row.get(0))
        .optional()?;
    let Some(known) = known else {
        return Ok(());
    };
    let mut all: Vec<Value> = serde_json::from_str(&known).map_err(Error::internal)?;
    all.extend(new.iter().map(Inferred::to_json));
    connection
        .prepare_cached("UPDATE collections SET inferred = ? WHERE type = ?")?
        .execute([Value::Array(all).to_string().as_str(), object_type.as_str()])?;
    Ok(())
}
