//! Files: what is known of them beside their documents, and whom they belong to (`eds.md` §10).
//!
//! A file is an object of the type `files`, so it is listed, queried, included and told of like any other. Its
//! document says what clients see; the table `files` says what its bytes are and where it belongs.
//!
//! A file is *attached* to an object from the moment it is uploaded for one: its own access list is then empty and it
//! inherits its owner's, and it is deleted with it. It is *linked* when a property of its owner names it. One that is
//! not linked for long is an *orphan* and is collected. When a property drops a file, it is attached no longer: it then
//! is its creator's alone, and remembers its last owner, to which it may come back. See `file_links`.

use pilvi_model::access::CollectionRights;
use pilvi_model::{
    AccessList, Asker, Blob, ContentRange, ContentType, Digest, Error, FileName, FileTarget,
    Object, ObjectId, ObjectType, Permission, Properties, Readers, Result, Timestamp, WebhookId,
    Writers,
};
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

use super::author::Author;
use super::blobs::{self, BlobEra};
use super::mutation::Written;
use super::objects::{self, Stored};
use super::outbox::{self, Before, Change, millis};
use super::{Backend, access, collections, facts, file_links, indexes, inherit, variants};
use crate::error;

/// Pieces that one upload may come in.
const PARTS_MAX: u64 = 1 << 17;

