//! Tokens: looked up by digest, listed by holder. No token is in here, only what finds or re-makes one.

use pilvi_model::{AccountId, Error, PersonId, Result, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row, ToSql, params};

use super::{Moment, Text};
use crate::Store;
use crate::error::Result as StoreResult;

/// Whom a token makes its bearer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A personal access token.
    Person(PersonId),
    /// An account token: one for each member of an account.
    Member {
        account: AccountId,
        person: PersonId,
    },
    /// A security token of an instance.
    Instance(String),
}

/// A token that is about to exist.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub holder: Holder,
    /// SHA-256 of the token, by which its bearer is found.
    pub digest: [u8; 32],
    /// What a derived token is derived from, beside its holder.
    pub generation: i64,
    /// What its owner calls it.
    pub name: Option<String>,
    pub created_at: Timestamp,
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub generation: i64,
    pub name: Option<String>,
    pub created_at: Timestamp,
}

impl Store {
    /// Who holds the token with this digest.
    ///
    /// Every request asks, so what was found is remembered until something is written to the file, but not for long:
    /// an operator may put another file in its place.
    pub async fn find_token_holder(&self, digest: [u8; 32]) -> Result<Option<Holder>> {
        let changes = self.platform.file.changes();
        if let Some(holder) = self.known_holders.recall(&digest, changes) {
            return Ok(Some(holder));
        }
        let holder = self.read_token_holder(digest).await?;
        if let Some(holder) = &holder {
            self.known_holders.remember(digest, changes, holder.clone());
        }
        Ok(holder)
    }

    async fn read_token_holder(&self, digest: [u8; 32]) -> Result<Option<Holder>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT kind, person, account, instance FROM tokens WHERE digest = ?",
                    )?
                    .query_row([Digest(digest)], holder_of)
                    .optional()?)
            })
            .await
    }

    /// The holder's tokens, oldest first.
    pub async fn list_tokens(&self, holder: Holder) -> Result<Vec<Token>> {
        self.platform
            .read(move |connection| Ok(list(connection, &holder)?))
            .await
    }

    /// The account token of one member, from a single look-up. A person who is no member finds no account.
    pub async fn find_member_token(
        &self,
        account: AccountId,
        person: PersonId,
    ) -> Result<Option<Token>> {
        self.platform
            .read(move |connection| token_of_member(connection, account, person))
            .await
    }

    /// Adds a token, unless its holder has `tokens_max` already, or is an instance that is not there any more.
    pub async fn insert_token(&self, token: NewToken, tokens_max: u32) -> Result<Token> {
        self.platform
            .write(move |connection| {
                if let Holder::Instance(id) = &token.holder
                    && !is_ready(connection, id)?
                {
                    return Err(Error::not_found("there is no such instance").into());
                }
                let held = list(connection, &token.holder)?.len();
                if held >= usize::try_from(tokens_max).unwrap_or(usize::MAX) {
                    return Err(Error::over_limit(format!(
                        "there are {tokens_max} tokens already, which is the most; delete one first"
                    ))
                    .into());
                }
                insert(connection, &token)
            })
            .await
    }

    /// Gives a member without an account token this one; a member who has one keeps it. The `bool` says whether it
    /// is new. A person who is no member finds no account.
    pub async fn insert_member_token(
        &self,
        account: AccountId,
        person: PersonId,
        token: NewToken,
    ) -> Result<(Token, bool)> {
        self.platform
            .write(move |connection| {
                Ok(match token_of_member(connection, account, person)? {
                    Some(present) => (present, false),
                    None => (insert(connection, &token)?, true),
                })
            })
            .await
    }

    /// Deletes one token of the holder. `false`: the holder has no such token.
    pub async fn delete_token(&self, holder: Holder, id: i64) -> Result<bool> {
        self.platform
            .write_when_low(move |connection| {
                let (kind, person, account, instance) = columns(&holder);
                let deleted = connection
                    .prepare_cached(
                        "DELETE FROM tokens WHERE id = ? AND kind = ? AND person IS ? AND account IS ?
                         AND instance IS ?",
                    )?
                    .execute(params![id, kind, person, account, instance])?;
                Ok(deleted > 0)
            })
            .await
    }
}

pub(super) fn insert(connection: &Connection, token: &NewToken) -> StoreResult<Token> {
    let (kind, person, account, instance) = columns(&token.holder);
    connection
        .prepare_cached(
            "INSERT INTO tokens (digest, kind, person, account, instance, generation, name, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Digest(token.digest),
            kind,
            person,
            account,
            instance,
            token.generation,
            token.name,
            Moment(token.created_at)
        ])?;
    Ok(Token {
        id: connection.last_insert_rowid(),
        generation: token.generation,
        name: token.name.clone(),
        created_at: token.created_at,
    })
}

fn token_of_member(
    connection: &Connection,
    account: AccountId,
    person: PersonId,
) -> StoreResult<Option<Token>> {
    let found = connection
        .prepare_cached(
            "SELECT tokens.id, tokens.generation, tokens.name, tokens.created_at
             FROM members LEFT JOIN tokens ON tokens.account = members.account
                 AND tokens.person = members.person AND tokens.kind = 'account'
             WHERE members.account = ? AND members.person = ?",
        )?
        .query_row(params![Text(account), Text(person)], |row| {
            // A member without a token is a row of nulls.
            match row.get::<_, Option<i64>>(0)? {
                Some(_) => token_of(row).map(Some),
                None => Ok(None),
            }
        })
        .optional()?;
    found.ok_or_else(|| Error::not_found("there is no such account").into())
}

fn is_ready(connection: &Connection, instance: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM instances WHERE id = ? AND state = 'ready')")?
        .query_row([instance], |row| row.get(0))
}

fn list(connection: &Connection, holder: &Holder) -> rusqlite::Result<Vec<Token>> {
    match holder {
        Holder::Person(person) => select(
            connection,
            "kind = 'person' AND person = ?",
            params![Text(*person)],
        ),
        Holder::Member { account, person } => select(
            connection,
            "kind = 'account' AND account = ? AND person = ?",
            params![Text(*account), Text(*person)],
        ),
        Holder::Instance(instance) => select(
            connection,
            "kind = 'instance' AND instance = ?",
            params![instance],
        ),
    }
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<Token>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, generation, name, created_at FROM tokens WHERE {condition} ORDER BY id"
    ))?;
    statement.query_map(values, token_of)?.collect()
}

type Columns = (&'static str, Option<String>, Option<String>, Option<String>);

/// The columns `kind`, `person`, `account` and `instance`.
fn columns(holder: &Holder) -> Columns {
    match holder {
        Holder::Person(person) => ("person", Some(person.to_string()), None, None),
        Holder::Member { account, person } => (
            "account",
            Some(person.to_string()),
            Some(account.to_string()),
            None,
        ),
        Holder::Instance(instance) => ("instance", None, None, Some(instance.clone())),
    }
}

/// Reads what [`columns`] wrote; the table's CHECK keeps other combinations out.
fn holder_of(row: &Row<'_>) -> rusqlite::Result<Holder> {
    Ok(match row.get_ref(0)?.as_str()? {
        "person" => Holder::Person(row.get::<_, Text<_>>(1)?.0),
        "account" => Holder::Member {
            person: row.get::<_, Text<_>>(1)?.0,
            account: row.get::<_, Text<_>>(2)?.0,
        },
        _ => Holder::Instance(row.get(3)?),
    })
}

fn token_of(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        generation: row.get(1)?,
        name: row.get(2)?,
        created_at: row.get::<_, Moment>(3)?.0,
    })
}

struct Digest([u8; 32]);

impl ToSql for Digest {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}
