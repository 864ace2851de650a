//! All of a backend on its way out, and into a file that nobody sees yet.
//!
//! What goes out is read from a copy that stands still. What comes in is built in the file of a backend that no
//! directory knows, row by row as it was, and that file then takes the place of another in one step. What follows from
//! the rows, such as who may read what, is worked out anew: whoever wrote them down is not believed.

use std::path::PathBuf;

use pilvi_model::{
    AccessList, BackendId, Blob, Digest, Error, FileTarget, Object, ObjectId, ObjectType, Readers,
    Result, Timestamp,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde_json::{Map, Value};

use super::author::Author;
use super::outbox::millis;
use super::{
    Backend, access, blobs, collections, constraints, facts, files, inferred, inherit, users,
    webhooks,
};
use crate::error;
use crate::snapshot;
use crate::{Store, backend};

pub(super) const STEP: &str = "
    -- Which imports this file is the outcome of: after a crash that tells those that happened from those that did not.
    CREATE TABLE imports (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    ";

/// What is read in one go: so many rows, and fewer when their documents are large.
const ROWS_AT_ONCE: u32 = 500;
const BYTES_AT_ONCE: usize = 4 << 20;

/// An object with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub object: Object,
    /// Its own access list.
    pub access: AccessList,
    /// Of a user.
    pub login: Option<Login>,
    /// Of a file.
    pub file: Option<FileParcel>,
}

/// What of a user is not in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The hash.
    pub password: String,
    pub password_at: Timestamp,
    pub email_verified_at: Option<Timestamp>,
}

/// What of a whole file is not in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileParcel {
    pub blob: Blob,
    /// The object that it belongs to, or belonged to last.
    pub owner: Option<FileTarget>,
    pub is_attached: bool,
    pub is_linked: bool,
}

/// Somebody in a usergroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub usergroup: ObjectId,
    pub user: ObjectId,
}

/// Some of what there is, and from where to go on.
#[derive(Clone, Debug)]
pub struct Packed<T, C> {
    pub rows: Vec<T>,
    /// `None`: there is no more.
    pub next: Option<C>,
}

/// Which backends may be replaced by what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// One in which there is nothing that could be lost.
    Empty,
    Any,
}

impl Store {
    /// A backend in a file that is nobody's yet, such as a copy.
    pub fn backend_at(&self, id: BackendId, path: PathBuf) -> Backend {
        let database = self.folder.pool.database(path, &backend::SCHEMA, false);
        Backend::new(id, database)
    }

    /// Puts the file of a backend that was built from an import in the place of another's, in one step: whatever
    /// interrupts this, the other has its old file or the new one. Numbers of changes go on, so that whoever follows
    /// them finds out that there is something else now.
    pub async fn put_in_place(
        &self,
        id: BackendId,
        with: BackendId,
        replaced: Replaced,
    ) -> Result<()> {
        self.replace_backend_after(id, with, move |old, new| {
            let old = Connection::open(old)?;
            if replaced == Replaced::Empty && !is_empty(&old)? {
                return Err(Error::conflict(
                    "the backend is not empty; replace all that is in it, or import into another one",
                )
                .into());
            }
            let outbox: i64 = old
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'", [], |row| row.get(0))
                .optional()?
                .unwrap_or(0);
            let era: i64 = old.query_row("SELECT era FROM blob_era", [], |row| row.get(0))?;
            snapshot::alter(new, |new| {
                new.execute("DELETE FROM outbox", [])?;
                new.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'", [])?;
                new.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)",
                    [outbox + 1],
                )?;
                new.execute("UPDATE blob_era SET era = ?", [era + 1])?;
                Ok(())
            })
        })
        .await
    }
}

/// Whether there is nothing in a backend that somebody could miss. What it says about types is no such thing: a new
/// backend may say something already.
fn is_empty(connection: &Connection) -> error::Result<bool> {
    let found: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM objects) OR EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM files) \
             OR EXISTS (SELECT 1 FROM webhooks)",
        [],
        |row| row.get(0),
    )?;
    Ok(!found)
}