pub(super) const STEP: &str = "
    -- What of a file is not in its document. The owner is the object that it is attached to or was attached to last.
    -- `unlinked_at`: since when no property of an attached owner names it. `digest` and `bytes` are there once the file
    -- is whole; until then `received` of `total` bytes are there, in pieces.
    CREATE TABLE files (
        id TEXT PRIMARY KEY,
        owner_type TEXT,
        owner_id TEXT,
        property TEXT,
        attached INTEGER NOT NULL,
        unlinked_at INTEGER,
        digest BLOB,
        bytes INTEGER,
        total INTEGER,
        received INTEGER NOT NULL DEFAULT 0,
        touched_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX files_by_owner ON files (owner_type, owner_id) WHERE attached = 1;
    CREATE INDEX files_unlinked ON files (unlinked_at) WHERE unlinked_at IS NOT NULL;
    CREATE INDEX files_unfinished ON files (touched_at) WHERE digest IS NULL;
    CREATE INDEX files_by_digest ON files (digest) WHERE digest IS NOT NULL;

    -- The pieces of files that are not whole yet.
    CREATE TABLE upload_parts (
        file TEXT NOT NULL,
        start INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (file, start)
    ) STRICT, WITHOUT ROWID;
    -- Uploads whose pieces are of no use any more, and are to be removed.
    CREATE TABLE spent_uploads (file TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

    -- Bytes by their SHA-256, and how many files and variants are made of them. See blobs.rs.
    CREATE TABLE blobs (
        digest BLOB PRIMARY KEY,
        bytes INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        idle_since INTEGER,
        doomed INTEGER NOT NULL DEFAULT 0,
        gone INTEGER,
        gone_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX blobs_idle ON blobs (idle_since) WHERE idle_since IS NOT NULL;
    CREATE INDEX blobs_doomed ON blobs (digest) WHERE doomed = 1;
    CREATE INDEX blobs_gone ON blobs (gone_at) WHERE gone IS NOT NULL;
    CREATE TABLE blob_era (era INTEGER NOT NULL) STRICT;
    INSERT INTO blob_era VALUES (0);
    ";

/// A file that is about to exist.
#[derive(Clone, Debug)]
pub struct NewFile {
    pub id: ObjectId,
    pub name: FileName,
    pub content_type: ContentType,
    /// The object that it is uploaded for.
    pub target: Option<FileTarget>,
}

/// A file that is whole.
#[derive(Clone, Debug)]
pub struct WholeFile {
    pub id: ObjectId,
    pub name: String,
    pub content_type: String,
    pub blob: Blob,
}

/// How far an upload in pieces has come.
#[derive(Clone, Debug)]
pub struct Upload {
    pub file: Object,
    pub received: u64,
    /// How many bytes the file will have, once a piece said so.
    pub total: Option<u64>,
    pub is_whole: bool,
    /// Whether the piece that was asked about is there already.
    pub has_piece: bool,
    pub era: BlobEra,
}

impl Backend {
    /// Whether the asker may upload a file for this object, before its bytes are taken.
    pub async fn check_upload(&self, asker: Asker, target: Option<FileTarget>) -> Result<BlobEra> {
        self.database
            .read(move |connection| {
                check_create(connection, &asker, target.as_ref())?;
                blobs::era(connection)
            })
            .await
    }

    /// Makes a file of which no byte is there yet.
    pub async fn create_file(&self, file: NewFile, author: Author) -> Result<Written> {
        self.database
            .write(move |connection| create(connection, &author, &file, None))
            .await
    }

    /// Makes a file whose bytes are stored already, since `era`.
    pub async fn create_whole_file(
        &self,
        file: NewFile,
        blob: Blob,
        era: BlobEra,
        author: Author,
    ) -> Result<Written> {
        self.database
            .write(move |connection| create(connection, &author, &file, Some((blob, era))))
            .await
    }

    /// How far a file has come that the asker may change, and whether a piece of it is there.
    pub async fn find_upload(
        &self,
        asker: Asker,
        id: ObjectId,
        range: Option<ContentRange>,
    ) -> Result<Upload> {
        self.database
            .read(move |connection| upload(connection, &asker, id, range))
            .await
    }

    /// Writes down that the next piece of a file is stored.
    pub async fn take_piece(
        &self,
        id: ObjectId,
        range: ContentRange,
        author: Author,
    ) -> Result<Written> {
        self.database
            .write(move |connection| take_piece(connection, &author, id, range))
            .await
    }

    /// Makes a file of all its pieces: its bytes are stored, since `era`. The object that it was uploaded for names it
    /// then.
    pub async fn complete_file(
        &self,
        id: ObjectId,
        blob: Blob,
        era: BlobEra,
        author: Author,
    ) -> Result<Written> {
        self.database
            .write(move |connection| complete(connection, &author, id, blob, era))
            .await
    }

    /// A file that the asker may read, if it is whole.
    pub async fn find_whole_file(&self, asker: Asker, id: ObjectId) -> Result<Option<WholeFile>> {
        self.database
            .read(move |connection| {
                let files = ObjectType::files();
                match objects::find_readable(connection, &asker, &files, id)? {
                    Some(stored) => whole(connection, &stored.object),
                    None => Ok(None),
                }
            })
            .await
    }

    /// How many bytes are there of those of these files that are not whole.
    pub async fn received_of(&self, ids: Vec<ObjectId>) -> Result<Vec<(ObjectId, u64)>> {
        self.database
            .read(move |connection| {
                let mut all = Vec::new();
                for &id in &ids {
                    if let Some(entry) = find(connection, id)?
                        && entry.digest.is_none()
                    {
                        all.push((id, entry.received));
                    }
                }
                Ok(all)
            })
            .await
    }

    /// Files that no property has named since `unlinked_before`, and files of which no piece came since
    /// `touched_before`: what is to be collected, the longest waiting first.
    pub async fn find_orphans(
        &self,
        unlinked_before: Timestamp,
        touched_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<ObjectId>> {
        self.database
            .read(move |connection| orphans(connection, unlinked_before, touched_before, limit))
            .await
    }

    /// Deletes those of the files that are still orphans. Gives what was deleted, and whom it is to be told.
    pub async fn collect_orphans(
        &self,
        ids: Vec<ObjectId>,
        unlinked_before: Timestamp,
        touched_before: Timestamp,
        author: Author,
    ) -> Result<Vec<Written>> {
        self.database
            .write_when_low(move |connection| {
                let mut collected = Vec::new();
                for id in ids {
                    if is_orphan(connection, id, unlinked_before, touched_before)?
                        && let Some(stored) = objects::find(connection, &ObjectType::files(), id)?
                    {
                        collected.push(objects::remove(connection, &author, stored)?);
                    }
                }
                Ok(collected)
            })
            .await
    }

    /// Uploads whose stored pieces are to be removed. [`Backend::forget_spent_uploads`] follows.
    pub async fn find_spent_uploads(&self, limit: u32) -> Result<Vec<ObjectId>> {
        self.database
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT file FROM spent_uploads LIMIT ?")?;
                let rows = statement.query_map([limit], |row| row.get::<_, String>(0))?;
                rows.map(|id| Ok(id?.parse()?)).collect()
            })
            .await
    }

    /// Writes down that the stored pieces of these uploads are removed.
    pub async fn forget_spent_uploads(&self, ids: Vec<ObjectId>) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                let mut forget =
                    connection.prepare_cached("DELETE FROM spent_uploads WHERE file = ?")?;
                for id in ids {
                    forget.execute([id.to_string()])?;
                }
                Ok(())
            })
            .await
    }
}

