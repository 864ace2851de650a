//! Users: what of them is not in their documents. A password is kept as the hash that it came as, in no document, no
//! outbox and no reply.

use pilvi_model::{
    Asker, Error as DomainError, Object, ObjectId, ObjectType, Permission, Properties, Result,
    Timestamp,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde_json::Value;

use super::author::Author;
use super::mutation::{Mutation, Written};
use super::outbox::millis;
use super::transfer::Login;
use super::vouchers::{self, Purpose};
use super::{Backend, access, collections, members, objects, sessions};
use crate::error::Result as StoreResult;

/// A user who is about to exist. The name is among the properties, too.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: ObjectId,
    pub username: String,
    /// The hash.
    pub password: String,
    pub properties: Properties,
}

/// What a login is compared with.
#[derive(Clone, Debug)]
pub struct StoredLogin {
    pub id: ObjectId,
    /// The hash.
    pub password: String,
}

/// A user whom a mail can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    pub id: ObjectId,
    pub username: String,
    pub email: String,
    pub email_verified: bool,
}

/// How a mail finds its readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    Id(ObjectId),
    Username(String),
    /// Several users may have the same address.
    Email(String),
}

/// So many users with the same address get a mail.
const SAME_ADDRESS_MAX: i64 = 5;

impl Backend {
    /// Whether a user of this name may be made, before its password is worth hashing.
    pub async fn check_new_user(&self, asker: Asker, username: String) -> Result<()> {
        self.database
            .read(move |connection| {
                let rights = collections::rights(connection, &ObjectType::users())?;
                if !asker.is_admin() && !rights.create.includes(&asker) {
                    return Err(asker.refusal("creating users").into());
                }
                match find_login(connection, &username)? {
                    Some(_) => Err(taken().into()),
                    None => Ok(()),
                }
            })
            .await
    }

    /// Makes a user, who is their own creator whoever asks.
    pub async fn create_user(&self, user: NewUser, author: Author) -> Result<Written> {
        self.database
            .write(move |connection| {
                let email = address(user.properties.as_map().get("email"));
                let inserted = connection
                    .prepare_cached(
                        "INSERT INTO users (id, username, password, password_at, email) VALUES (?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        user.id.to_string(),
                        user.username,
                        user.password,
                        millis(author.at),
                        email,
                    ]);
                unless_taken(inserted)?;
                let users = ObjectType::users();
                objects::create(
                    connection,
                    &author,
                    user.id,
                    &users,
                    Some(user.id),
                    &user.properties,
                )
            })
            .await
    }

    /// Whether the asker may change this user, before a new password is worth hashing.
    pub async fn check_user_update(&self, asker: Asker, id: ObjectId) -> Result<()> {
        self.database
            .read(move |connection| {
                let users = ObjectType::users();
                access::require(connection, &asker, Permission::Update, &users, id)?;
                Ok(())
            })
            .await
    }

    /// Changes a user together with the password. Who is signed in stays so until their access token expires.
    pub async fn update_user_and_password(
        &self,
        id: ObjectId,
        changes: Properties,
        password: String,
        author: Author,
    ) -> Result<Written> {
        self.database
            .write(move |connection| {
                let update = Mutation::Update {
                    object_type: ObjectType::users(),
                    id,
                    changes,
                };
                let written = update.apply(connection, &author)?;
                set_password(connection, id, &password, author.at)?;
                sessions::forget_refresh(connection, id)?;
                Ok(written)
            })
            .await
    }

    /// The login of this name.
    pub async fn find_login(&self, username: String) -> Result<Option<StoredLogin>> {
        self.database
            .read(move |connection| find_login(connection, &username))
            .await
    }

    /// Who is to get a mail. Without an address nobody is reached.
    pub async fn find_reachable(&self, whom: Whom) -> Result<Vec<Reachable>> {
        self.database
            .read(move |connection| find_reachable(connection, &whom))
            .await
    }

    /// Sets a password in exchange for a voucher, and ends every session: whoever forgot a password may have lost it
    /// to somebody. `None`: the voucher is worth nothing.
    pub async fn reset_password(
        &self,
        voucher: [u8; 32],
        password: String,
        now: Timestamp,
    ) -> Result<Option<ObjectId>> {
        self.database
            .write(move |connection| {
                let Some(id) = vouchers::redeem(connection, voucher, Purpose::Password, now)?
                else {
                    return Ok(None);
                };
                set_password(connection, id, &password, now)?;
                sessions::forget_all(connection, id)?;
                // The mail reached its reader.
                verify_email(connection, id, now)?;
                Ok(Some(id))
            })
            .await
    }

    /// Marks the user's address as their own in exchange for a voucher.
    pub async fn redeem_email_voucher(
        &self,
        voucher: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<ObjectId>> {
        self.database
            .write(move |connection| {
                let user = vouchers::redeem(connection, voucher, Purpose::Email, now)?;
                if let Some(id) = user {
                    verify_email(connection, id, now)?;
                }
                Ok(user)
            })
            .await
    }
}

