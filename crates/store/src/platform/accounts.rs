//! Accounts, which clients call clouds, and their members.

use pilvi_model::{AccountId, Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Moment, NewToken, Text, tokens};
use crate::Store;
use crate::error::Result as StoreResult;

/// An account: what instances belong to (`platform.md` §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub datacenter: String,
    /// Whether the account's instances share a private network.
    pub vpc: bool,
    pub created_at: Timestamp,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Owner,
    /// Change and deploy instances.
    Developer,
    /// Look.
    Viewer,
}

impl Role {
    /// A role that this version does not know gives the least.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "owner" => Self::Owner,
            "developer" => Self::Developer,
            _ => Self::Viewer,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    /// The role that somebody asks for by name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Owner, Self::Developer, Self::Viewer]
            .into_iter()
            .find(|role| role.as_str() == name)
    }

    /// Whether it is more than looking: to change things, and to read what opens them.
    pub fn may_change(self) -> bool {
        match self {
            Self::Owner | Self::Developer => true,
            Self::Viewer => false,
        }
    }
}

const COLUMNS: &str =
    "accounts.id, accounts.name, accounts.datacenter, accounts.vpc, accounts.created_at";

impl Store {
    /// Adds an account with its first member and that member's account token. A person may belong to at most
    /// `accounts_max`.
    pub async fn insert_account(
        &self,
        account: Account,
        owner: PersonId,
        token: NewToken,
        accounts_max: u32,
    ) -> Result<()> {
        self.platform
            .write(move |connection| {
                let held: u32 = connection
                    .prepare_cached("SELECT count(*) FROM members WHERE person = ?")?
                    .query_row([Text(owner)], |row| row.get(0))?;
                if held >= accounts_max {
                    return Err(Error::over_limit(format!(
                        "a person may belong to {accounts_max} accounts; remove one first"
                    ))
                    .into());
                }
                insert(connection, &account, owner)?;
                tokens::insert(connection, &token)?;
                Ok(())
            })
            .await
    }

    /// The first account that was made, which on most servers is the operator's.
    pub async fn find_oldest_account(&self) -> Result<Option<Account>> {
        self.platform
            .read(|connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM accounts ORDER BY created_at, rowid LIMIT 1"
                    ))?
                    .query_row([], account_of)
                    .optional()?)
            })
            .await
    }

    pub async fn find_account(&self, id: AccountId) -> Result<Option<Account>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE id = ?"))?
                    .query_row([Text(id)], account_of)
                    .optional()?)
            })
            .await
    }

    /// The account, if the person is a member of it.
    pub async fn find_account_of(
        &self,
        person: PersonId,
        id: AccountId,
    ) -> Result<Option<Account>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM accounts JOIN members ON members.account = accounts.id
                         WHERE accounts.id = ? AND members.person = ?"
                    ))?
                    .query_row(params![Text(id), Text(person)], account_of)
                    .optional()?)
            })
            .await
    }

    /// Gives an account another name; `None`: there is no such account.
    pub async fn rename_account(&self, id: AccountId, name: String) -> Result<Option<Account>> {
        self.platform
            .write(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "UPDATE accounts SET name = ? WHERE id = ? RETURNING {COLUMNS}"
                    ))?
                    .query_row(params![name, Text(id)], account_of)
                    .optional()?)
            })
            .await
    }

    /// Makes somebody a member of an account. A conflict: they are one already.
    pub async fn insert_member(
        &self,
        account: AccountId,
        person: PersonId,
        role: Role,
    ) -> Result<()> {
        self.platform
            .write(move |connection| {
                let added = connection
                    .prepare_cached(
                        "INSERT INTO members (account, person, role) VALUES (?, ?, ?)
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![Text(account), Text(person), role.as_str()])?;
                match added {
                    0 => Err(
                        Error::conflict("this person is a member of the account already").into(),
                    ),
                    _ => Ok(()),
                }
            })
            .await
    }

    /// What the person is in the account; `None`: no member.
    ///
    /// Remembered like the holders of tokens, since every request with an account token asks.
    pub async fn find_role(&self, account: AccountId, person: PersonId) -> Result<Option<Role>> {
        let changes = self.platform.file.changes();
        if let Some(role) = self.known_roles.recall(&(account, person), changes) {
            return Ok(Some(role));
        }
        let role = self.read_role(account, person).await?;
        if let Some(role) = role {
            self.known_roles.remember((account, person), changes, role);
        }
        Ok(role)
    }

    async fn read_role(&self, account: AccountId, person: PersonId) -> Result<Option<Role>> {
        self.platform
            .read(move |connection| {
                let role: Option<String> = connection
                    .prepare_cached("SELECT role FROM members WHERE account = ? AND person = ?")?
                    .query_row(params![Text(account), Text(person)], |row| row.get(0))
                    .optional()?;
                Ok(role.as_deref().map(Role::named))
            })
            .await
    }

    /// All accounts that the person is a member of, oldest first.
    pub async fn list_accounts(&self, person: PersonId) -> Result<Vec<Account>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM members JOIN accounts ON accounts.id = members.account
                     WHERE members.person = ? ORDER BY accounts.created_at, accounts.id"
                ))?;
                let rows = statement.query_map([Text(person)], account_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Deletes an account with its members, their tokens and its invitations. An account that still has instances, be
    /// it one that is just being made or one that can be brought back, stays and is a conflict. `false`: there is no
    /// such account.
    pub async fn delete_account(&self, id: AccountId) -> Result<bool> {
        self.platform
            .write_when_low(move |connection| {
                check_empty(connection, id)?;
                connection.execute(
                    "DELETE FROM tokens WHERE kind = 'account' AND account = ?",
                    [Text(id)],
                )?;
                connection.execute("DELETE FROM members WHERE account = ?", [Text(id)])?;
                let deleted =
                    connection.execute("DELETE FROM accounts WHERE id = ?", [Text(id)])?;
                Ok(deleted > 0)
            })
            .await
    }
}

fn check_empty(connection: &Connection, account: AccountId) -> StoreResult<()> {
    let (used, deleted): (bool, u32) = connection
        .prepare_cached(
            "SELECT coalesce(max(state <> 'ready' OR deleted_at IS NULL), 0),
                 count(*) FILTER (WHERE state = 'ready' AND deleted_at IS NOT NULL)
             FROM instances WHERE account = ?",
        )?
        .query_row([Text(account)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if used {
        return Err(Error::conflict("the account still has instances; delete them first").into());
    }
    if deleted > 0 {
        return Err(Error::conflict(format!(
            "the account has {deleted} deleted instances that can still be restored; list them with ?deleted=true, \
             and delete each at once with DELETE /v1/instances/{{id}}?now=true, or wait until they are gone"
        ))
        .into());
    }
    Ok(())
}

/// Adds the account and its first member.
pub(super) fn insert(
    connection: &Connection,
    account: &Account,
    owner: PersonId,
) -> StoreResult<()> {
    connection
        .prepare_cached(
            "INSERT INTO accounts (id, name, datacenter, vpc, created_at) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Text(account.id),
            account.name,
            account.datacenter,
            account.vpc,
            Moment(account.created_at)
        ])?;
    connection
        .prepare_cached("INSERT INTO members (account, person) VALUES (?, ?)")?
        .execute(params![Text(account.id), Text(owner)])?;
    Ok(())
}

fn account_of(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row.get::<_, Text<_>>(0)?.0,
        name: row.get(1)?,
        datacenter: row.get(2)?,
        vpc: row.get(3)?,
        created_at: row.get::<_, Moment>(4)?.0,
    })
}
