//! The public keys of persons, by which they come in through the SSH door.

use pilvi_model::{Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Moment, Person, Text};
use crate::Store;
use crate::error::Result as StoreResult;

/// A key that is about to be known.
#[derive(Clone, Debug)]
pub struct NewSshKey {
    pub person: PersonId,
    /// What its owner calls it.
    pub name: String,
    /// The public key in one line.
    pub key: String,
    /// By which the key is found.
    pub fingerprint: String,
    pub created_at: Timestamp,
}

/// A key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    pub id: i64,
    pub name: String,
    pub fingerprint: String,
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, name, fingerprint, created_at";

impl Store {
    /// Adds a key, unless its owner has `keys_max` already or one of this name, or anybody has this key: a key leads
    /// to one person.
    pub async fn insert_ssh_key(&self, key: NewSshKey, keys_max: u32) -> Result<SshKey> {
        self.platform
            .write(move |connection| {
                check_new(connection, &key, keys_max)?;
                connection
                    .prepare_cached(
                        "INSERT INTO ssh_keys (person, name, key, fingerprint, created_at) VALUES (?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        Text(key.person),
                        key.name,
                        key.key,
                        key.fingerprint,
                        Moment(key.created_at)
                    ])?;
                Ok(SshKey {
                    id: connection.last_insert_rowid(),
                    name: key.name.clone(),
                    fingerprint: key.fingerprint.clone(),
                    created_at: key.created_at,
                })
            })
            .await
    }

    /// The person's keys, oldest first.
    pub async fn list_ssh_keys(&self, person: PersonId) -> Result<Vec<SshKey>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM ssh_keys WHERE person = ? ORDER BY id"
                ))?;
                let rows = statement.query_map([Text(person)], key_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Deletes one key of the person. `false`: the person has no such key.
    pub async fn delete_ssh_key(&self, person: PersonId, id: i64) -> Result<bool> {
        self.platform
            .write_when_low(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM ssh_keys WHERE person = ? AND id = ?")?
                    .execute(params![Text(person), id])?;
                Ok(deleted > 0)
            })
            .await
    }

    /// Whose key has this fingerprint.
    pub async fn find_ssh_key_holder(&self, fingerprint: String) -> Result<Option<Person>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {} FROM ssh_keys JOIN persons ON persons.id = ssh_keys.person
                         WHERE ssh_keys.fingerprint = ?",
                        super::persons::COLUMNS
                    ))?
                    .query_row([&fingerprint], super::persons::person_of)
                    .optional()?)
            })
            .await
    }
}

fn check_new(connection: &Connection, key: &NewSshKey, keys_max: u32) -> StoreResult<()> {
    let known: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM ssh_keys WHERE fingerprint = ?)")?
        .query_row([&key.fingerprint], |row| row.get(0))?;
    if known {
        return Err(Error::conflict(
            "this key is known already; remove it where it is, or make another with ssh-keygen -t ed25519",
        )
        .into());
    }
    let (held, named): (u32, bool) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(max(name = ?2), 0) FROM ssh_keys WHERE person = ?1",
        )?
        .query_row(params![Text(key.person), key.name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if named {
        return Err(Error::conflict(format!(
            "there is a key with the name {} already; choose another name, or remove that key first",
            key.name
        ))
        .into());
    }
    if held >= keys_max {
        return Err(Error::over_limit(format!(
            "there are {keys_max} keys already, which is the most; delete one first"
        ))
        .into());
    }
    Ok(())
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<SshKey> {
    Ok(SshKey {
        id: row.get(0)?,
        name: row.get(1)?,
        fingerprint: row.get(2)?,
        created_at: row.get::<_, Moment>(3)?.0,
    })
}