/// What the table has of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) owner: Option<FileTarget>,
    pub(super) is_attached: bool,
    pub(super) is_linked: bool,
    pub(super) digest: Option<Digest>,
    pub(super) bytes: u64,
    pub(super) total: Option<u64>,
    pub(super) received: u64,
}

pub(super) fn find(connection: &Connection, id: ObjectId) -> error::Result<Option<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT owner_type, owner_id, property, attached, unlinked_at IS NULL, digest, bytes, total, received \
         FROM files WHERE id = ?",
    )?;
    let mut rows = statement.query([id.to_string()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let owner: (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?);
    let owner = match owner {
        (Some(object_type), Some(id)) => Some(FileTarget {
            object_type: object_type.parse()?,
            id: id.parse()?,
            property: row.get(2)?,
        }),
        _ => None,
    };
    Ok(Some(Entry {
        owner,
        is_attached: row.get(3)?,
        is_linked: row.get(4)?,
        digest: blobs::digest(row, 5)?,
        bytes: row.get::<_, Option<u64>>(6)?.unwrap_or(0),
        total: row.get(7)?,
        received: row.get(8)?,
    }))
}

fn missing(id: ObjectId) -> error::Error {
    objects::missing(&ObjectType::files(), id).into()
}

/// A file that the author may change, and what the table has of it.
fn changeable(
    connection: &Connection,
    asker: &Asker,
    id: ObjectId,
) -> error::Result<(Stored, Entry)> {
    let files = ObjectType::files();
    let stored = access::require(connection, asker, Permission::Update, &files, id)?;
    let entry = find(connection, id)?.ok_or_else(|| missing(id))?;
    Ok((stored, entry))
}

/// Uploading needs `create` on the files, and `update` on the object that the file is for. Gives what files allow, and
/// whether that is written down.
fn check_create(
    connection: &Connection,
    asker: &Asker,
    target: Option<&FileTarget>,
) -> error::Result<(bool, std::sync::Arc<facts::TypeFacts>)> {
    let (is_known, facts) = facts::facts(connection, &ObjectType::files())?;
    if !facts.rights.create.includes(asker) {
        return Err(asker.refusal("uploading files").into());
    }
    if let Some(target) = target {
        let update = Permission::Update;
        access::require(connection, asker, update, &target.object_type, target.id)?;
    }
    Ok((is_known, facts))
}

fn create(
    connection: &Connection,
    author: &Author,
    file: &NewFile,
    whole: Option<(Blob, BlobEra)>,
) -> error::Result<Written> {
    let (is_known, facts) = check_create(connection, &author.asker, file.target.as_ref())?;
    if !is_known {
        collections::insert_used(connection, &ObjectType::files(), author.at)?;
    }
    if let Some((blob, era)) = whole {
        blobs::claim(connection, blob, era)?;
    }
    let entry = Entry {
        owner: file.target.clone(),
        is_attached: file.target.is_some(),
        is_linked: false,
        digest: whole.map(|(blob, _)| blob.digest),
        bytes: whole.map_or(0, |(blob, _)| blob.bytes),
        total: None,
        received: 0,
    };
    insert(connection, file.id, &entry, author.at)?;
    let creator = author.asker.user();
    let document = properties(connection, file, &entry, author.at)?;
    let object = Object::create_by(
        file.id,
        ObjectType::files(),
        author.at,
        Writers::both(creator),
        &document,
    );
    let list = own_list(&facts.rights, &entry, creator);
    let readers = access::intern_readers(connection, &Readers::of(&list))?;
    let list = access::intern_list(connection, &list)?;
    let seq = objects::insert(connection, &object, list, readers)?;
    indexes::follow(connection, seq, None, Some(&object))?;
    let readers = follow_owner(connection, author, seq, readers, &entry)?;
    let mut webhooks = outbox::append(connection, Change::Create, &object, None, readers, author)?;
    if whole.is_some() {
        webhooks.extend(name_in_target(connection, author, file.id, &entry)?);
    }
    Ok(Written {
        object,
        access: None,
        webhooks,
    })
}

pub(super) fn insert(
    connection: &Connection,
    id: ObjectId,
    entry: &Entry,
    now: Timestamp,
) -> error::Result<()> {
    let owner = entry.owner.as_ref();
    connection
        .prepare_cached(
            "INSERT INTO files (id, owner_type, owner_id, property, attached, unlinked_at, digest, bytes, touched_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?6)",
        )?
        .execute(params![
            id.to_string(),
            owner.map(|owner| owner.object_type.as_str()),
            owner.map(|owner| owner.id.to_string()),
            owner.and_then(|owner| owner.property.as_deref()),
            entry.is_attached,
            millis(now),
            entry.digest.as_ref().map(Digest::as_bytes),
            entry.digest.is_some().then_some(entry.bytes),
        ])?;
    Ok(())
}

/// What a new file's document says.
fn properties(
    connection: &Connection,
    file: &NewFile,
    entry: &Entry,
    now: Timestamp,
) -> error::Result<Properties> {
    let mut said = Map::new();
    said.insert("fileName".to_owned(), file.name.as_str().into());
    said.insert("contentType".to_owned(), file.content_type.as_str().into());
    let mut all = Properties::from_json(Value::Object(said))?;
    all = all.updated_by(state(connection, file.id, entry, now)?);
    Ok(all)
}

/// What of a document follows from the table.
pub(super) fn state(
    connection: &Connection,
    id: ObjectId,
    entry: &Entry,
    now: Timestamp,
) -> error::Result<Properties> {
    let status = match (&entry.digest, entry.received) {
        (Some(_), _) => "complete",
        (None, 0) => "empty",
        (None, _) => "incomplete",
    };
    let mut said = Map::new();
    if let Some(digest) = entry.digest {
        said.insert("fileSize".to_owned(), entry.bytes.into());
        said.insert("sha256".to_owned(), digest.to_string().into());
    }
    said.insert("status".to_owned(), status.into());
    let variants = wanted_variants(connection, id, entry, now)?;
    said.insert("variants".to_owned(), Value::Object(variants));
    let owner = entry.owner.as_ref().filter(|_| entry.is_attached);
    if let Some(owner) = owner {
        said.insert("targetFileProperty".to_owned(), owner.to_json());
    }
    Ok(Properties::from_json(Value::Object(said))?)
}

/// The list of a file by itself. While it is attached it has its owner's, and adds nothing. Else it is its creator's
/// alone; what nobody in particular uploaded gets what the type's template gives to everybody.
fn own_list(rights: &CollectionRights, entry: &Entry, creator: Option<ObjectId>) -> AccessList {
    match (entry.is_attached, creator) {
        (true, _) => AccessList::default(),
        (false, Some(_)) => CollectionRights::private().template.resolve(creator),
        (false, None) => rights.template.clone().resolve(None),
    }
}

/// Settles who may read a file by the object that it is attached to; gives the audience.
pub(super) fn follow_owner(
    connection: &Connection,
    author: &Author,
    seq: i64,
    readers: i64,
    entry: &Entry,
) -> error::Result<i64> {
    let owner = entry.owner.as_ref().filter(|_| entry.is_attached);
    let parents: Vec<_> = owner
        .map(|owner| (owner.object_type.to_string(), owner.id.to_string()))
        .into_iter()
        .collect();
    if !inherit::set_parents(connection, seq, &parents)? && parents.is_empty() {
        return Ok(readers);
    }
    inherit::refresh(connection, author, &[seq], Some(seq))?;
    objects::readers_of(connection, seq)
}

/// The object that a file is attached to, as inheritance names it: what [`follow_owner`] wrote down, from the document.
pub(super) fn owner_in(document: &Value) -> Option<(String, String)> {
    let target = document.get("targetFileProperty")?;
    let text = |name: &str| target.get(name)?.as_str().map(str::to_owned);
    Some((text("objectType")?, text("id")?))
}

/// Writes down where a file belongs now, or what it is made of, and tells of it.
pub(super) fn rewrite(
    connection: &Connection,
    author: &Author,
    stored: &Stored,
    entry: &Entry,
    updater: Option<ObjectId>,
) -> error::Result<Written> {
    let id = stored.object.id;
    let owner = entry.owner.as_ref();
    connection
        .prepare_cached(
            "UPDATE files SET owner_type = ?2, owner_id = ?3, property = ?4, attached = ?5, \
             unlinked_at = iif(?6, NULL, coalesce(unlinked_at, ?7)), digest = ?8, bytes = ?9, total = ?10, \
             received = ?11 WHERE id = ?1",
        )?
        .execute(params![
            id.to_string(),
            owner.map(|owner| owner.object_type.as_str()),
            owner.map(|owner| owner.id.to_string()),
            owner.and_then(|owner| owner.property.as_deref()),
            entry.is_attached,
            entry.is_linked,
            millis(author.at),
            entry.digest.as_ref().map(Digest::as_bytes),
            entry.digest.is_some().then_some(entry.bytes),
            entry.total,
            entry.received,
        ])?;
    let mut before = stored.object.properties()?.into_map();
    before.shift_remove("targetFileProperty");
    let state = state(connection, id, entry, author.at)?;
    let properties = Properties::from_json(Value::Object(before))?.updated_by(state);
    let object = stored.object.rewrite(author.at, updater, &properties)?;
    put(connection, author, stored, object, entry)
}

/// Puts a file's document in the place of the former one, with the rights that follow from where it belongs.
fn put(
    connection: &Connection,
    author: &Author,
    stored: &Stored,
    object: Object,
    entry: &Entry,
) -> error::Result<Written> {
    let (_, facts) = facts::facts(connection, &object.object_type)?;
    let list = own_list(&facts.rights, entry, object.writers()?.creator);
    let readers = access::intern_readers(connection, &Readers::of(&list))?;
    let list = access::intern_list(connection, &list)?;
    let own_changed = list != stored.access;
    connection
        .prepare_cached("UPDATE objects SET updated_at = ?, doc = ?, access = ? WHERE seq = ?")?
        .execute(params![
            object.updated_at.to_millis_text(),
            object.text,
            list,
            stored.seq
        ])?;
    facts
        .indexes
        .follow(connection, stored.seq, Some(&stored.object), Some(&object))?;
    let now = match own_changed {
        true => {
            connection
                .prepare_cached("UPDATE objects SET readers = ? WHERE seq = ?")?
                .execute([readers, stored.seq])?;
            follow_owner(connection, author, stored.seq, readers, entry)?
        }
        false => follow_owner(connection, author, stored.seq, stored.readers, entry)?,
    };
    let before = Before {
        text: &stored.object.text,
        readers: stored.readers,
    };
    let webhooks = outbox::append(
        connection,
        Change::Update,
        &object,
        Some(before),
        now,
        author,
    )?;
    Ok(Written {
        object,
        access: None,
        webhooks,
    })
}

/// Lets the server itself change what a file's document says, such as what became of its variants.
pub(super) fn edit(
    connection: &Connection,
    author: &Author,
    id: ObjectId,
    changes: Properties,
) -> error::Result<Option<Written>> {
    let Some(stored) = objects::find(connection, &ObjectType::files(), id)? else {
        return Ok(None);
    };
    let object = stored.object.update_by(author.at, None, changes)?;
    objects::put(connection, author, &stored, object, objects::By::Schema).map(Some)
}

/// What is to be made of a file by the property that names it: the member `variants` of its document. Called whenever a
/// file becomes whole or comes to another property, in the transaction that does it.
fn wanted_variants(
    connection: &Connection,
    id: ObjectId,
    entry: &Entry,
    now: Timestamp,
) -> error::Result<Map<String, Value>> {
    let owner = entry.owner.as_ref().filter(|_| entry.is_attached);
    let named = owner.and_then(|owner| Some((owner, owner.property.as_ref()?)));
    // What was made for a property is there as long as the file is, should it come back.
    let Some((owner, property)) = named else {
        return variants::shown(connection, id);
    };
    let (_, facts) = facts::facts(connection, &owner.object_type)?;
    let wanted = facts.recipes(property);
    match entry.digest {
        Some(_) => variants::follow(connection, id, wanted, now),
        None => Ok(variants::promised(wanted)),
    }
}

/// The bytes of a file, once it is whole.
pub(super) fn blob_of(connection: &Connection, id: ObjectId) -> error::Result<Option<Blob>> {
    let entry = find(connection, id)?;
    Ok(entry.and_then(|entry| {
        entry.digest.map(|digest| Blob {
            digest,
            bytes: entry.bytes,
        })
    }))
}

/// Lets the object that a whole file was uploaded for name it, unless one does already.
fn name_in_target(
    connection: &Connection,
    author: &Author,
    id: ObjectId,
    entry: &Entry,
) -> error::Result<Vec<WebhookId>> {
    let owner = entry
        .owner
        .as_ref()
        .filter(|_| entry.is_attached && !entry.is_linked);
    let Some((owner, property)) = owner.and_then(|owner| Some((owner, owner.property.as_ref()?)))
    else {
        return Ok(Vec::new());
    };
    let mut changes = Map::new();
    changes.insert(property.clone(), file_links::reference(id));
    let changes = Properties::from_json(Value::Object(changes))?;
    let written = objects::update(connection, author, &owner.object_type, owner.id, |object| {
        object.update_by(author.at, author.asker.user(), changes)
    })?;
    Ok(written.webhooks)
}

fn upload(
    connection: &Connection,
    asker: &Asker,
    id: ObjectId,
    range: Option<ContentRange>,
) -> error::Result<Upload> {
    let (stored, entry) = changeable(connection, asker, id)?;
    let is_whole = entry.digest.is_some();
    let has_piece = match range {
        None => false,
        // Its pieces are put together and cannot be told apart any more.
        Some(range) if is_whole => range.total() == entry.bytes,
        Some(range) => connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM upload_parts WHERE file = ? AND start = ? AND until = ?)",
            )?
            .query_row(params![id.to_string(), range.start(), range.end()], |row| {
                row.get(0)
            })?,
    };
    Ok(Upload {
        file: stored.object,
        received: entry.received,
        total: entry.total,
        is_whole,
        has_piece,
        era: blobs::era(connection)?,
    })
}

