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
    /// Whether the whole server is theirs to look after.
    pub operator: bool,
    /// Whether the address is known to be theirs.
    pub verified: bool,
    /// Whether they can sign in by password.
    pub has_password: bool,
    pub created_at: Timestamp,
}

impl Person {
    /// Somebody new, who may nothing yet.
    pub fn new(
        id: PersonId,
        email: impl Into<String>,
        name: impl Into<String>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            email: email.into(),
            name: name.into(),
            operator: false,
            verified: false,
            has_password: false,
            created_at,
        }
    }
}

/// The columns that [`person_of`] reads.
pub(super) const COLUMNS: &str = "persons.id, persons.email, persons.name, persons.operator, \
     persons.email_verified_at IS NOT NULL, persons.password IS NOT NULL, persons.created_at";

/// What a new server starts with. The person becomes its operator.
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
                let operator = Person {
                    operator: true,
                    ..first.person
                };
                insert(connection, &operator)?;
                tokens::insert(connection, &first.person_token)?;
                accounts::insert(connection, &first.account, operator.id)?;
                tokens::insert(connection, &first.account_token)?;
                Ok(true)
            })
            .await
    }

    /// Adds a person. An e-mail address belongs to one person.
    pub async fn insert_person(&self, person: Person) -> Result<()> {
        self.platform
            .write(move |connection| {
                check_free(connection, &person.email, None)?;
                insert(connection, &person)
            })
            .await
    }

    pub async fn find_person(&self, id: PersonId) -> Result<Option<Person>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM persons WHERE id = ?"))?
                    .query_row([Text(id)], person_of)
                    .optional()?)
            })
            .await
    }
}

impl Store {
    /// The person with this address, however it is spelled.
    pub async fn find_person_by_email(&self, email: String) -> Result<Option<Person>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM persons WHERE lower(email) = lower(?)"
                    ))?
                    .query_row([&email], person_of)
                    .optional()?)
            })
            .await
    }

    /// Gives a person another name. `false`: there is no such person.
    pub async fn rename_person(&self, id: PersonId, name: String) -> Result<bool> {
        self.platform
            .write(move |connection| {
                let changed = connection
                    .prepare_cached("UPDATE persons SET name = ? WHERE id = ?")?
                    .execute(params![name, Text(id)])?;
                Ok(changed > 0)
            })
            .await
    }

    /// Gives a person an address that nobody has proven to be theirs. `false`: there is no such person.
    pub async fn set_unproven_email(&self, id: PersonId, email: String) -> Result<bool> {
        self.platform
            .write(move |connection| {
                check_free(connection, &email, Some(id))?;
                // They went to the address that was.
                connection.execute("DELETE FROM codes WHERE person = ?", [Text(id)])?;
                let changed = connection
                    .prepare_cached(
                        "UPDATE persons SET email_verified_at = CASE WHEN lower(email) = lower(?1)
                             THEN email_verified_at END, email = ?1 WHERE id = ?2",
                    )?
                    .execute(params![email, Text(id)])?;
                Ok(changed > 0)
            })
            .await
    }

    /// Whether somebody looks after the whole server.
    pub async fn is_operator(&self, id: PersonId) -> Result<bool> {
        self.platform
            .read(move |connection| {
                let operator: Option<bool> = connection
                    .prepare_cached("SELECT operator FROM persons WHERE id = ?")?
                    .query_row([Text(id)], |row| row.get(0))
                    .optional()?;
                Ok(operator.unwrap_or(false))
            })
            .await
    }

    /// Makes somebody an operator, or ends that. A server keeps one: the last cannot be taken away. `false`: there is
    /// no such person.
    pub async fn set_operator(&self, id: PersonId, operator: bool) -> Result<bool> {
        self.platform
            .write(move |connection| {
                let changed = connection
                    .prepare_cached("UPDATE persons SET operator = ?2 WHERE id = ?1")?
                    .execute(params![Text(id), operator])?;
                let is_left: bool = connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM persons WHERE operator)")?
                    .query_row([], |row| row.get(0))?;
                if changed > 0 && !is_left {
                    return Err(Error::conflict(
                        "this is the server's only operator; make somebody else one first",
                    )
                    .into());
                }
                Ok(changed > 0)
            })
            .await
    }
}

/// Refuses an address that is somebody's other than `except`.
pub(super) fn check_free(
    connection: &Connection,
    email: &str,
    except: Option<PersonId>,
) -> StoreResult<()> {
    let taken: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM persons WHERE lower(email) = lower(?) AND id IS NOT ?)",
        )?
        .query_row(params![email, except.map(Text)], |row| row.get(0))?;
    match taken {
        true => Err(Error::conflict("there is a person with this e-mail address already").into()),
        false => Ok(()),
    }
}

fn has_persons(connection: &Connection) -> StoreResult<bool> {
    let found = connection.query_row("SELECT EXISTS (SELECT 1 FROM persons)", [], |row| {
        row.get(0)
    })?;
    Ok(found)
}

pub(super) fn insert(connection: &Connection, person: &Person) -> StoreResult<()> {
    connection
        .prepare_cached(
            "INSERT INTO persons (id, email, name, operator, created_at) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Text(person.id),
            person.email,
            person.name,
            person.operator,
            Moment(person.created_at)
        ])?;
    Ok(())
}

pub(super) fn person_of(row: &Row<'_>) -> rusqlite::Result<Person> {
    person_from(row, 0)
}

/// The same, where [`COLUMNS`] come behind `before` others.
pub(super) fn person_from(row: &Row<'_>, before: usize) -> rusqlite::Result<Person> {
    Ok(Person {
        id: row.get::<_, Text<_>>(before)?.0,
        email: row.get(before + 1)?,
        name: row.get(before + 2)?,
        operator: row.get(before + 3)?,
        verified: row.get(before + 4)?,
        has_password: row.get(before + 5)?,
        created_at: row.get::<_, Moment>(before + 6)?.0,
    })
}
