//! Who is in which usergroup.

use pilvi_model::access::MemberRights;
use pilvi_model::query::{Filter, Query};
use pilvi_model::{Asker, Error as DomainError, Object, ObjectId, ObjectType, Permission, Result};
use rusqlite::{Connection, params};

use super::author::Author;
use super::objects::{Part, Stored};
use super::{Backend, access, collections, objects, outbox};
use crate::error::Result as StoreResult;
use crate::query::Compiled;

/// What one user's rights are looked up by stays short.
const GROUPS_OF_A_USER_MAX: i64 = 1000;

/// What somebody wants to do with the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    List,
    Add,
    Remove,
}

impl Backend {
    /// Adds a user to a group. The user's object comes back if the author may read it.
    pub async fn add_member(
        &self,
        group: ObjectId,
        user: ObjectId,
        author: Author,
    ) -> Result<Option<Object>> {
        self.database
            .write(move |connection| {
                require(connection, &author.asker, Act::Add, group)?;
                let stored = objects::get(connection, &ObjectType::users(), user)?;
                insert(connection, group, user)?;
                outbox::append_members(connection, group, user, &author)?;
                let readable = access::may_read(connection, stored.readers, &author.asker)?;
                Ok(readable.then_some(stored.object))
            })
            .await
    }

    /// The texts of the members who match and whom the asker may read, in order.
    pub async fn list_members(
        &self,
        asker: Asker,
        group: ObjectId,
        query: &Query,
    ) -> Result<Vec<String>> {
        let part = Part::MembersOf(group);
        self.list_part(asker, ObjectType::users(), part, query)
            .await
    }

    /// How many members match of those whom the asker may read.
    pub async fn count_members(
        &self,
        asker: Asker,
        group: ObjectId,
        filter: Filter,
    ) -> Result<u64> {
        let part = Part::MembersOf(group);
        self.count_part(asker, ObjectType::users(), part, filter)
            .await
    }

    /// Takes a user out of a group.
    pub async fn remove_member(
        &self,
        group: ObjectId,
        user: ObjectId,
        author: Author,
    ) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                require(connection, &author.asker, Act::Remove, group)?;
                let removed = connection
                    .prepare_cached("DELETE FROM members WHERE usergroup = ? AND user = ?")?
                    .execute([group.to_string(), user.to_string()])?;
                match removed {
                    0 => Err(DomainError::not_found(format!(
                        "the user {user} is no member of the usergroup {group}"
                    ))
                    .into()),
                    _ => outbox::append_members(connection, group, user, &author),
                }
            })
            .await
    }
}

/// Narrows a query about users to the members of a group, if the asker may list them.
pub(super) fn only(
    connection: &Connection,
    asker: &Asker,
    group: ObjectId,
    compiled: &Compiled,
) -> StoreResult<Compiled> {
    require(connection, asker, Act::List, group)?;
    let condition = "id IN (SELECT user FROM members WHERE usergroup = ?)";
    let group = group.to_string().into();
    Ok(compiled.clone().and(condition, vec![group]))
}

/// The group, if the asker may do this with its members: by what the collection says of members, or as who
/// administers the group.
pub(super) fn require(
    connection: &Connection,
    asker: &Asker,
    act: Act,
    group: ObjectId,
) -> StoreResult<Stored> {
    let usergroups = ObjectType::usergroups();
    let stored = objects::get(connection, &usergroups, group)?;
    let rights = collections::rights(connection, &usergroups)?;
    let MemberRights {
        read,
        create,
        delete,
    } = &rights.members;
    let (listed, what) = match act {
        Act::List => (read, "listing the members of this usergroup"),
        Act::Add => (create, "adding members to this usergroup"),
        Act::Remove => (delete, "removing members of this usergroup"),
    };
    if access::allows(connection, &stored, Permission::Admin, asker)? {
        return Ok(stored);
    }
    if !access::may_read(connection, stored.readers, asker)? {
        return Err(objects::missing(&usergroups, group).into());
    }
    match listed.includes(asker) {
        true => Ok(stored),
        false => Err(asker.refusal(what).into()),
    }
}

fn insert(connection: &Connection, group: ObjectId, user: ObjectId) -> StoreResult<()> {
    let (group, user) = (group.to_string(), user.to_string());
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM members WHERE user = ?")?
        .query_row([&user], |row| row.get(0))?;
    if count >= GROUPS_OF_A_USER_MAX {
        let message = format!("is in {GROUPS_OF_A_USER_MAX} usergroups already, which is the most");
        return Err(DomainError::invalid("id", message).into());
    }
    let inserted = connection
        .prepare_cached("INSERT OR IGNORE INTO members (usergroup, user) VALUES (?, ?)")?
        .execute(params![group, user])?;
    match inserted {
        0 => Err(DomainError::invalid("id", "is already a member").into()),
        _ => Ok(()),
    }
}

/// The groups that a user is in.
pub(super) fn groups_of(connection: &Connection, user: ObjectId) -> StoreResult<Vec<ObjectId>> {
    let mut statement = connection
        .prepare_cached("SELECT usergroup FROM members WHERE user = ? ORDER BY usergroup")?;
    let mut rows = statement.query([user.to_string()])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let group: String = row.get(0)?;
        groups.push(group.parse()?);
    }
    Ok(groups)
}

/// A deleted user is in no group.
pub(super) fn forget_user(connection: &Connection, user: ObjectId) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM members WHERE user = ?")?
        .execute([user.to_string()])?;
    Ok(())
}

/// A deleted group has no members.
pub(super) fn forget_group(connection: &Connection, group: ObjectId) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM members WHERE usergroup = ?")?
        .execute([group.to_string()])?;
    Ok(())
}
