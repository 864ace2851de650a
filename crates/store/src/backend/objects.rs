//! Objects: create, find, update, delete, list, count; what somebody may not read is not there for them.

use pilvi_model::access::CollectionRights;
use pilvi_model::query::{After, Filter, Query, Sort};
use pilvi_model::{
    Asker, Error as DomainError, Object, ObjectId, ObjectType, Permission, Properties, Readers,
    Result, Timestamp, Writers,
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::author::Author;
use super::indexes::Purpose;
use super::mutation::Written;
use super::outbox::{self, Before, Change};
use super::{
    Backend, access, collections, constraints, facts, file_links, files, geo, inferred, inherit,
    members, users, visible,
};
use crate::error;
use crate::query::Compiled;

/// A list is put together in memory before it is sent.
pub(super) const PAGE_MAX_BYTES: usize = 32 << 20;
/// How large an object may become by updates: each reads, parses and copies all of it.
pub(super) const OBJECT_BYTES_MAX: usize = 4 << 20;

/// An object and what decides who may do what with it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) seq: i64,
    pub(super) object: Object,
    /// Its own list.
    pub(super) access: i64,
    /// The audience of its effective list.
    pub(super) readers: i64,
}

impl Backend {
    /// The object, if the asker may read it.
    pub async fn find_object(
        &self,
        asker: Asker,
        object_type: ObjectType,
        id: ObjectId,
    ) -> Result<Option<Object>> {
        self.database
            .read(move |connection| {
                let found = find_readable(connection, &asker, &object_type, id)?;
                Ok(found.map(|stored| stored.object))
            })
            .await
    }

    /// The texts of the objects that match and that the asker may read, in order. A type that nobody used yet has
    /// none.
    pub async fn list_objects(
        &self,
        asker: Asker,
        object_type: ObjectType,
        query: &Query,
    ) -> Result<Vec<String>> {
        self.list_part(asker, object_type, Part::Whole, query).await
    }

    pub(super) async fn list_part(
        &self,
        asker: Asker,
        object_type: ObjectType,
        part: Part,
        query: &Query,
    ) -> Result<Vec<String>> {
        let (page, after) = (query.page, query.after.clone());
        let (filter, sort) = (query.filter.clone(), query.sort.clone());
        let order = sort.clone();
        let plain = part.is_whole() && filter == Filter::default() && sort == Sort::default();
        let of = object_type.clone();
        self.read_query(
            of,
            (filter, sort),
            Purpose::Page,
            move |connection, compiled| {
                let compiled = part.narrow(connection, &asker, &object_type, compiled)?;
                let compiled = visible::only(connection, &asker, &object_type, &compiled, plain)?;
                let compiled = go_on(
                    connection,
                    &asker,
                    &object_type,
                    compiled,
                    (&order, after.as_ref()),
                )?;
                geo::list_by_distance(
                    connection,
                    &order,
                    &compiled,
                    page.limit as usize,
                    |compiled| {
                        let mut values = compiled.bound_for(object_type.as_str());
                        values.push(i64::from(page.limit).into());
                        values.push(i64::try_from(page.offset).unwrap_or(i64::MAX).into());
                        collect_page(connection, &compiled.page(), values)
                    },
                )
            },
        )
        .await
    }

    /// How many objects match of those that the asker may read.
    pub async fn count_objects(
        &self,
        asker: Asker,
        object_type: ObjectType,
        filter: Filter,
    ) -> Result<u64> {
        self.count_part(asker, object_type, Part::Whole, filter)
            .await
    }

    pub(super) async fn count_part(
        &self,
        asker: Asker,
        object_type: ObjectType,
        part: Part,
        filter: Filter,
    ) -> Result<u64> {
        let plain = part.is_whole() && filter == Filter::default();
        // The default order binds no values.
        let asked = (filter, Sort::default());
        let of = object_type.clone();
        self.read_query(of, asked, Purpose::Count, move |connection, compiled| {
            let compiled = part.narrow(connection, &asker, &object_type, compiled)?;
            let compiled = visible::only(connection, &asker, &object_type, &compiled, plain)?;
            let values = compiled.bound_for(object_type.as_str());
            let mut statement = connection.prepare_cached(&compiled.count())?;
            Ok(statement.query_row(params_from_iter(values), |row| row.get(0))?)
        })
        .await
    }
}