impl Backend {
    /// Whether there is nothing in it that could be lost.
    pub async fn is_empty(&self) -> Result<bool> {
        self.database.read(is_empty).await
    }

    /// How many objects there are of each type.
    pub async fn count_by_type(&self) -> Result<Vec<(ObjectType, u64)>> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT type, count(*) FROM objects GROUP BY type ORDER BY type",
                )?;
                let rows =
                    statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
                rows.map(|row| {
                    let (name, count) = row?;
                    Ok((name.parse()?, count))
                })
                .collect()
            })
            .await
    }

    /// Objects of a type in the order in which they were made, behind `after`. Files that are not whole are left out.
    pub async fn pack_objects(
        &self,
        object_type: ObjectType,
        after: i64,
    ) -> Result<Packed<Parcel, i64>> {
        self.database
            .read(move |connection| pack_objects(connection, &object_type, after))
            .await
    }

    /// Who is in which group.
    pub async fn pack_members(
        &self,
        after: Option<Membership>,
    ) -> Result<Packed<Membership, Membership>> {
        self.database
            .read(move |connection| {
                let (group, user) = match after {
                    None => (String::new(), String::new()),
                    Some(after) => (after.usergroup.to_string(), after.user.to_string()),
                };
                let mut statement = connection.prepare_cached(
                    "SELECT usergroup, user FROM members WHERE (usergroup, user) > (?, ?) \
                     ORDER BY usergroup, user LIMIT ?",
                )?;
                let rows = statement.query_map(params![group, user, ROWS_AT_ONCE], |row| {
                    Ok(Membership {
                        usergroup: webhooks::parsed(row, 0)?,
                        user: webhooks::parsed(row, 1)?,
                    })
                })?;
                let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
                let next = rows.last().copied();
                Ok(Packed { rows, next })
            })
            .await
    }

    /// The bytes that files are made of, in the order of their digests. Those of variants are not among them: they can
    /// be made again.
    pub async fn pack_blobs(&self, after: Option<Digest>) -> Result<Packed<Blob, Digest>> {
        self.database
            .read(move |connection| {
                let after = after.map_or(Vec::new(), |digest| digest.as_bytes().to_vec());
                let mut statement = connection.prepare_cached(
                    "SELECT DISTINCT digest, bytes FROM files WHERE digest IS NOT NULL AND digest > ? \
                     ORDER BY digest LIMIT ?",
                )?;
                let rows = statement.query_map(params![after, ROWS_AT_ONCE], |row| {
                    Ok(Blob {
                        digest: Digest::from_bytes(row.get(0)?),
                        bytes: row.get(1)?,
                    })
                })?;
                let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
                let next = rows.last().map(|blob: &Blob| blob.digest);
                Ok(Packed { rows, next })
            })
            .await
    }

    /// What holds for all types about which nothing was said, if anything does: as a schema says it.
    pub async fn rest_rights(&self) -> Result<Option<Map<String, Value>>> {
        self.database
            .read(|connection| {
                let Some(text) = collections::rest_text(connection)? else {
                    return Ok(None);
                };
                let rights = pilvi_model::access::CollectionRights::from_text(&text)?;
                let mut said = Map::new();
                said.insert("accessControlList".to_owned(), rights.access_json(false));
                said.insert(
                    "accessControlListTemplate".to_owned(),
                    rights.template.to_json(),
                );
                Ok(Some(said))
            })
            .await
    }

    /// Says what holds for all types about which nothing was said.
    pub async fn put_rest_rights(&self, said: Map<String, Value>, now: Timestamp) -> Result<()> {
        self.database
            .write(move |connection| collections::put_rest(connection, &said, now))
            .await
    }

    /// Puts objects into this backend as they were elsewhere. Nobody is told.
    pub async fn unpack_objects(&self, parcels: Vec<Parcel>, author: Author) -> Result<()> {
        self.database
            .write(move |connection| {
                for parcel in &parcels {
                    unpack(connection, &author, parcel)
                        .map_err(|error| about(error, &parcel.object))?;
                }
                Ok(())
            })
            .await
    }

    /// The same for who is in which group.
    pub async fn unpack_members(&self, members: Vec<Membership>) -> Result<()> {
        self.database
            .write(move |connection| {
                for Membership { usergroup, user } in members {
                    let (group, who) = (usergroup.to_string(), user.to_string());
                    let both: bool = connection
                        .prepare_cached(
                            "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?2) AND EXISTS \
                                 (SELECT 1 FROM objects WHERE type = 'usergroups' AND id = ?1)",
                        )?
                        .query_row([&group, &who], |row| row.get(0))?;
                    if !both {
                        return Err(Error::bad_request(format!(
                            "the export has a member {who} of a usergroup {group}, and not both of them"
                        ))
                        .into());
                    }
                    connection
                        .prepare_cached("INSERT OR IGNORE INTO members (usergroup, user) VALUES (?, ?)")?
                        .execute([group, who])?;
                }
                Ok(())
            })
            .await
    }

    /// Writes down of which import this backend is the outcome.
    pub async fn note_import(&self, import: String, now: Timestamp) -> Result<()> {
        self.database
            .write(move |connection| {
                connection.execute(
                    "INSERT OR IGNORE INTO imports (id, at) VALUES (?, ?)",
                    params![import, millis(now)],
                )?;
                Ok(())
            })
            .await
    }

    /// Whether this backend is the outcome of an import.
    pub async fn is_outcome_of(&self, import: String) -> Result<bool> {
        self.database
            .read(move |connection| {
                let sql = "SELECT EXISTS (SELECT 1 FROM imports WHERE id = ?)";
                Ok(connection.query_row(sql, [&import], |row| row.get(0))?)
            })
            .await
    }
}

