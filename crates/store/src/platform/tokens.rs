//! Tokens: looked up by digest, listed by holder. No token is in here, only what finds or re-makes one.

use std::time::Duration;

use pilvi_model::{AccountId, Error, PersonId, Result, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row, ToSql, params};

use super::instances::VISIBLE;
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
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub generation: i64,
    pub name: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// When it was used last, not more exact than an hour; known of personal access tokens only.
    pub used_at: Option<Timestamp>,
}

/// How exactly it is known when a token was used last: to note each use would make every read a write.
const USE_NOTED_EVERY: Duration = Duration::from_secs(3600);

/// A token as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    holder: Holder,
    expires_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
}

impl Store {
    /// Who holds the token with this digest, unless its time is over.
    ///
    /// Every request asks, so what was found is remembered until something is written to the file, but not for long:
    /// an operator may put another file in its place.
    pub async fn find_token_holder(
        &self,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Holder>> {
        let changes = self.platform.file.changes();
        let found = match self.known_holders.recall(&digest, changes) {
            Some(found) => found,
            None => {
                let Some(found) = self.read_token_holder(digest).await? else {
                    return Ok(None);
                };
                self.known_holders.remember(digest, changes, found.clone());
                found
            }
        };
        let holder = found.living(now);
        if matches!(holder, Some(Holder::Person(_))) && found.is_to_be_noted(now) {
            // A disk that is full keeps nobody out.
            let _ = self.note_token_use(digest, now).await;
        }
        Ok(holder)
    }

    async fn read_token_holder(&self, digest: [u8; 32]) -> Result<Option<Found>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    // The tokens of an instance that was deleted wait with it for being restored.
                    .prepare_cached(&format!(
                        "SELECT kind, person, tokens.account, instance, expires_at, used_at
                         FROM tokens WHERE digest = ? AND (instance IS NULL OR EXISTS (
                             SELECT 1 FROM instances WHERE instances.id = tokens.instance AND {VISIBLE}))"
                    ))?
                    .query_row([Digest(digest)], |row| {
                        Ok(Found {
                            holder: holder_of(row)?,
                            expires_at: moment(row, 4)?,
                            used_at: moment(row, 5)?,
                        })
                    })
                    .optional()?)
            })
            .await
    }

    async fn note_token_use(&self, digest: [u8; 32], now: Timestamp) -> Result<()> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE tokens SET used_at = ?2 WHERE digest = ?1 AND (used_at IS NULL OR used_at < ?2)",
                    )?
                    .execute(params![Digest(digest), Moment(now)])?;
                Ok(())
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
                insert_within(connection, &token, tokens_max)
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

    /// Forgets tokens that have been refused since `before`.
    pub async fn delete_ended_tokens(&self, before: Timestamp) -> Result<usize> {
        self.platform
            .write_when_low(move |connection| {
                Ok(connection
                    .execute("DELETE FROM tokens WHERE expires_at < ?", [Moment(before)])?)
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

/// Adds a token, unless its holder has `tokens_max` that serve already.
pub(super) fn insert_within(
    connection: &Connection,
    token: &NewToken,
    tokens_max: u32,
) -> StoreResult<Token> {
    let held = list(connection, &token.holder)?
        .iter()
        .filter(|held| held.expires_at.is_none_or(|end| end > token.created_at))
        .count();
    if held >= usize::try_from(tokens_max).unwrap_or(usize::MAX) {
        return Err(Error::over_limit(format!(
            "there are {tokens_max} tokens already, which is the most; delete one first"
        ))
        .into());
    }
    insert(connection, token)
}

pub(super) fn insert(connection: &Connection, token: &NewToken) -> StoreResult<Token> {
    let (kind, person, account, instance) = columns(&token.holder);
    connection
        .prepare_cached(
            "INSERT INTO tokens (digest, kind, person, account, instance, generation, name, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Digest(token.digest),
            kind,
            person,
            account,
            instance,
            token.generation,
            token.name,
            Moment(token.created_at),
            token.expires_at.map(Moment)
        ])?;
    Ok(Token {
        id: connection.last_insert_rowid(),
        generation: token.generation,
        name: token.name.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        used_at: None,
    })
}

fn token_of_member(
    connection: &Connection,
    account: AccountId,
    person: PersonId,
) -> StoreResult<Option<Token>> {
    let found = connection
        .prepare_cached(
            "SELECT tokens.id, tokens.generation, tokens.name, tokens.created_at, tokens.expires_at, tokens.used_at
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
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM instances WHERE id = ? AND {VISIBLE})"
        ))?
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
        "SELECT id, generation, name, created_at, expires_at, used_at FROM tokens WHERE {condition} ORDER BY id"
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
pub(super) fn holder_of(row: &Row<'_>) -> rusqlite::Result<Holder> {
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
        expires_at: moment(row, 4)?,
        used_at: moment(row, 5)?,
    })
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Moment>>(column)?.map(|moment| moment.0))
}

impl Found {
    fn living(&self, now: Timestamp) -> Option<Holder> {
        let is_over = self.expires_at.is_some_and(|end| end <= now);
        (!is_over).then(|| self.holder.clone())
    }

    fn is_to_be_noted(&self, now: Timestamp) -> bool {
        let noted = self.used_at;
        noted.is_none_or(|noted| noted.plus(USE_NOTED_EVERY) <= now)
    }
}

/// A column that holds a SHA-256.
pub(super) struct Digest(pub(super) [u8; 32]);

impl ToSql for Digest {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}