/// The part of a collection that a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Of the users, those in this group.
    MembersOf(ObjectId),
}

impl Part {
    fn is_whole(self) -> bool {
        self == Self::Whole
    }

    /// Leaves only this part, if the asker may list it at all.
    pub(super) fn narrow(
        self,
        connection: &Connection,
        asker: &Asker,
        object_type: &ObjectType,
        compiled: &Compiled,
    ) -> error::Result<Compiled> {
        match self {
            Self::Whole => {
                Backend::require_list(connection, asker, object_type)?;
                Ok(compiled.clone())
            }
            Self::MembersOf(group) => members::only(connection, asker, group, compiled),
        }
    }
}

/// Stores a new object with its access list, its outbox row and its deliveries. `creator` takes the place of
/// `creator` in the type's template; for a user that is the new user.
pub(super) fn create(
    connection: &Connection,
    author: &Author,
    id: ObjectId,
    object_type: &ObjectType,
    creator: Option<ObjectId>,
    properties: &Properties,
) -> error::Result<Written> {
    let (is_known, facts) = facts::facts(connection, object_type)?;
    let rights = &facts.rights;
    if !rights.create.includes(&author.asker) {
        return Err(author
            .asker
            .refusal(&format!("creating {object_type}"))
            .into());
    }
    users::require_login(connection, object_type, id)?;
    if !is_known {
        collections::insert_used(connection, object_type, author.at)?;
    }
    let new = inferred::unknown(&facts, object_type, properties);
    inferred::add(connection, object_type, &new)?;
    let writers = Writers {
        creator,
        updater: author.asker.user(),
    };
    let object = Object::create_by(id, object_type.clone(), author.at, writers, properties);
    check_size(&object, 0)?;
    constraints::check(&facts, None, &object)?;
    let list = rights.template.clone().resolve(creator);
    let parents = inherit::parents_of(rights, &object)?;
    let readers = access::intern_readers(connection, &Readers::of(&list))?;
    let seq = insert(
        connection,
        &object,
        access::intern_list(connection, &list)?,
        readers,
    )?;
    constraints::follow(connection, &facts, seq, None, &object)?;
    facts.indexes.follow(connection, seq, None, Some(&object))?;
    if !parents.is_empty() {
        inherit::set_parents(connection, seq, &parents)?;
    }
    let readers = match parents.is_empty() && !inherit::is_inherited(connection, &object)? {
        true => readers,
        false => {
            inherit::refresh(connection, author, &[seq], Some(seq))?;
            readers_of(connection, seq)?
        }
    };
    let mut webhooks = outbox::append(connection, Change::Create, &object, None, readers, author)?;
    file_links::follow(connection, author, None, &object, &mut webhooks)?;
    Ok(Written {
        object,
        access: None,
        webhooks,
    })
}