/// The hash of a user's password.
pub(super) fn password_of(connection: &Connection, id: ObjectId) -> StoreResult<Option<String>> {
    let found = connection
        .prepare_cached("SELECT password FROM users WHERE id = ?")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// A user without a password could never sign in, so nobody makes one as if it were any object.
pub(super) fn require_login(
    connection: &Connection,
    object_type: &ObjectType,
    id: ObjectId,
) -> StoreResult<()> {
    if *object_type == ObjectType::users() && password_of(connection, id)?.is_none() {
        return Err(DomainError::invalid("password", "can't be blank").into());
    }
    Ok(())
}

/// Puts the rest of a user there as it was elsewhere.
pub(super) fn unpack(connection: &Connection, user: &Object, login: &Login) -> StoreResult<()> {
    let document = user.to_json()?;
    let username = check_username(document.get("username").unwrap_or(&Value::Null))?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO users (id, username, password, password_at, email, email_verified_at) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            user.id.to_string(),
            username,
            login.password,
            millis(login.password_at),
            address(document.get("email")),
            login.email_verified_at.map(millis),
        ]);
    unless_taken(inserted)
}

/// Keeps the rest of a user in step with a document that changed, by whatever kind of change.
pub(super) fn follow(connection: &Connection, before: &Object, after: &Object) -> StoreResult<()> {
    if after.object_type != ObjectType::users() {
        return Ok(());
    }
    let id = after.id;
    let (before, after) = (before.to_json()?, after.to_json()?);
    if before.get("username") != after.get("username") {
        let username = check_username(after.get("username").unwrap_or(&Value::Null))?;
        let renamed = connection
            .prepare_cached("UPDATE users SET username = ? WHERE id = ?")?
            .execute([username, &id.to_string()]);
        unless_taken(renamed)?;
    }
    if before.get("email") != after.get("email") {
        connection
            .prepare_cached("UPDATE users SET email = ?, email_verified_at = NULL WHERE id = ?")?
            .execute(params![address(after.get("email")), id.to_string()])?;
        vouchers::forget_all(connection, id)?;
    }
    Ok(())
}

/// Removes the rest of a user or group whose document is gone. Access lists that name them stay.
pub(super) fn forget(connection: &Connection, object: &Object) -> StoreResult<()> {
    let id = object.id;
    if object.object_type == ObjectType::usergroups() {
        return members::forget_group(connection, id);
    }
    if object.object_type == ObjectType::users() {
        connection
            .prepare_cached("DELETE FROM users WHERE id = ?")?
            .execute([id.to_string()])?;
        sessions::forget_all(connection, id)?;
        vouchers::forget_all(connection, id)?;
        members::forget_user(connection, id)?;
    }
    Ok(())
}

/// Any text may stand as an address; an empty one is none.
fn address(email: Option<&Value>) -> Option<&str> {
    email?.as_str().filter(|address| !address.is_empty())
}

/// Names may hold spaces, braces and whatever else; they only must be there.
pub fn check_username(username: &Value) -> Result<&str> {
    match username {
        Value::String(name) if name.trim().is_empty() => {
            Err(DomainError::invalid("username", "can't be blank"))
        }
        Value::String(name) if name.len() > USERNAME_BYTES_MAX => Err(DomainError::invalid(
            "username",
            format!("can't be longer than {USERNAME_BYTES_MAX} bytes"),
        )),
        Value::String(name) => Ok(name),
        Value::Null => Err(DomainError::invalid("username", "can't be blank")),
        _ => Err(DomainError::invalid("username", "must be a text")),
    }
}

/// How many bytes the name of a user may have.
pub const USERNAME_BYTES_MAX: usize = 512;

fn find_login(connection: &Connection, username: &str) -> StoreResult<Option<StoredLogin>> {
    let found: Option<(String, String)> = connection
        .prepare_cached("SELECT id, password FROM users WHERE username = ?")?
        .query_row([username], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, password)) = found else {
        return Ok(None);
    };
    Ok(Some(StoredLogin {
        id: id.parse()?,
        password,
    }))
}

fn find_reachable(connection: &Connection, whom: &Whom) -> StoreResult<Vec<Reachable>> {
    let (condition, value) = match whom {
        Whom::Id(id) => ("id = ?", id.to_string()),
        Whom::Username(name) => ("username = ?", name.clone()),
        Whom::Email(address) => ("email = ?", address.clone()),
    };
    let sql = format!(
        "SELECT id, username, email, email_verified_at IS NOT NULL FROM users \
         WHERE {condition} AND email IS NOT NULL LIMIT {SAME_ADDRESS_MAX}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([value])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        found.push(Reachable {
            id: id.parse()?,
            username: row.get(1)?,
            email: row.get(2)?,
            email_verified: row.get(3)?,
        });
    }
    Ok(found)
}

fn set_password(
    connection: &Connection,
    id: ObjectId,
    password: &str,
    now: Timestamp,
) -> StoreResult<()> {
    connection
        .prepare_cached("UPDATE users SET password = ?, password_at = ? WHERE id = ?")?
        .execute(params![password, millis(now), id.to_string()])?;
    vouchers::forget_all(connection, id)
}

fn verify_email(connection: &Connection, id: ObjectId, now: Timestamp) -> StoreResult<()> {
    connection
        .prepare_cached("UPDATE users SET email_verified_at = ? WHERE id = ?")?
        .execute(params![millis(now), id.to_string()])?;
    Ok(())
}

fn taken() -> DomainError {
    DomainError::invalid("username", "has already been taken")
}

fn unless_taken(outcome: rusqlite::Result<usize>) -> StoreResult<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(taken().into())
        }
        Err(error) => Err(error.into()),
    }
}
