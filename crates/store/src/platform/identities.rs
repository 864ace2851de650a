//! Identities: who a person is at a provider of single sign-on.
//!
//! A provider knows somebody by issuer and subject, which never change; e-mail addresses do, so an address only ever
//! helps at the first meeting. Everything that a sign-in decides is decided in one transaction: two browsers that
//! come back from a provider at the same time make one person.

use pilvi_model::{Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Moment, Person, Text, persons};
use crate::Store;
use crate::error::Result as StoreResult;

/// What a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    pub issuer: String,
    pub subject: String,
    /// What the provider shows for it, to tell one from another in a list; no rule reads it.
    pub label: Option<String>,
    /// When the provider vouched.
    pub at: Timestamp,
}

/// An identity as its person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedIdentity {
    pub id: i64,
    pub issuer: String,
    pub label: Option<String>,
    pub created_at: Timestamp,
    pub used_at: Timestamp,
}

/// Who may become a person by signing in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Nobody,
    /// Whose address somebody has invited.
    Invited,
    Anybody,
}

/// Whom a sign-in by an identity leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedOn {
    /// The person it was linked to before.
    Known(PersonId),
    /// The person with the same verified address, to whom it is linked from now on.
    Linked(PersonId),
    /// Somebody new.
    Made(PersonId),
    /// Nobody: the provider does not vouch for an address.
    NoAddress,
    /// Nobody: there is a person with this address who never showed that it is theirs.
    AddressUnverified,
    /// Nobody: the person with this address looks after the server, and links by hand alone.
    OperatorsAddress,
    /// Nobody: this server takes no newcomers like this one.
    NotAdmitted,
}

impl Store {
    /// Finds or makes whom an identity leads to. `newcomer` is the person that it would make: the provider vouches that
    /// the address in there is theirs.
    pub async fn sign_on(
        &self,
        identity: NewIdentity,
        newcomer: Option<Person>,
        admission: Admission,
        identities_max: u32,
    ) -> Result<SignedOn> {
        self.platform
            .write(move |connection| {
                if let Some(person) = find_owner(connection, &identity)? {
                    touch(connection, &identity)?;
                    return Ok(SignedOn::Known(person));
                }
                let Some(newcomer) = &newcomer else {
                    return Ok(SignedOn::NoAddress);
                };
                if let Some(owner) = find_by_email(connection, &newcomer.email)? {
                    if owner.operator {
                        return Ok(SignedOn::OperatorsAddress);
                    }
                    if !owner.verified {
                        return Ok(SignedOn::AddressUnverified);
                    }
                    link(connection, owner.id, &identity, identities_max)?;
                    return Ok(SignedOn::Linked(owner.id));
                }
                let admitted = match admission {
                    Admission::Nobody => false,
                    Admission::Anybody => true,
                    Admission::Invited => is_invited(connection, newcomer)?,
                };
                if !admitted {
                    return Ok(SignedOn::NotAdmitted);
                }
                insert_verified(connection, newcomer)?;
                link(connection, newcomer.id, &identity, identities_max)?;
                Ok(SignedOn::Made(newcomer.id))
            })
            .await
    }

    /// Adds an identity to a person, who has it already at best; somebody else's is refused.
    pub async fn link_identity(
        &self,
        person: PersonId,
        identity: NewIdentity,
        identities_max: u32,
    ) -> Result<()> {
        self.platform
            .write(move |connection| match find_owner(connection, &identity)? {
                Some(owner) if owner == person => Ok(touch(connection, &identity)?),
                Some(_) => Err(Error::conflict(
                    "it is linked to another person of this server; sign in with it and unlink it there first",
                )
                .into()),
                None => link(connection, person, &identity, identities_max),
            })
            .await
    }

    /// A person's identities, oldest first.
    pub async fn list_identities(&self, person: PersonId) -> Result<Vec<LinkedIdentity>> {
        self.platform
            .read(move |connection| Ok(list(connection, person)?))
            .await
    }