fn take_piece(
    connection: &Connection,
    author: &Author,
    id: ObjectId,
    range: ContentRange,
) -> error::Result<Written> {
    let (stored, mut entry) = changeable(connection, &author.asker, id)?;
    if entry.digest.is_some() || entry.received != range.start() {
        let message = "somebody else sent a piece of this file at the same time; read the file and go on from what it \
                       has `received`";
        return Err(Error::conflict(message).into());
    }
    let count: u64 = connection
        .prepare_cached("SELECT count(*) FROM upload_parts WHERE file = ?")?
        .query_row([id.to_string()], |row| row.get(0))?;
    if count >= PARTS_MAX {
        let message =
            format!("a file comes in at most {PARTS_MAX} pieces; start over with larger ones");
        return Err(Error::bad_request(message).into());
    }
    connection
        .prepare_cached("INSERT INTO upload_parts (file, start, until) VALUES (?, ?, ?)")?
        .execute(params![id.to_string(), range.start(), range.end()])?;
    let was_empty = entry.received == 0;
    entry.received = range.end();
    entry.total = Some(range.total());
    connection
        .prepare_cached("UPDATE files SET received = ?, total = ?, touched_at = ? WHERE id = ?")?
        .execute(params![
            entry.received,
            entry.total,
            millis(author.at),
            id.to_string()
        ])?;
    if was_empty && entry.received > 0 {
        return rewrite(connection, author, &stored, &entry, author.asker.user());
    }
    // Only the first piece and the last one are worth an event.
    Ok(Written {
        object: stored.object,
        access: None,
        webhooks: Vec::new(),
    })
}

