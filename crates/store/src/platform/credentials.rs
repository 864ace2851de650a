//! Passwords of persons, and the codes that come by mail: to finish a sign-up, to set a new password, to prove an
//! address.
//!
//! A code is used up in the same transaction that does what it is for, so that it serves once.

use std::time::Duration;

use pilvi_model::{PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::persons::{self, COLUMNS, person_of};
use super::tokens::Digest;
use super::{Moment, Person, Text, sessions};
use crate::Store;
use crate::error::Result as StoreResult;

/// What is needed to sign in by password. `Debug` shows no hash.
#[derive(Clone)]
pub struct PersonLogin {
    pub id: PersonId,
    /// In the PHC format; `None`: this person signs in another way.
    pub password: Option<String>,
}

/// What a code does for whoever brings it.
#[derive(Clone)]
pub enum CodePurpose {
    /// Makes the person.
    SignUp { name: String, password: String },
    /// Sets a new password.
    Password(PersonId),
    /// Gives the person the address that the code was sent to.
    Email(PersonId),
}

/// A code that is about to be sent.
#[derive(Clone)]
pub struct NewCode {
    /// SHA-256 of the code.
    pub digest: [u8; 32],
    /// Where it is sent.
    pub email: String,
    pub purpose: CodePurpose,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// How many codes of one purpose there may be for one address.
#[derive(Clone, Copy, Debug)]
pub struct CodeBounds {
    pub codes_max: u32,
    /// No address gets codes of one purpose faster.
    pub spacing: Duration,
}

/// A sign-up that waits for its code.
#[derive(Clone)]
pub struct SignUp {
    pub email: String,
    pub name: String,
    pub password: String,
}

impl Store {
    /// How the person with this address signs in.
    pub async fn find_person_login(&self, email: String) -> Result<Option<PersonLogin>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT id, password FROM persons WHERE lower(email) = lower(?)",
                    )?
                    .query_row([&email], login_of)
                    .optional()?)
            })
            .await
    }

    /// How this person signs in.
    pub async fn find_login_of(&self, person: PersonId) -> Result<Option<PersonLogin>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached("SELECT id, password FROM persons WHERE id = ?")?
                    .query_row([Text(person)], login_of)
                    .optional()?)
            })
            .await
    }

    /// Sets the password if it is still `old`, and ends all sessions but `kept`. The person's codes are worth nothing
    /// any more. `false`: somebody else set it in the meantime, or there is no such person.
    pub async fn change_password(
        &self,
        person: PersonId,
        old: Option<String>,
        new: String,
        kept: Option<i64>,
    ) -> Result<bool> {
        self.platform
            .write(move |connection| {
                let changed = connection
                    .prepare_cached(
                        "UPDATE persons SET password = ? WHERE id = ? AND password IS ?",
                    )?
                    .execute(params![new, Text(person), old])?;
                if changed == 0 {
                    return Ok(false);
                }
                forget_codes(connection, person)?;
                sessions::delete_others(connection, person, kept)?;
                Ok(true)
            })
            .await
    }

    /// Writes a code down. `false`: the address got one too short a time ago, and this one must not be sent.
    pub async fn insert_code(&self, code: NewCode, bounds: CodeBounds) -> Result<bool> {
        self.platform
            .write(move |connection| insert_code(connection, &code, bounds))
            .await
    }

    /// Whether somebody invited this address to an account, and it may still come.
    pub async fn has_invitation(&self, email: String, now: Timestamp) -> Result<bool> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM invitations
                         WHERE lower(email) = lower(?) AND expires_at > ?)",
                    )?
                    .query_row(params![email, Moment(now)], |row| row.get(0))?)
            })
            .await
    }

    /// What somebody wanted to sign up as, for the code's owner to confirm.
    pub async fn find_sign_up(&self, digest: [u8; 32], now: Timestamp) -> Result<Option<SignUp>> {
        self.platform
            .read(move |connection| find_sign_up(connection, digest, now))
            .await
    }

    /// Makes the person of a sign-up. `None`: the code is worth nothing any more. A conflict: the address became
    /// somebody's in the meantime.
    pub async fn finish_sign_up(
        &self,
        digest: [u8; 32],
        id: PersonId,
        now: Timestamp,
    ) -> Result<Option<Person>> {
        self.platform
            .write(move |connection| {
                let Some(wanted) = find_sign_up(connection, digest, now)? else {
                    return Ok(None);
                };
                // Whoever else wanted to be this address is not its owner.
                connection.execute(
                    "DELETE FROM codes WHERE purpose = 'sign-up' AND lower(email) = lower(?)",
                    [&wanted.email],
                )?;
                let person = Person {
                    verified: true,
                    has_password: true,
                    ..Person::new(id, wanted.email, wanted.name, now)
                };
                persons::check_free(connection, &person.email, None)?;
                persons::insert(connection, &person)?;
                connection.execute(
                    "UPDATE persons SET password = ?, email_verified_at = ? WHERE id = ?",
                    params![wanted.password, Moment(now), Text(id)],
                )?;
                Ok(Some(person))
            })
            .await
    }

    /// Whose password this code sets.
    pub async fn find_password_code(
        &self,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Person>> {
        self.platform
            .read(move |connection| find_coded(connection, digest, "password", now))
            .await
    }

    /// Sets the password that comes with a code, and ends all sessions; with `revoke` also deletes the person's
    /// personal access tokens and account tokens. The code came by mail, so the address is proven. `None`: the code is
    /// worth nothing.
    pub async fn reset_person_password(
        &self,
        digest: [u8; 32],
        new: String,
        revoke: bool,
        now: Timestamp,
    ) -> Result<Option<Person>> {
        self.platform
            .write(move |connection| {
                let Some(person) = find_coded(connection, digest, "password", now)? else {
                    return Ok(None);
                };
                // The mail proves the address that it went to, which may not be the person's any more.
                connection.execute(
                    "UPDATE persons SET password = ?1, email_verified_at = CASE
                         WHEN lower(email) = (SELECT lower(email) FROM codes WHERE digest = ?4)
                         THEN coalesce(email_verified_at, ?2) ELSE email_verified_at END
                     WHERE id = ?3",
                    params![new, Moment(now), Text(person.id), Digest(digest)],
                )?;
                forget_codes(connection, person.id)?;
                sessions::delete_others(connection, person.id, None)?;
                if revoke {
                    forget_tokens(connection, person.id)?;
                }
                Ok(Some(person))
            })
            .await
    }

    /// The person who will have the address that this code was sent to, and that address.
    pub async fn find_email_code(
        &self,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<(Person, String)>> {
        self.platform
            .read(move |connection| find_email(connection, digest, now))
            .await
    }

    /// Gives a person the address that the code was sent to, and returns them as they were. `None`: the code is worth
    /// nothing, or is not about this person. A conflict: the address became somebody else's in the meantime.
    pub async fn confirm_email(
        &self,
        person: PersonId,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<(Person, String)>> {
        self.platform
            .write(move |connection| {
                let found = find_email(connection, digest, now)?;
                let Some((person, email)) = found.filter(|(owner, _)| owner.id == person) else {
                    return Ok(None);
                };
                persons::check_free(connection, &email, Some(person.id))?;
                // Among them one for a new password that went to the old address.
                forget_codes(connection, person.id)?;
                connection.execute(
                    "UPDATE persons SET email = ?, email_verified_at = ? WHERE id = ?",
                    params![email, Moment(now), Text(person.id)],
                )?;
                Ok(Some((person, email)))
            })
            .await
    }

    /// Forgets codes that serve no more.
    pub async fn delete_ended_codes(&self, now: Timestamp) -> Result<usize> {
        self.platform
            .write_when_low(move |connection| {
                Ok(connection.execute("DELETE FROM codes WHERE expires_at <= ?", [Moment(now)])?)
            })
            .await
    }
}

fn insert_code(connection: &Connection, code: &NewCode, bounds: CodeBounds) -> StoreResult<bool> {
    let (purpose, person, name, password) = match &code.purpose {
        CodePurpose::SignUp { name, password } => ("sign-up", None, Some(name), Some(password)),
        CodePurpose::Password(person) => ("password", Some(*person), None, None),
        CodePurpose::Email(person) => ("email", Some(*person), None, None),
    };
    let newest: Option<i64> = connection
        .prepare_cached(
            "SELECT max(created_at) FROM codes WHERE lower(email) = lower(?) AND purpose = ?",
        )?
        .query_row(params![code.email, purpose], |row| row.get(0))?;
    let newest = newest.and_then(|millis| u64::try_from(millis).ok());
    if newest
        .is_some_and(|newest| Timestamp::from_millis(newest).plus(bounds.spacing) > code.created_at)
    {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "DELETE FROM codes WHERE digest IN (SELECT digest FROM codes WHERE lower(email) = lower(?)
             AND purpose = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
        )?
        .execute(params![
            code.email,
            purpose,
            bounds.codes_max.saturating_sub(1)
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO codes (digest, purpose, person, email, name, password, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            Digest(code.digest),
            purpose,
            person.map(Text),
            code.email,
            name,
            password,
            Moment(code.created_at),
            Moment(code.expires_at)
        ])?;
    Ok(true)
}

fn find_sign_up(
    connection: &Connection,
    digest: [u8; 32],
    now: Timestamp,
) -> StoreResult<Option<SignUp>> {
    Ok(connection
        .prepare_cached(
            "SELECT email, name, password FROM codes
             WHERE digest = ? AND purpose = 'sign-up' AND expires_at > ?",
        )?
        .query_row(params![Digest(digest), Moment(now)], |row| {
            Ok(SignUp {
                email: row.get(0)?,
                name: row.get(1)?,
                password: row.get(2)?,
            })
        })
        .optional()?)
}

fn find_coded(
    connection: &Connection,
    digest: [u8; 32],
    purpose: &str,
    now: Timestamp,
) -> StoreResult<Option<Person>> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM codes JOIN persons ON persons.id = codes.person
             WHERE codes.digest = ? AND codes.purpose = ? AND codes.expires_at > ?"
        ))?
        .query_row(params![Digest(digest), purpose, Moment(now)], person_of)
        .optional()?)
}

