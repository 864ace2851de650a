//! The types of a backend, and what each of them allows.

use std::sync::{Arc, LazyLock};

use pilvi_model::access::CollectionRights;
use pilvi_model::{Asker, Error, ObjectType, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::author::Author;
use super::objects::timestamp;
use super::{Backend, inherit, objects};
use crate::error;

/// Types that a backend may describe, and that a listing has: it is put together in memory.
const TYPES_MAX: i64 = 1000;
/// Whoever creates an object may use a new type, and a type that is only used is not among those described.
const DESCRIBED: &str = "(rights IS NOT NULL OR doc <> '{}')";
/// Objects of a type that one change of its schema may let inherit anew.
const REVISED_MAX: usize = 50_000;
/// Stands for all types about which nothing was said.
const REST: &str = "*";

/// A type as it is described.
#[derive(Clone, Debug)]
pub struct Collection {
    pub id: String,
    pub object_type: ObjectType,
    /// The schema as it was given, without what the server adds.
    pub schema: Map<String, Value>,
    pub rights: Arc<CollectionRights>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How a schema takes in a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// Makes the type if need be. Properties and validators are added or replaced one by one, by their names.
    Merge,
    /// What is named takes the place of what was there. The type must exist.
    Replace,
}

static OPEN: LazyLock<Arc<CollectionRights>> = LazyLock::new(|| Arc::new(CollectionRights::open()));

impl Backend {
    /// Fails unless the asker may list and count this type.
    pub(super) fn require_list(
        connection: &Connection,
        asker: &Asker,
        object_type: &ObjectType,
    ) -> error::Result<()> {
        if asker.is_admin() || rights(connection, object_type)?.read.includes(asker) {
            return Ok(());
        }
        Err(asker.refusal(&format!("listing {object_type}")).into())
    }

    /// The types that are used or described, by their names. Where there are too many, some that are only used are
    /// left out.
    pub async fn list_collections(&self) -> Result<Vec<Collection>> {
        self.database
            .read(|connection| {
                let sql = format!(
                    "SELECT * FROM ({SELECT} WHERE type <> '*' ORDER BY {DESCRIBED} DESC, type LIMIT {TYPES_MAX}) \
                     ORDER BY type"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([], raw)?;
                rows.map(|row| cooked(connection, row?)).collect()
            })
            .await
    }

    /// A type by its id, or by its name.
    pub async fn find_collection(&self, id_or_type: String) -> Result<Option<Collection>> {
        self.database
            .read(move |connection| find(connection, &id_or_type))
            .await
    }

    /// Describes a type. Says what it is then, and whether it is new.
    pub async fn describe_collection(
        &self,
        id_or_type: String,
        schema: Map<String, Value>,
        change: SchemaChange,
        author: Author,
    ) -> Result<(Collection, bool)> {
        self.database
            .write(move |connection| describe(connection, &id_or_type, schema, change, &author))
            .await
    }
}

/// What a type allows.
pub(super) fn rights(
    connection: &Connection,
    object_type: &ObjectType,
) -> error::Result<Arc<CollectionRights>> {
    Ok(known_rights(connection, object_type)?.1)
}

/// Writes down that a type is used.
pub(super) fn insert_used(
    connection: &Connection,
    object_type: &ObjectType,
    now: Timestamp,
) -> error::Result<()> {
    insert(connection, object_type.as_str(), &Map::new(), None, now)
}

/// Whether the type is written down, and its rights.
pub(super) fn known_rights(
    connection: &Connection,
    object_type: &ObjectType,
) -> error::Result<(bool, Arc<CollectionRights>)> {
    let mut statement = connection.prepare_cached(
        "SELECT rights, (SELECT rights FROM collections WHERE type = '*') FROM collections WHERE type = ?",
    )?;
    let texts: Option<(Option<String>, Option<String>)> = statement
        .query_row([object_type.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let text = match &texts {
        Some((own, rest)) => own.clone().or_else(|| rest.clone()),
        None => rest_text(connection)?,
    };
    Ok((texts.is_some(), parsed(text.as_deref())?))
}

fn rest_text(connection: &Connection) -> error::Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT rights FROM collections WHERE type = '*'")?;
    let text: Option<Option<String>> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(text.flatten())
}

fn parsed(text: Option<&str>) -> error::Result<Arc<CollectionRights>> {
    match text {
        None => Ok(Arc::clone(&OPEN)),
        Some(text) => Ok(Arc::new(CollectionRights::from_text(text)?)),
    }
}

/// Closes a new backend: whoever creates something has it alone, until they share it.
pub(crate) fn make_private(connection: &Connection, now: Timestamp) -> error::Result<()> {
    let all = CollectionRights::private();
    let users = CollectionRights::private_users();
    for (name, rights) in [(REST, &all), ("usergroups", &all), ("users", &users)] {
        insert(connection, name, &Map::new(), Some(rights), now)?;
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    name: &str,
    schema: &Map<String, Value>,
    rights: Option<&CollectionRights>,
    now: Timestamp,
) -> error::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO collections (type, id, doc, rights, created_at, updated_at) \
             VALUES (?1, lower(hex(randomblob(12))), ?2, ?3, ?4, ?4)",
        )?
        .execute(params![
            name,
            Value::Object(schema.clone()).to_string(),
            rights.map(CollectionRights::to_text),
            now.to_millis_text(),
        ])?;
    Ok(())
}

const SELECT: &str = "SELECT type, id, doc, rights, created_at, updated_at FROM collections";

struct RawCollection {
    object_type: String,
    id: String,
    doc: String,
    rights: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawCollection> {
    Ok(RawCollection {
        object_type: row.get(0)?,
        id: row.get(1)?,
        doc: row.get(2)?,
        rights: row.get(3)?,
        created_at: timestamp(row, 4)?,
        updated_at: timestamp(row, 5)?,
    })
}

fn cooked(connection: &Connection, raw: RawCollection) -> error::Result<Collection> {
    let rights = match raw.rights {
        Some(text) => Some(text),
        None => rest_text(connection)?,
    };
    Ok(Collection {
        id: raw.id,
        object_type: raw.object_type.parse()?,
        schema: serde_json::from_str(&raw.doc).map_err(Error::internal)?,
        rights: parsed(rights.as_deref())?,
        created_at: raw.created_at,
        updated_at: raw.updated_at,
    })
}

fn find(connection: &Connection, id_or_type: &str) -> error::Result<Option<Collection>> {
    let sql = format!("{SELECT} WHERE type <> '*' AND (id = ?1 OR type = ?1)");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_row([id_or_type], raw).optional()?;
    found.map(|raw| cooked(connection, raw)).transpose()
}

fn describe(
    connection: &Connection,
    id_or_type: &str,
    schema: Map<String, Value>,
    change: SchemaChange,
    author: &Author,
) -> error::Result<(Collection, bool)> {
    let before = match (find(connection, id_or_type)?, change) {
        (Some(before), _) => Some(before),
        (None, SchemaChange::Merge) => None,
        (None, SchemaChange::Replace) => {
            return Err(Error::not_found("there is no such object type").into());
        }
    };
    let is_new = before.is_none();
    if let Some(before) = before {
        let said = says_rights(&schema) || own_rights(connection, &before)?;
        let merged = merged(before.schema, schema, change);
        let rights = CollectionRights::clone(&before.rights).overlaid(&merged)?;
        let updated_at = author
            .at
            .max(Timestamp::from_millis(before.updated_at.as_millis() + 1));
        let keeps = (said || !rights.extends.is_empty()).then(|| rights.to_text());
        connection
            .prepare_cached(
                "UPDATE collections SET doc = ?, rights = ?, updated_at = ? WHERE id = ?",
            )?
            .execute(params![
                Value::Object(merged).to_string(),
                keeps,
                updated_at.to_millis_text(),
                before.id,
            ])?;
        if rights.extends != before.rights.extends {
            inherit_anew(connection, &before.object_type, &rights)?;
        }
    } else {
        make(connection, &id_or_type.parse()?, schema, author.at)?;
    }
    let after = find(connection, id_or_type)?
        .ok_or_else(|| Error::internal("a described type is not there"))?;
    Ok((after, is_new))
}

fn make(
    connection: &Connection,
    object_type: &ObjectType,
    schema: Map<String, Value>,
    now: Timestamp,
) -> error::Result<()> {
    let sql = format!("SELECT count(*) FROM collections WHERE type <> '*' AND {DESCRIBED}");
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    if count >= TYPES_MAX {
        let message = format!("a backend describes at most {TYPES_MAX} object types");
        return Err(Error::conflict(message).into());
    }
    let rest = parsed(rest_text(connection)?.as_deref())?;
    let rights = CollectionRights::clone(&rest).overlaid(&schema)?;
    let keeps = says_rights(&schema) || !rights.extends.is_empty();
    let schema = merged(Map::new(), schema, SchemaChange::Merge);
    insert(
        connection,
        object_type.as_str(),
        &schema,
        keeps.then_some(&rights),
        now,
    )
}

/// Whether a schema says who may do what.
fn says_rights(schema: &Map<String, Value>) -> bool {
    ["accessControlList", "accessControlListTemplate"]
        .iter()
        .any(|name| schema.get(*name).is_some_and(|value| !value.is_null()))
}

fn own_rights(connection: &Connection, collection: &Collection) -> error::Result<bool> {
    let mut statement =
        connection.prepare_cached("SELECT rights IS NOT NULL FROM collections WHERE id = ?")?;
    Ok(statement.query_row([&collection.id], |row| row.get(0))?)
}

/// Lists are part of the rights, so the schema does not keep them a second time.
fn merged(
    mut before: Map<String, Value>,
    given: Map<String, Value>,
    change: SchemaChange,
) -> Map<String, Value> {
    for (name, value) in given {
        match (name.as_str(), change, before.get_mut(&name), value) {
            (
                "properties" | "validators",
                SchemaChange::Merge,
                Some(Value::Array(kept)),
                Value::Array(added),
            ) => {
                for item in added {
                    let same = |kept: &&mut Value| kept.get("name") == item.get("name");
                    match kept.iter_mut().find(same) {
                        Some(kept) => *kept = item,
                        None => kept.push(item),
                    }
                }
            }
            ("settings", SchemaChange::Merge, Some(Value::Object(kept)), Value::Object(added)) => {
                kept.extend(added);
            }
            (_, _, _, value) => {
                before.insert(name, value);
            }
        }
    }
    before
}

/// After a type's schema says differently by which references its objects inherit.
fn inherit_anew(
    connection: &Connection,
    object_type: &ObjectType,
    rights: &CollectionRights,
) -> error::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT seq, id FROM objects WHERE type = ? LIMIT ?")?;
    let rows = statement.query_map(params![object_type.as_str(), REVISED_MAX + 1], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?))
    })?;
    let all: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
    if all.len() > REVISED_MAX {
        let message = format!(
            "this type has more than {REVISED_MAX} objects, which is more than one change of what objects inherit \
             can reach"
        );
        return Err(Error::conflict(message).into());
    }
    let mut changed = Vec::new();
    for (seq, id) in all {
        let object = objects::get(connection, object_type, id.parse()?)?.object;
        let parents = inherit::parents_of(rights, &object)?;
        if inherit::set_parents(connection, seq, &parents)? {
            changed.push(seq);
        }
    }
    inherit::refresh(connection, &changed)
}