fn pack_objects(
    connection: &Connection,
    object_type: &ObjectType,
    after: i64,
) -> error::Result<Packed<Parcel, i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, doc, access FROM objects WHERE type = ? AND seq > ? ORDER BY seq LIMIT ?",
    )?;
    let bounds = params![object_type.as_str(), after, ROWS_AT_ONCE];
    let mut found = statement.query(bounds)?;
    let (mut rows, mut next, mut bytes) = (Vec::new(), None, 0);
    while let Some(row) = found.next()? {
        next = Some(row.get(0)?);
        let text: String = row.get(1)?;
        bytes += text.len();
        let document = serde_json::from_str(&text).map_err(Error::internal)?;
        let object = Object::from_shown(document)?;
        let access = access::list(connection, row.get(2)?)?;
        let login = match object_type.as_str() {
            "users" => login_of(connection, object.id)?,
            _ => None,
        };
        let file = match object_type.as_str() {
            "files" => match file_of(connection, object.id)? {
                None => continue,
                file => file,
            },
            _ => None,
        };
        rows.push(Parcel {
            object,
            access,
            login,
            file,
        });
        if bytes > BYTES_AT_ONCE {
            break;
        }
    }
    Ok(Packed { rows, next })
}

fn login_of(connection: &Connection, id: ObjectId) -> error::Result<Option<Login>> {
    let mut statement = connection.prepare_cached(
        "SELECT password, password_at, email_verified_at FROM users WHERE id = ?",
    )?;
    let login = statement.query_row([id.to_string()], |row| {
        Ok(Login {
            password: row.get(0)?,
            password_at: Timestamp::from_millis(row.get(1)?),
            email_verified_at: row.get::<_, Option<u64>>(2)?.map(Timestamp::from_millis),
        })
    });
    Ok(login.optional()?)
}

