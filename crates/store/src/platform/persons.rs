//! Persons: developers and operators with a login, never users of an app.

use pilvi_model::{Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Account, Moment, NewToken, Text, accounts, tokens};
use crate::Store;
use crate::error::Result as StoreResult;

/// A developer or operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: PersonId,
    pub email: String,
    pub name: String,
    pub created_at: Timestamp,
}

/// What a new server starts with.
#[derive(Clone, Debug)]
pub struct FirstRecords {
    pub person: Person,
    pub person_token: NewToken,
    pub account: Account,
    pub account_token: NewToken,
}

impl Store {
    /// Writes the first person and account of a new server, all or nothing. `false`: there are persons already,
    /// and nothing is written.
    pub async fn insert_first_records(&self, first: FirstRecords) -> Result<bool> {
        // A server whose disk is full must be able to start all the same.
        if self.platform.read(has_persons).await? {
            return Ok(false);
        }
        self.platform
            .write(move |connection| {
                if has_persons(connection)? {
                    return Ok(false);
                }
                insert(connection, &first.person)?;
                tokens::insert(connection, &first.person_token)?;
                accounts::insert(connection, &first.account, first.person.id)?;
                tokens::insert(connection, &first.account_token)?;
                Ok(true)
            })
            .await
    }

    /// Adds a person. An e-mail address belongs to one person.
    pub async fn insert_person(&self, person: Person) -> Result<()> {
        self.platform
            .write(move |connection| {
                let taken: bool = connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM persons WHERE email = ?)")?
                    .query_row([&person.email], |row| row.get(0))?;
                if taken {
                    return Err(Error::conflict(
                        "there is a person with this e-mail address already",
                    )
                    .into());
                }
                insert(connection, &person)
            })
            .await
    }

    pub async fn find_person(&self, id: PersonId) -> Result<Option<Person>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached("SELECT id, email, name, created_at FROM persons WHERE id = ?")?
                    .query_row([Text(id)], person_of)
                    .optional()?)
            })
            .await
    }
}

fn has_persons(connection: &Connection) -> StoreResult<bool> {
    let found = connection.query_row("SELECT EXISTS (SELECT 1 FROM persons)", [], |row| {
        row.get(0)
    })?;
    Ok(found)
}

fn insert(connection: &Connection, person: &Person) -> StoreResult<()> {
    connection
        .prepare_cached("INSERT INTO persons (id, email, name, created_at) VALUES (?, ?, ?, ?)")?
        .execute(params![
            Text(person.id),
            person.email,
            person.name,
            Moment(person.created_at)
        ])?;
    Ok(())
}

pub(super) fn person_of(row: &Row<'_>) -> rusqlite::Result<Person> {
    Ok(Person {
        id: row.get::<_, Text<_>>(0)?.0,
        email: row.get(1)?,
        name: row.get(2)?,
        created_at: row.get::<_, Moment>(3)?.0,
    })
}