fn complete(
    connection: &Connection,
    author: &Author,
    id: ObjectId,
    blob: Blob,
    era: BlobEra,
) -> error::Result<Written> {
    let (stored, mut entry) = changeable(connection, &author.asker, id)?;
    match entry.digest {
        Some(digest) if digest == blob.digest => {
            return Ok(Written {
                object: stored.object,
                access: None,
                webhooks: Vec::new(),
            });
        }
        Some(_) => return Err(Error::conflict("this file is whole already").into()),
        None => blobs::claim(connection, blob, era)?,
    }
    entry.digest = Some(blob.digest);
    entry.bytes = blob.bytes;
    entry.received = blob.bytes;
    forget_pieces(connection, id)?;
    let mut written = rewrite(connection, author, &stored, &entry, author.asker.user())?;
    let named = name_in_target(connection, author, id, &entry)?;
    written.webhooks.extend(named);
    Ok(written)
}

/// The stored pieces are of no use any more.
fn forget_pieces(connection: &Connection, id: ObjectId) -> error::Result<()> {
    let id = id.to_string();
    connection
        .prepare_cached("DELETE FROM upload_parts WHERE file = ?")?
        .execute([&id])?;
    connection
        .prepare_cached("INSERT OR IGNORE INTO spent_uploads (file) VALUES (?)")?
        .execute([&id])?;
    Ok(())
}

