//! Members: who belongs to an account, and as what. An account always has an owner.

use pilvi_model::{AccountId, Error, PersonId, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::persons::{self, Person};
use super::{Role, Text};
use crate::Store;
use crate::error::Result as StoreResult;

/// A person in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub person: Person,
    pub role: Role,
}

/// Who asks for a change of members. That they may is decided in the transaction that makes it: two owners who take
/// each other's role away at the same time must not both succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A member, who must be an owner, or be doing it to themselves.
    Member(PersonId),
    /// Somebody who looks after the server, member or not.
    Operator,
}

impl Store {
    /// The members of an account, by their address.
    pub async fn list_members(&self, account: AccountId) -> Result<Vec<Member>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {}, members.role FROM members JOIN persons ON persons.id = members.person
                     WHERE members.account = ? ORDER BY persons.email, persons.id",
                    persons::COLUMNS
                ))?;
                let rows = statement.query_map([Text(account)], |row| {
                    let role: String = row.get("role")?;
                    Ok(Member {
                        person: persons::person_of(row)?,
                        role: Role::named(&role),
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Gives a member another role. The last owner stays one.
    pub async fn set_role(
        &self,
        asker: Asker,
        account: AccountId,
        person: PersonId,
        role: Role,
    ) -> Result<Member> {
        self.platform
            .write(move |connection| {
                check_asker(connection, asker, account, person, Change::Role)?;
                connection
                    .prepare_cached("UPDATE members SET role = ? WHERE account = ? AND person = ?")?
                    .execute(params![role.as_str(), Text(account), Text(person)])?;
                check_owned(connection, account)?;
                let person = connection
                    .prepare_cached(&format!(
                        "SELECT {} FROM persons WHERE id = ?",
                        persons::COLUMNS
                    ))?
                    .query_row([Text(person)], persons::person_of)?;
                Ok(Member { person, role })
            })
            .await
    }

    /// Ends a membership and the account token that came with it. The last owner cannot go.
    pub async fn delete_member(
        &self,
        asker: Asker,
        account: AccountId,
        person: PersonId,
    ) -> Result<()> {
        self.platform
            .write_when_low(move |connection| {
                check_asker(connection, asker, account, person, Change::End)?;
                connection
                    .prepare_cached(
                        "DELETE FROM tokens WHERE kind = 'account' AND account = ? AND person = ?",
                    )?
                    .execute(params![Text(account), Text(person)])?;
                connection
                    .prepare_cached("DELETE FROM members WHERE account = ? AND person = ?")?
                    .execute(params![Text(account), Text(person)])?;
                check_owned(connection, account)
            })
            .await
    }
}

/// What a person is in an account; `None`: no member.
pub(super) fn role_of(
    connection: &Connection,
    account: AccountId,
    person: PersonId,
) -> StoreResult<Option<Role>> {
    let role: Option<String> = connection
        .prepare_cached("SELECT role FROM members WHERE account = ? AND person = ?")?
        .query_row(params![Text(account), Text(person)], |row| row.get(0))
        .optional()?;
    Ok(role.as_deref().map(Role::named))
}

/// What becomes of a membership.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Role,
    /// Everybody may leave.
    End,
}

/// Refuses who may not change this membership, and a membership that there is not.
fn check_asker(
    connection: &Connection,
    asker: Asker,
    account: AccountId,
    person: PersonId,
    change: Change,
) -> StoreResult<()> {
    if let Asker::Member(asker) = asker {
        let own = role_of(connection, account, asker)?;
        let own = own.ok_or_else(|| Error::not_found("there is no such account"))?;
        let is_own_end = asker == person && change == Change::End;
        if own != Role::Owner && !is_own_end {
            return Err(only_owners().into());
        }
    }
    if role_of(connection, account, person)?.is_none() {
        return Err(no_such_member().into());
    }
    Ok(())
}

/// An account without an owner would be nobody's: its instances could not be deleted, and nobody could be let in.
fn check_owned(connection: &Connection, account: AccountId) -> StoreResult<()> {
    let is_owned: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM members WHERE account = ? AND role = 'owner')",
        )?
        .query_row([Text(account)], |row| row.get(0))?;
    match is_owned {
        true => Ok(()),
        false => Err(Error::conflict(
            "this is the account's only owner; make another member an owner first, or delete the account",
        )
        .into()),
    }
}

fn only_owners() -> Error {
    Error::forbidden(
        "only an owner of the account may do this; ask one to do it or to give you that role",
    )
}

fn no_such_member() -> Error {
    Error::not_found("there is no such member in this account")
}
