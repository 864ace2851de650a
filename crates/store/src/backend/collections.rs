//! The types of a backend, and what each of them allows.

use std::collections::BTreeSet;
use std::sync::Arc;

use pilvi_model::access::CollectionRights;
use pilvi_model::{Asker, Error, ObjectId, ObjectType, Result, Timestamp, WebhookId, schema};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::author::Author;
use super::facts::{self, REST};
use super::objects::timestamp;
use super::{Backend, constraints, indexes, inherit, objects, outbox, variants};
use crate::error;

/// Types that a backend may describe, and that a listing has: it is put together in memory.
const TYPES_MAX: i64 = 1000;
/// Whoever creates an object may use a new type, and a type that is only used is not among those described.
pub(super) const DESCRIBED: &str = "(rights IS NOT NULL OR doc <> '{}')";
/// Objects of a type that one change of its schema may let inherit anew.
const REVISED_MAX: usize = 50_000;
/// Objects that go in one write when their type is removed.
const REMOVED_AT_ONCE: usize = 500;

/// A type as it is described.
#[derive(Clone, Debug)]
pub struct Collection {
    pub id: String,
    pub object_type: ObjectType,
    /// The schema as it was given, without what the server adds.
    pub schema: Map<String, Value>,
    /// The properties that somebody used and nobody described, as a schema shows them.
    pub inferred: Vec<Value>,
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
    /// The same, and makes the type if need be.
    Put,
}

/// A type as somebody brings it along.
#[derive(Clone, Debug)]
pub struct NewCollection {
    pub object_type: ObjectType,
    /// It has this id and was made then, unless it is here already or another type has the id.
    pub id: Option<ObjectId>,
    pub created_at: Option<Timestamp>,
    pub schema: Map<String, Value>,
}

/// A type that is gone.
#[derive(Clone, Debug)]
pub struct Removed {
    pub id: String,
    pub object_type: ObjectType,
    /// How many objects of the type went with it.
    pub objects: u64,
    /// The webhooks that now have something to deliver.
    pub webhooks: Vec<WebhookId>,
}

/// What became of a part of a removal.
enum Step {
    Done(String, ObjectType),
    More,
}

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
        let described = self
            .database
            .write(move |connection| describe(connection, &id_or_type, schema, change, &author))
            .await?;
        self.work_on_indexes();
        Ok(described)
    }

    /// Describes many types, all of them or none.
    pub async fn import_collections(
        &self,
        collections: Vec<NewCollection>,
        author: Author,
    ) -> Result<Vec<Collection>> {
        let put = move |connection: &Connection| {
            let imported = collections
                .iter()
                .map(|new| import(connection, new, &author));
            imported.collect()
        };
        let imported = self.database.write(put).await?;
        self.work_on_indexes();
        Ok(imported)
    }

    /// Removes a type: what was said about it, and its objects, if they are to go, too. Many objects go by and by, and
    /// the type last, so that whatever interrupts it can be done again.
    pub async fn remove_collection(
        &self,
        id_or_type: String,
        with_objects: bool,
        author: Author,
    ) -> Result<Removed> {
        let (mut objects, mut webhooks) = (0, BTreeSet::new());
        loop {
            let (id_or_type, author) = (id_or_type.clone(), author.clone());
            let remove = move |connection: &Connection| {
                remove_some(connection, &id_or_type, with_objects, &author)
            };
            let (step, gone, waking) = self.database.write_when_low(remove).await?;
            objects += gone;
            webhooks.extend(waking);
            if let Step::Done(id, object_type) = step {
                let webhooks = webhooks.into_iter().collect();
                return Ok(Removed {
                    id,
                    object_type,
                    objects,
                    webhooks,
                });
            }
        }
    }
}

/// What a type allows.
pub(super) fn rights(
    connection: &Connection,
    object_type: &ObjectType,
) -> error::Result<Arc<CollectionRights>> {
    let (_, facts) = facts::facts(connection, object_type)?;
    Ok(Arc::clone(&facts.rights))
}

/// Writes down that a type is used.
pub(super) fn insert_used(
    connection: &Connection,
    object_type: &ObjectType,
    now: Timestamp,
) -> error::Result<()> {
    insert(connection, object_type.as_str(), &Map::new(), None, now)
}

/// The rights of all types about which nothing was said; absent: they are open.
pub(super) fn rest_text(connection: &Connection) -> error::Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT rights FROM collections WHERE type = '*'")?;
    let text: Option<Option<String>> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(text.flatten())
}

/// Says what holds for all types about which nothing was said.
pub(super) fn put_rest(
    connection: &Connection,
    said: &Map<String, Value>,
    now: Timestamp,
) -> error::Result<()> {
    let rights = CollectionRights::open().overlaid(said)?;
    insert(connection, REST, &Map::new(), Some(&rights), now)
}