fn whole(connection: &Connection, object: &Object) -> error::Result<Option<WholeFile>> {
    let Some(entry) = find(connection, object.id)? else {
        return Ok(None);
    };
    let document = object.to_json()?;
    let text = |name: &str| {
        let text = document.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Ok(entry.digest.map(|digest| WholeFile {
        id: object.id,
        name: text("fileName"),
        content_type: text("contentType"),
        blob: Blob {
            digest,
            bytes: entry.bytes,
        },
    }))
}

/// After an object was deleted: a file is taken from its owner, and the files of any other object go with it.
pub(super) fn forget(
    connection: &Connection,
    author: &Author,
    object: &Object,
    webhooks: &mut Vec<WebhookId>,
) -> error::Result<()> {
    if object.object_type == ObjectType::files() {
        let entry = find(connection, object.id)?;
        forget_entry(connection, author, object.id)?;
        if let Some(owner) = entry.and_then(|entry| entry.owner.filter(|_| entry.is_linked)) {
            webhooks.extend(file_links::drop_from(
                connection, author, &owner, object.id,
            )?);
        }
        return Ok(());
    }
    let owner = [object.object_type.as_str(), &object.id.to_string()];
    let files: Vec<String> = connection
        .prepare_cached(
            "SELECT id FROM files WHERE owner_type = ? AND owner_id = ? AND attached = 1",
        )?
        .query_map(owner, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in files {
        if let Some(stored) = objects::find(connection, &ObjectType::files(), id.parse()?)? {
            webhooks.extend(objects::remove(connection, author, stored)?.webhooks);
        }
    }
    Ok(())
}

/// What the tables have of a file that is gone.
fn forget_entry(connection: &Connection, author: &Author, id: ObjectId) -> error::Result<()> {
    let Some(entry) = find(connection, id)? else {
        return Ok(());
    };
    match entry.digest {
        Some(digest) => blobs::release(connection, digest, author.at)?,
        None => forget_pieces(connection, id)?,
    }
    variants::forget(connection, id, author.at)?;
    connection
        .prepare_cached("DELETE FROM files WHERE id = ?")?
        .execute([id.to_string()])?;
    Ok(())
}

fn orphans(
    connection: &Connection,
    unlinked_before: Timestamp,
    touched_before: Timestamp,
    limit: u32,
) -> error::Result<Vec<ObjectId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM (SELECT id, unlinked_at AS since FROM files \
             WHERE unlinked_at < ?1 AND digest IS NOT NULL ORDER BY unlinked_at LIMIT ?3) \
         UNION ALL SELECT id FROM (SELECT id, touched_at AS since FROM files \
             WHERE digest IS NULL AND touched_at < ?2 ORDER BY touched_at LIMIT ?3) LIMIT ?3",
    )?;
    let bounds = params![millis(unlinked_before), millis(touched_before), limit];
    let rows = statement.query_map(bounds, |row| row.get::<_, String>(0))?;
    rows.map(|id| Ok(id?.parse()?)).collect()
}

fn is_orphan(
    connection: &Connection,
    id: ObjectId,
    unlinked_before: Timestamp,
    touched_before: Timestamp,
) -> error::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM files WHERE id = ?1 \
         AND ((digest IS NOT NULL AND unlinked_at < ?2) OR (digest IS NULL AND touched_at < ?3)))",
    )?;
    let bounds = params![
        id.to_string(),
        millis(unlinked_before),
        millis(touched_before)
    ];
    Ok(statement.query_row(bounds, |row| row.get(0))?)
}