fn file_of(connection: &Connection, id: ObjectId) -> error::Result<Option<FileParcel>> {
    let entry = files::find(connection, id)?;
    Ok(entry.and_then(|entry| {
        Some(FileParcel {
            blob: Blob {
                digest: entry.digest?,
                bytes: entry.bytes,
            },
            owner: entry.owner,
            is_attached: entry.is_attached,
            is_linked: entry.is_linked,
        })
    }))
}

/// Stores an object as it was. What a schema demands of new objects is not asked of old ones; what is unique stays so.
fn unpack(connection: &Connection, author: &Author, parcel: &Parcel) -> error::Result<()> {
    let mut object = parcel.object.clone();
    let (is_known, facts) = facts::facts(connection, &object.object_type)?;
    if !is_known {
        collections::insert_used(connection, &object.object_type, object.created_at)?;
    }
    let properties = object.properties()?;
    if object.object_type != ObjectType::files() {
        let new = inferred::unknown(&facts, &object.object_type, &properties);
        inferred::add(connection, &object.object_type, &new)?;
    }
    if let Some(login) = &parcel.login {
        users::unpack(connection, &object, login)?;
    }
    let mut entry = None;
    if let Some(file) = &parcel.file {
        let now = object.updated_at;
        let unpacked = files::Entry {
            owner: file.owner.clone(),
            is_attached: file.is_attached,
            is_linked: file.is_linked,
            digest: Some(file.blob.digest),
            bytes: file.blob.bytes,
            total: None,
            received: 0,
        };
        blobs::claim(connection, file.blob, blobs::era(connection)?)?;
        files::insert(connection, object.id, &unpacked, now)?;
        if file.is_linked {
            connection
                .prepare_cached("UPDATE files SET unlinked_at = NULL WHERE id = ?")?
                .execute([object.id.to_string()])?;
        }
        // Its variants are to be made again.
        let state = files::state(connection, object.id, &unpacked, now)?;
        object = object.with_properties(&properties.updated_by(state))?;
        entry = Some(unpacked);
    }
    let list = access::intern_list(connection, &parcel.access)?;
    let readers = access::intern_readers(connection, &Readers::of(&parcel.access))?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO objects (type, id, created_at, updated_at, doc, access, readers) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            object.object_type.as_str(),
            object.id.to_string(),
            object.created_at.to_millis_text(),
            object.updated_at.to_millis_text(),
            object.text,
            list,
            readers,
        ]);
    unless_there(inserted)?;
    let seq = connection.last_insert_rowid();
    constraints::follow(connection, &facts, seq, None, &object)?;
    facts.indexes.follow(connection, seq, None, Some(&object))?;
    match entry {
        Some(entry) => {
            files::follow_owner(connection, author, seq, readers, &entry)?;
        }
        None => {
            let parents = inherit::parents_of(&facts.rights, &object)?;
            if !parents.is_empty() {
                inherit::set_parents(connection, seq, &parents)?;
            }
            if !parents.is_empty() || inherit::is_inherited(connection, &object)? {
                inherit::refresh(connection, author, &[seq], Some(seq))?;
            }
        }
    }
    Ok(())
}

fn unless_there(inserted: rusqlite::Result<usize>) -> error::Result<()> {
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(Error::bad_request("stands there twice").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whoever brings an export wants to know which of its thousands of objects is wrong.
fn about(error: error::Error, object: &Object) -> error::Error {
    let error = Error::from(error);
    match error.kind {
        pilvi_model::Kind::Internal | pilvi_model::Kind::Unavailable => error.into(),
        _ => {
            let why: Vec<String> = error
                .fields
                .iter()
                .map(|field| format!("`{}` {}", field.property, field.message))
                .collect();
            let why = match why.is_empty() {
                true => error.message,
                false => why.join(", "),
            };
            Error::bad_request(format!("{} {}: {why}", object.object_type, object.id)).into()
        }
    }
}