fn parsed(text: Option<&str>) -> error::Result<Arc<CollectionRights>> {
    match text {
        None => Ok(Arc::new(CollectionRights::open())),
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

const SELECT: &str =
    "SELECT type, id, doc, rights, created_at, updated_at, inferred FROM collections";

struct RawCollection {
    object_type: String,
    id: String,
    doc: String,
    rights: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    inferred: String,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawCollection> {
    Ok(RawCollection {
        object_type: row.get(0)?,
        id: row.get(1)?,
        doc: row.get(2)?,
        rights: row.get(3)?,
        created_at: timestamp(row, 4)?,
        updated_at: timestamp(row, 5)?,
        inferred: row.get(6)?,
    })
}

fn cooked(connection: &Connection, raw: RawCollection) -> error::Result<Collection> {
    let rights = match raw.rights {
        Some(text) => Some(text),
        None => rest_text(connection)?,
    };
    let schema: Map<String, Value> = serde_json::from_str(&raw.doc).map_err(Error::internal)?;
    let mut inferred: Vec<Value> = serde_json::from_str(&raw.inferred).map_err(Error::internal)?;
    // Who describes a property that was only used before knows better.
    if let Some(Value::Array(described)) = schema.get("properties") {
        let is_described =
            |name: Option<&Value>| described.iter().any(|own| own.get("name") == name);
        inferred.retain(|property| !is_described(property.get("name")));
    }
    Ok(Collection {
        id: raw.id,
        object_type: raw.object_type.parse()?,
        schema,
        inferred,
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
        (None, SchemaChange::Merge | SchemaChange::Put) => None,
        (None, SchemaChange::Replace) => {
            return Err(no_such_type().into());
        }
    };
    let is_new = before.is_none();
    let facts_before = match &before {
        Some(before) => Some(facts::facts(connection, &before.object_type)?.1),
        None => None,
    };
    if let Some(before) = before {
        let said = says_rights(&schema) || own_rights(connection, &before)?;
        let merged = merged(before.schema, schema, change);
        schema::check(&merged)?;
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
            inherit_anew(connection, &before.object_type, &rights, author)?;
        }
    } else {
        make(connection, &id_or_type.parse()?, schema, author.at)?;
    }
    let after = find(connection, id_or_type)?
        .ok_or_else(|| Error::internal("a described type is not there"))?;
    constraints::bind_anew(connection, &after.object_type)?;
    if let Some(before) = facts_before {
        let (_, facts) = facts::facts(connection, &after.object_type)?;
        variants::schema_changed(connection, &after.object_type, &before, &facts)?;
    }
    let properties = after.schema.get("properties");
    indexes::follow_schema(connection, &after.object_type, properties, author.at)?;
    outbox::append_schema(connection, after.object_type.as_str(), author)?;
    Ok((after, is_new))
}

fn no_such_type() -> Error {
    Error::not_found("there is no such object type")
}

fn import(
    connection: &Connection,
    new: &NewCollection,
    author: &Author,
) -> error::Result<Collection> {
    let name = new.object_type.as_str();
    let put = SchemaChange::Put;
    let (made, is_new) = describe(connection, name, new.schema.clone(), put, author)?;
    if !is_new {
        return Ok(made);
    }
    let id = new.id.map(|id| id.to_string());
    let created_at = new.created_at.filter(|at| *at < made.created_at);
    connection
        .prepare_cached(
            "UPDATE OR IGNORE collections SET id = coalesce(?, id), created_at = coalesce(?, created_at) \
             WHERE type = ?",
        )?
        .execute(params![id, created_at.map(Timestamp::to_millis_text), name])?;
    let found = find(connection, name)?;
    found.ok_or_else(|| Error::internal("an imported type is not there").into())
}

/// Removes the type, or some of its objects when they are many. Says how many, and which webhooks that concerns.
fn remove_some(
    connection: &Connection,
    id_or_type: &str,
    with_objects: bool,
    author: &Author,
) -> error::Result<(Step, u64, Vec<WebhookId>)> {
    let found = find(connection, id_or_type)?;
    // Nobody need have used a built-in type for it to be there.
    let named: Option<ObjectType> = match &found {
        Some(found) => Some(found.object_type.clone()),
        None => id_or_type.parse().ok(),
    };
    if let Some(object_type) = named
        && !object_type.as_str().starts_with("objects.")
    {
        return Err(Error::conflict(format!(
            "`{object_type}` is a built-in type, which every backend has; change what is said about it instead"
        ))
        .into());
    }
    let Collection {
        id, object_type, ..
    } = found.ok_or_else(no_such_type)?;
    let mut statement =
        connection.prepare_cached("SELECT id FROM objects WHERE type = ? ORDER BY id LIMIT ?")?;
    let rows = statement.query_map(params![object_type.as_str(), REMOVED_AT_ONCE], |row| {
        row.get(0)
    })?;
    let some: Vec<String> = rows.collect::<Result<_, _>>()?;
    if !some.is_empty() && !with_objects {
        return Err(Error::conflict(format!(
            "there are objects of the type {object_type}; delete them first, or delete them with their type by \
             `?objects=true`"
        ))
        .into());
    }
    let (mut gone, mut webhooks) = (0, Vec::new());
    for id in &some {
        // One may have gone with another.
        if let Some(stored) = objects::find(connection, &object_type, id.parse()?)? {
            webhooks.extend(objects::delete_stored(connection, author, stored)?.webhooks);
            gone += 1;
        }
    }
    if some.len() == REMOVED_AT_ONCE {
        return Ok((Step::More, gone, webhooks));
    }
    constraints::unbind(connection, &object_type)?;
    indexes::follow_schema(connection, &object_type, None, author.at)?;
    connection
        .prepare_cached("DELETE FROM collections WHERE type = ?")?
        .execute([object_type.as_str()])?;
    outbox::append_schema(connection, object_type.as_str(), author)?;
    Ok((Step::Done(id, object_type), gone, webhooks))
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
    schema::check(&schema)?;
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
                        Some(kept) => take_place(kept, item),
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

/// An entry that comes without an id is still the one that it replaces.
fn take_place(kept: &mut Value, mut item: Value) {
    let id = kept.get("id").filter(|id| !id.is_null());
    if let (Some(id), Value::Object(members)) = (id, &mut item)
        && members.get("id").is_none_or(Value::is_null)
    {
        members.insert("id".to_owned(), id.clone());
    }
    *kept = item;
}

/// After a type's schema says differently by which references its objects inherit.
fn inherit_anew(
    connection: &Connection,
    object_type: &ObjectType,
    rights: &CollectionRights,
    author: &Author,
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
    inherit::refresh(connection, author, &changed, None)
}