    /// Takes an identity away from a person, unless it is their only way in. `false`: they have no such identity.
    pub async fn unlink_identity(&self, person: PersonId, id: i64) -> Result<bool> {
        self.platform
            .write(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM identities WHERE id = ? AND person = ?")?
                    .execute(params![id, Text(person)])?;
                if deleted > 0 && !has_another_way(connection, person)? {
                    return Err(Error::conflict(
                        "it is the only way in that is left; set a password first, or link another one",
                    )
                    .into());
                }
                Ok(deleted > 0)
            })
            .await
    }
}

/// Adds a person whose address a provider vouches for. Whoever else wanted to be this address is not its owner.
fn insert_verified(connection: &Connection, person: &Person) -> StoreResult<()> {
    persons::insert(connection, person)?;
    connection
        .prepare_cached("UPDATE persons SET email_verified_at = ? WHERE id = ?")?
        .execute(params![Moment(person.created_at), Text(person.id)])?;
    connection
        .prepare_cached("DELETE FROM codes WHERE purpose = 'sign-up' AND lower(email) = lower(?)")?
        .execute([&person.email])?;
    Ok(())
}

fn find_owner(
    connection: &Connection,
    identity: &NewIdentity,
) -> rusqlite::Result<Option<PersonId>> {
    connection
        .prepare_cached("SELECT person FROM identities WHERE issuer = ? AND subject = ?")?
        .query_row([&identity.issuer, &identity.subject], |row| {
            Ok(row.get::<_, Text<_>>(0)?.0)
        })
        .optional()
}

fn touch(connection: &Connection, identity: &NewIdentity) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE identities SET used_at = ?, label = ? WHERE issuer = ? AND subject = ?",
        )?
        .execute(params![
            Moment(identity.at),
            identity.label,
            identity.issuer,
            identity.subject
        ])?;
    Ok(())
}

fn link(
    connection: &Connection,
    person: PersonId,
    identity: &NewIdentity,
    identities_max: u32,
) -> StoreResult<()> {
    let held = list(connection, person)?.len();
    if held >= usize::try_from(identities_max).unwrap_or(usize::MAX) {
        return Err(Error::over_limit(format!(
            "{identities_max} identities are linked already, which is the most; unlink one first"
        ))
        .into());
    }
    connection
        .prepare_cached(
            "INSERT INTO identities (issuer, subject, person, label, created_at, used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )?
        .execute(params![
            identity.issuer,
            identity.subject,
            Text(person),
            identity.label,
            Moment(identity.at)
        ])?;
    Ok(())
}

fn list(connection: &Connection, person: PersonId) -> rusqlite::Result<Vec<LinkedIdentity>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, issuer, label, created_at, used_at FROM identities WHERE person = ? ORDER BY id",
    )?;
    statement.query_map([Text(person)], identity_of)?.collect()
}

/// The person with this address, however it is spelled.
fn find_by_email(connection: &Connection, email: &str) -> rusqlite::Result<Option<Person>> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM persons WHERE lower(email) = lower(?)",
            persons::COLUMNS
        ))?
        .query_row([email], persons::person_of)
        .optional()
}

fn is_invited(connection: &Connection, newcomer: &Person) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM invitations WHERE lower(email) = lower(?) AND expires_at > ?)",
        )?
        .query_row(
            params![newcomer.email, Moment(newcomer.created_at)],
            |row| row.get(0),
        )
}

fn has_another_way(connection: &Connection, person: PersonId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM identities WHERE person = ?1)
                 OR EXISTS (SELECT 1 FROM persons WHERE id = ?1 AND password IS NOT NULL)",
        )?
        .query_row([Text(person)], |row| row.get(0))
}

fn identity_of(row: &Row<'_>) -> rusqlite::Result<LinkedIdentity> {
    Ok(LinkedIdentity {
        id: row.get(0)?,
        issuer: row.get(1)?,
        label: row.get(2)?,
        created_at: row.get::<_, Moment>(3)?.0,
        used_at: row.get::<_, Moment>(4)?.0,
    })
}