fn find_email(
    connection: &Connection,
    digest: [u8; 32],
    now: Timestamp,
) -> StoreResult<Option<(Person, String)>> {
    let Some(person) = find_coded(connection, digest, "email", now)? else {
        return Ok(None);
    };
    let email = connection.query_row(
        "SELECT email FROM codes WHERE digest = ?",
        [Digest(digest)],
        |row| row.get(0),
    )?;
    Ok(Some((person, email)))
}

/// A change of how somebody signs in ends whatever else was under way: one who got in before must not have left a code
/// behind that lets them in again, by another address or another password.
fn forget_codes(connection: &Connection, person: PersonId) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM codes WHERE person = ?")?
        .execute([Text(person)])?;
    Ok(())
}

/// Deletes what programs of this person sign in with, and what they are about to.
fn forget_tokens(connection: &Connection, person: PersonId) -> StoreResult<()> {
    for statement in [
        "DELETE FROM tokens WHERE person = ?",
        "DELETE FROM device_codes WHERE person = ?",
    ] {
        connection.execute(statement, [Text(person)])?;
    }
    Ok(())
}

fn login_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<PersonLogin> {
    Ok(PersonLogin {
        id: row.get::<_, Text<_>>(0)?.0,
        password: row.get(1)?,
    })
}
