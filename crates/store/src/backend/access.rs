//! Access lists in the file: each different one once, the readers of each object beside it, and the decisions.
//!
//! `pilvi_model::access` is the specification. What is decided here is the same, without looking at more than the
//! decision needs: who may read stands with the object, and the rest is looked for in the object's own list first
//! and then in those that it inherits.

use std::collections::HashSet;
use std::sync::LazyLock;

use pilvi_model::access::Subjects;
use pilvi_model::{
    AccessChange, AccessList, Asker, ObjectId, ObjectType, Permission, Readers, Result,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::Backend;
use super::author::Author;
use super::inherit;
use super::mutation::Written;
use super::objects::{self, Stored};
use crate::error;

/// The list of what nobody in particular creates in an open backend.
const OPEN: i64 = 1;
static OPEN_LIST: LazyLock<AccessList> = LazyLock::new(AccessList::open);
/// The audience of all that everybody may read.
pub(super) const EVERYONE: i64 = 1;

/// So many new lists or audiences come before unused ones are looked for, at least.
const SWEEP_AFTER: i64 = 256;
/// For so many objects one more, because all of them are looked through.
const OBJECTS_PER_NEW_ONE: i64 = 64;

/// The subjects that an asker is, as a bound JSON array.
pub(super) fn subjects_of(asker: &Asker) -> String {
    Subjects::of(asker.subjects()).to_text()
}

impl Backend {
    /// The object's own list, for whoever administers it.
    pub async fn find_access(
        &self,
        asker: Asker,
        object_type: ObjectType,
        id: ObjectId,
    ) -> Result<AccessList> {
        self.database
            .read(move |connection| {
                let stored = require(connection, &asker, Permission::Admin, &object_type, id)?;
                list(connection, stored.access)
            })
            .await
    }
}

/// Changes the object's own list. Its document stays as it is, so no webhook is told.
pub(super) fn change(
    connection: &Connection,
    author: &Author,
    object_type: &ObjectType,
    id: ObjectId,
    change: AccessChange,
) -> error::Result<Written> {
    let stored = require(
        connection,
        &author.asker,
        Permission::Admin,
        object_type,
        id,
    )?;
    let before = list(connection, stored.access)?;
    let after = before.clone().changed_by(change)?;
    if after != before {
        let access = intern_list(connection, &after)?;
        connection
            .prepare_cached("UPDATE objects SET access = ? WHERE seq = ?")?
            .execute([access, stored.seq])?;
        inherit::refresh(connection, author, &[stored.seq], None)?;
    }
    Ok(Written {
        object: stored.object,
        access: Some(after),
        webhooks: Vec::new(),
    })
}

/// The object, if the asker has this permission for it. Whoever may not even read it is told that it is not there.
pub(super) fn require(
    connection: &Connection,
    asker: &Asker,
    permission: Permission,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Stored> {
    let stored = objects::get(connection, object_type, id)?;
    if allows(connection, &stored, permission, asker)? {
        return Ok(stored);
    }
    if permission == Permission::Read || !may_read(connection, stored.readers, asker)? {
        return Err(objects::missing(object_type, id).into());
    }
    let what = match permission {
        Permission::Admin => "the access list of this object".to_owned(),
        permission => format!("the {} of this object", permission.as_str()),
    };
    Err(asker.refusal(&what).into())
}

/// Whether the asker has a permission by the object's effective list.
pub(super) fn allows(
    connection: &Connection,
    stored: &Stored,
    permission: Permission,
    asker: &Asker,
) -> error::Result<bool> {
    if asker.is_admin() {
        return Ok(true);
    }
    if permission == Permission::Read {
        return may_read(connection, stored.readers, asker);
    }
    let mut seen_objects = HashSet::from([stored.seq]);
    let mut seen_lists = HashSet::new();
    let mut open = vec![(stored.seq, stored.access)];
    while let Some((seq, access)) = open.pop() {
        if seen_lists.insert(access) && list(connection, access)?.allows(permission, asker) {
            return Ok(true);
        }
        let parents = inherit::parents(connection, seq)?;
        open.extend(
            parents
                .into_iter()
                .filter(|(parent, _)| seen_objects.insert(*parent)),
        );
    }
    Ok(false)
}

/// Whether the asker is in this audience.
pub(super) fn may_read(
    connection: &Connection,
    audience: i64,
    asker: &Asker,
) -> error::Result<bool> {
    match asker {
        Asker::Admin => Ok(true),
        _ if audience == EVERYONE => Ok(true),
        Asker::Anonymous => Ok(false),
        Asker::User { .. } => {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM audience_subjects \
                 WHERE audience = ? AND subject IN (SELECT value FROM json_each(?)))",
            )?;
            Ok(statement.query_row(params![audience, subjects_of(asker)], |row| row.get(0))?)
        }
    }
}