pub(super) fn insert(
    connection: &Connection,
    object: &Object,
    access: i64,
    readers: i64,
) -> error::Result<i64> {
    // What is new was last updated when it was created.
    connection
        .prepare_cached(
            "INSERT INTO objects (type, id, created_at, updated_at, doc, access, readers) \
             VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            object.object_type.as_str(),
            object.id.to_string(),
            object.created_at.to_millis_text(),
            object.text,
            access,
            readers,
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Puts what `change` makes of the object in its place; fails with not found when there is no such object for this
/// author.
pub(super) fn update(
    connection: &Connection,
    author: &Author,
    object_type: &ObjectType,
    id: ObjectId,
    change: impl FnOnce(&Object) -> Result<Object>,
) -> error::Result<Written> {
    let stored = access::require(
        connection,
        &author.asker,
        Permission::Update,
        object_type,
        id,
    )?;
    replace(connection, author, &stored, change(&stored.object)?)
}

/// Puts an object in the place of its former self, whoever may do so having been asked before.
pub(super) fn replace(
    connection: &Connection,
    author: &Author,
    stored: &Stored,
    object: Object,
) -> error::Result<Written> {
    put(connection, author, stored, object, By::Author)
}

/// Who wants an object to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Author,
    /// What it referred to is deleted. The schema says what happens then, whatever its other rules are.
    Schema,
}

pub(super) fn put(
    connection: &Connection,
    author: &Author,
    stored: &Stored,
    object: Object,
    by: By,
) -> error::Result<Written> {
    check_size(&object, stored.object.text.len())?;
    let (_, facts) = facts::facts(connection, &object.object_type)?;
    if by == By::Author {
        constraints::check(&facts, Some(&stored.object), &object)?;
    }
    connection
        .prepare_cached("UPDATE objects SET updated_at = ?, doc = ? WHERE seq = ?")?
        .execute(params![
            object.updated_at.to_millis_text(),
            object.text,
            stored.seq
        ])?;
    users::follow(connection, &stored.object, &object)?;
    constraints::follow(
        connection,
        &facts,
        stored.seq,
        Some(&stored.object),
        &object,
    )?;
    facts
        .indexes
        .follow(connection, stored.seq, Some(&stored.object), Some(&object))?;
    let readers = follow_references(connection, author, &facts.rights, stored, &object, by)?;
    let before = Before {
        text: &stored.object.text,
        readers: stored.readers,
    };
    let mut webhooks = outbox::append(
        connection,
        Change::Update,
        &object,
        Some(before),
        readers,
        author,
    )?;
    file_links::follow(
        connection,
        author,
        Some(&stored.object),
        &object,
        &mut webhooks,
    )?;
    Ok(Written {
        object,
        access: None,
        webhooks,
    })
}

/// Refuses an object that grew too large. A smaller one is welcome, however large it still is.
fn check_size(object: &Object, before: usize) -> error::Result<()> {
    let now = object.text.len();
    if now > OBJECT_BYTES_MAX && now > before {
        let message = format!(
            "the object would have {now} bytes as JSON; it can have {OBJECT_BYTES_MAX} at most"
        );
        return Err(DomainError::too_large(message).into());
    }
    Ok(())
}

/// An object that refers to others now may inherit from them. Says who its readers are then. Whose lists count for
/// an object is as much as the object's own list, so choosing them needs the same permission.
fn follow_references(
    connection: &Connection,
    author: &Author,
    rights: &CollectionRights,
    stored: &Stored,
    object: &Object,
    by: By,
) -> error::Result<i64> {
    if rights.extends.is_empty() {
        return Ok(stored.readers);
    }
    let parents = inherit::parents_of(rights, object)?;
    if by == By::Author
        && parents != inherit::parents_of(rights, &stored.object)?
        && !access::allows(connection, stored, Permission::Admin, &author.asker)?
    {
        let what = "changing from which objects this one inherits its access list";
        return Err(author.asker.refusal(what).into());
    }
    if !inherit::set_parents(connection, stored.seq, &parents)? {
        return Ok(stored.readers);
    }
    inherit::refresh(connection, author, &[stored.seq], Some(stored.seq))?;
    readers_of(connection, stored.seq)
}

/// Deletes the object, with what the schemas say goes with it, and says what it last was.
pub(super) fn delete(
    connection: &Connection,
    author: &Author,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Written> {
    let stored = access::require(
        connection,
        &author.asker,
        Permission::Delete,
        object_type,
        id,
    )?;
    delete_stored(connection, author, stored)
}

/// Deletes an object with what goes with it, whoever may do so having been asked before.
pub(super) fn delete_stored(
    connection: &Connection,
    author: &Author,
    stored: Stored,
) -> error::Result<Written> {
    let others = constraints::before_delete(connection, author, &stored)?;
    let mut written = remove(connection, author, stored)?;
    if !others.is_empty() {
        written.webhooks.extend(others);
        written.webhooks.sort_unstable();
        written.webhooks.dedup();
    }
    Ok(written)
}

/// Deletes an object alone.
pub(super) fn remove(
    connection: &Connection,
    author: &Author,
    stored: Stored,
) -> error::Result<Written> {
    let (_, facts) = facts::facts(connection, &stored.object.object_type)?;
    constraints::forget(connection, &facts, stored.seq)?;
    facts
        .indexes
        .follow(connection, stored.seq, Some(&stored.object), None)?;
    connection
        .prepare_cached("DELETE FROM objects WHERE seq = ?")?
        .execute([stored.seq])?;
    users::forget(connection, &stored.object)?;
    let object = stored.object;
    // Before anything looks for audiences that nobody has: this one goes on with the change.
    let readers = stored.readers;
    let mut webhooks = outbox::append(connection, Change::Delete, &object, None, readers, author)?;
    files::forget(connection, author, &object, &mut webhooks)?;
    inherit::detach(connection, author, stored.seq, &object)?;
    Ok(Written {
        object,
        access: None,
        webhooks,
    })
}

/// Leaves only what follows the page before, if there was one.
fn go_on(
    connection: &Connection,
    asker: &Asker,
    object_type: &ObjectType,
    compiled: Compiled,
    (sort, after): (&Sort, Option<&After>),
) -> error::Result<Compiled> {
    match after {
        None => Ok(compiled),
        Some(After::Position(position)) => Ok(compiled.behind(sort, position)),
        Some(After::Object(id)) => match find_readable(connection, asker, object_type, *id)? {
            Some(stored) => Ok(compiled.behind(sort, &sort.position(&stored.object.to_json()?))),
            None => Err(DomainError::bad_request(
                "the object that `after` stood on is gone, and what it sorted by was too long to carry along; leave \
                 `after` out to start over, or sort by something shorter",
            )
            .into()),
        },
    }
}

pub(super) fn collect_page(
    connection: &Connection,
    sql: &str,
    values: Vec<Value>,
) -> error::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        bytes += text.len();
        if bytes > PAGE_MAX_BYTES {
            let message = "this page of results is larger than 32 MiB; ask for fewer with `limit`";
            return Err(DomainError::too_large(message).into());
        }
        texts.push(text);
    }
    Ok(texts)
}

/// What is answered where there is no such object, or none for whoever asks.
pub(super) fn missing(object_type: &ObjectType, id: ObjectId) -> DomainError {
    DomainError::not_found(format!("there is no object {id} of type {object_type}"))
}

pub(super) fn get(
    connection: &Connection,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Stored> {
    find(connection, object_type, id)?.ok_or_else(|| missing(object_type, id).into())
}

/// The object, if it is there for the asker.
pub(super) fn find_readable(
    connection: &Connection,
    asker: &Asker,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Option<Stored>> {
    match find(connection, object_type, id)? {
        Some(stored) if access::may_read(connection, stored.readers, asker)? => Ok(Some(stored)),
        _ => Ok(None),
    }
}

pub(super) fn find(
    connection: &Connection,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Option<Stored>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, created_at, updated_at, doc, access, readers FROM objects WHERE type = ? AND id = ?",
    )?;
    let found = statement
        .query_row(params![object_type.as_str(), id.to_string()], |row| {
            Ok(Stored {
                seq: row.get(0)?,
                object: Object {
                    id,
                    object_type: object_type.clone(),
                    created_at: timestamp(row, 1)?,
                    updated_at: timestamp(row, 2)?,
                    text: row.get(3)?,
                },
                access: row.get(4)?,
                readers: row.get(5)?,
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn readers_of(connection: &Connection, seq: i64) -> error::Result<i64> {
    let mut statement = connection.prepare_cached("SELECT readers FROM objects WHERE seq = ?")?;
    Ok(statement.query_row([seq], |row| row.get(0))?)
}

/// Reads a moment that this crate wrote as text.
pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    Timestamp::from_millis_text(&text).ok_or_else(|| {
        let fault = format!("`{text}` is no moment");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, fault.into())
    })
}