/// The id under which the list is kept.
pub(super) fn intern_list(connection: &Connection, list: &AccessList) -> error::Result<i64> {
    if *list == *OPEN_LIST {
        return Ok(OPEN);
    }
    let text = list.to_text();
    let known = connection
        .prepare_cached("SELECT id FROM access_lists WHERE list = ?")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO access_lists (list) VALUES (?)")?
        .execute([text])?;
    Ok(connection.last_insert_rowid())
}

/// The list that is kept under an id.
pub(super) fn list(connection: &Connection, id: i64) -> error::Result<AccessList> {
    if id == OPEN {
        return Ok(OPEN_LIST.clone());
    }
    let mut statement = connection.prepare_cached("SELECT list FROM access_lists WHERE id = ?")?;
    let text: String = statement.query_row([id], |row| row.get(0))?;
    Ok(AccessList::from_text(&text)?)
}

/// The id under which an audience is kept.
pub(super) fn intern_readers(connection: &Connection, readers: &Readers) -> error::Result<i64> {
    if *readers == Readers::everyone() {
        return Ok(EVERYONE);
    }
    let text = readers.to_text();
    let known = connection
        .prepare_cached("SELECT id FROM audiences WHERE subjects = ?")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO audiences (subjects) VALUES (?)")?
        .execute([text])?;
    let audience = connection.last_insert_rowid();
    let mut insert = connection
        .prepare_cached("INSERT INTO audience_subjects (subject, audience) VALUES (?, ?)")?;
    for subject in readers.subjects().iter() {
        insert.execute(params![subject.to_string(), audience])?;
    }
    Ok(audience)
}

/// The audience that is kept under an id.
pub(super) fn readers(connection: &Connection, id: i64) -> error::Result<Readers> {
    let mut statement = connection.prepare_cached("SELECT subjects FROM audiences WHERE id = ?")?;
    let text: String = statement.query_row([id], |row| row.get(0))?;
    Ok(Readers::from_text(&text)?)
}

/// Deletes the lists and audiences that no object has any more, once there are many new ones since the last time: of
/// what one object changes to and fro nothing shall stay. What is kept for an object must be with it by now.
pub(super) fn sweep(connection: &Connection) -> error::Result<()> {
    let is_time: bool = connection
        .prepare_cached(
            "SELECT at_list < (SELECT max(id) FROM access_lists) \
             OR at_audience < (SELECT max(id) FROM audiences) FROM sweeps",
        )?
        .query_row([], |row| row.get(0))?;
    if !is_time {
        return Ok(());
    }
    connection.execute(
        "DELETE FROM access_lists WHERE id <> ? AND id NOT IN (SELECT access FROM objects)",
        [OPEN],
    )?;
    // Who may hear of a change stands with the change.
    connection.execute(
        "DELETE FROM audiences WHERE id <> ? \
         AND id NOT IN (SELECT readers FROM objects UNION ALL SELECT readers FROM outbox \
                        UNION ALL SELECT readers_before FROM outbox WHERE readers_before IS NOT NULL)",
        [EVERYONE],
    )?;
    connection.execute(
        "DELETE FROM audience_subjects WHERE audience NOT IN (SELECT id FROM audiences)",
        [],
    )?;
    // As many as are left may come before it is worth looking again.
    connection.execute(
        "UPDATE sweeps SET at_list = lists + pause, at_audience = audiences + pause FROM \
         (SELECT max(id) + count(*) AS lists FROM access_lists), \
         (SELECT max(id) + count(*) AS audiences FROM audiences), \
         (SELECT ?1 + coalesce(max(seq), 0) / ?2 AS pause FROM objects)",
        [SWEEP_AFTER, OBJECTS_PER_NEW_ONE],
    )?;
    Ok(())
}
