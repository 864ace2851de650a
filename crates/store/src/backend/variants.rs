//! Variants of files: which there are to be, how far each is, and which blob holds it.
//!
//! What is to be made is written down in the transaction that makes a file complete, or puts it where variants are
//! asked for, so a crash forgets none. An attempt is counted before it is made: a file that takes the server down with
//! it is tried a few times and then given up. The document of the file says how far its variants are, so that queries,
//! webhooks and live queries see it like everything else.

use pilvi_model::variant::Recipe;
use pilvi_model::{Blob, Error, ObjectId, ObjectType, Properties, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use super::author::Author;
use super::blobs::BlobEra;
use super::mutation::Written;
use super::outbox::millis;
use super::webhooks::parsed;
use super::{Backend, blobs, facts, files};
use crate::error;

/// How often the server may stop in the middle of the variants of one file before they are given up.
const ATTEMPTS_MAX: u32 = 5;
const GIVEN_UP: &str =
    "The server stopped each time it tried to make this variant, so it no longer tries.";
/// Files that one step of [`Backend::revise_variants`] looks at.
const REVISED_MAX: usize = 200;

pub(super) const STEP: &str = "
    -- A row of its own for each variant of a file. `due` is there while it is to be made; `digest` and what follows
    -- when it is there.
    CREATE TABLE variants (
        file TEXT NOT NULL,
        name TEXT NOT NULL,
        place INTEGER NOT NULL,
        recipe TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('processing', 'complete', 'failed')),
        reason TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        due INTEGER,
        digest BLOB,
        bytes INTEGER,
        content_type TEXT,
        width INTEGER,
        height INTEGER,
        PRIMARY KEY (file, name),
        CHECK ((due IS NOT NULL) = (state = 'processing') AND (digest IS NOT NULL) = (state = 'complete'))
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX variants_due ON variants (due, file) WHERE due IS NOT NULL;

    -- Properties whose processors were changed: their files are looked at again, in the order of their ids, those up to
    -- `after` having been done.
    CREATE TABLE variant_revisions (
        type TEXT NOT NULL,
        property TEXT NOT NULL,
        after TEXT NOT NULL,
        PRIMARY KEY (type, property)
    ) STRICT, WITHOUT ROWID;
    ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariantState {
    /// To be made, or being made.
    Processing,
    Complete,
    /// It cannot be made of this file.
    Failed,
}

impl VariantState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Processing, Self::Complete, Self::Failed];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// An image that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub blob: Blob,
    pub content_type: String,
    pub width: u32,
    pub height: u32,
}

/// A variant of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub state: VariantState,
    /// Why it cannot be made.
    pub reason: Option<String>,
    /// There when it is complete.
    pub image: Option<Image>,
}

/// The variants of one file that are to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantJob {
    pub file: ObjectId,
    /// The bytes that they are made of.
    pub blob: Blob,
    pub variants: Vec<(String, Recipe)>,
}

/// What [`Backend::take_variants`] found.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What is to be made; nothing when all of the file was given up.
    pub job: Option<VariantJob>,
    /// The file, when some of its variants were given up.
    pub written: Option<Written>,
}

/// How making a variant ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariantOutcome {
    /// With the era in which its bytes were stored.
    Made(Image, BlobEra),
    /// It cannot be made, for this reason, however often it is tried.
    Unfit(String),
    /// It could not be tried. This counts as no attempt.
    Later(Timestamp),
}

impl Backend {
    /// A variant of a file, if there is to be one of this name.
    pub async fn find_variant(&self, file: ObjectId, name: String) -> Result<Option<Variant>> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT state, reason, digest, bytes, content_type, width, height FROM variants \
                     WHERE file = ? AND name = ?",
                )?;
                Ok(statement
                    .query_row(params![file.to_string(), name], variant)
                    .optional()?)
            })
            .await
    }

    /// When the next variants are to be made; nothing when none are.
    pub async fn next_variants_at(&self) -> Result<Option<Timestamp>> {
        self.database
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT min(due) FROM variants WHERE due IS NOT NULL")?;
                let due: Option<i64> = statement.query_row([], |row| row.get(0))?;
                Ok(due.map(|due| Timestamp::from_millis(due.unsigned_abs())))
            })
            .await
    }

    /// Takes the variants of a file that are to be made now, and counts the attempt. Asked again before how it went is
    /// written down, it gives the same ones again, as after a crash.
    pub async fn take_variants(&self, author: Author) -> Result<Option<Taken>> {
        let due = millis(author.at);
        let nothing = self
            .database
            .read(move |connection| Ok(first_due(connection, due)?.is_none()))
            .await?;
        if nothing {
            return Ok(None);
        }
        self.database
            .write_when_low(move |connection| take(connection, &author))
            .await
    }

    /// Writes down how making variants of a file ended. Says what changed; images of variants that nobody asks for any
    /// more are left to be collected.
    pub async fn settle_variants(
        &self,
        file: ObjectId,
        outcomes: Vec<(String, Recipe, VariantOutcome)>,
        author: Author,
    ) -> Result<Option<Written>> {
        self.database
            .write_when_low(move |connection| {
                let mut changed = false;
                for (name, recipe, outcome) in &outcomes {
                    changed |= settle(connection, file, name, *recipe, outcome)?;
                }
                match changed {
                    true => tell(connection, file, &author),
                    false => Ok(None),
                }
            })
            .await
    }

    /// Brings the variants of some files in line with processors that were changed. Says what changed, and whether
    /// there is more to do.
    pub async fn revise_variants(&self, author: Author) -> Result<(Vec<Written>, bool)> {
        let nothing = self
            .database
            .read(|connection| Ok(first_revision(connection)?.is_none()))
            .await?;
        if nothing {
            return Ok((Vec::new(), false));
        }
        self.database
            .write(move |connection| revise(connection, &author))
            .await
    }
}

/// Makes the variants of a complete file those that its property asks for, and says what its document is to say of
/// them. Those that it has already stay as they are.
pub(super) fn follow(
    connection: &Connection,
    file: ObjectId,
    wanted: &[(String, Recipe)],
    now: Timestamp,
) -> error::Result<Map<String, Value>> {
    let id = file.to_string();
    for (name, recipe) in recipes(connection, file)? {
        let stays = |(other, same): &(String, Recipe)| *other == name && same.to_string() == recipe;
        if !wanted.iter().any(stays) {
            remove(connection, file, &name, now)?;
        }
    }
    for (place, (name, recipe)) in wanted.iter().enumerate() {
        connection
            .prepare_cached(
                "INSERT INTO variants (file, name, place, recipe, state, due) VALUES (?, ?, ?, ?, 'processing', ?) \
                 ON CONFLICT DO UPDATE SET place = excluded.place",
            )?
            .execute(params![
                id,
                name,
                i64::try_from(place).unwrap_or(i64::MAX),
                recipe.to_string(),
                millis(now)
            ])?;
    }
    shown(connection, file)
}

/// What the document of a file that is not whole says of the variants that it will have.
pub(super) fn promised(wanted: &[(String, Recipe)]) -> Map<String, Value> {
    let processing = json!({"status": VariantState::Processing.as_str()});
    let promised = wanted.iter();
    promised
        .map(|(name, _)| (name.clone(), processing.clone()))
        .collect()
}

/// Forgets the variants of a file that is deleted, with what they hold.
pub(super) fn forget(connection: &Connection, file: ObjectId, now: Timestamp) -> error::Result<()> {
    for (name, _) in recipes(connection, file)? {
        remove(connection, file, &name, now)?;
    }
    Ok(())
}

/// After the schema of a type was changed: the files of properties whose processors differ are looked at again.
pub(super) fn schema_changed(
    connection: &Connection,
    object_type: &ObjectType,
    before: &facts::TypeFacts,
    after: &facts::TypeFacts,
) -> error::Result<()> {
    let names = before.processors.iter().chain(&after.processors);
    let mut changed: Vec<&str> = names
        .map(|(name, _)| name.as_str())
        .filter(|name| before.recipes(name) != after.recipes(name))
        .collect();
    changed.sort_unstable();
    changed.dedup();
    for property in changed {
        connection
            .prepare_cached(
                "INSERT INTO variant_revisions (type, property, after) VALUES (?, ?, '') \
                 ON CONFLICT DO UPDATE SET after = ''",
            )?
            .execute(params![object_type.as_str(), property])?;
    }
    Ok(())
}

/// What the document of a file says of its variants.
pub(super) fn shown(connection: &Connection, file: ObjectId) -> error::Result<Map<String, Value>> {
    let mut statement = connection.prepare_cached(
        "SELECT state, reason, digest, bytes, content_type, width, height, name FROM variants \
         WHERE file = ? ORDER BY place, name",
    )?;
    let rows = statement.query_map([file.to_string()], |row| {
        Ok((row.get(7)?, variant(row)?.to_json()))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Variant {
    fn to_json(&self) -> Value {
        let mut shown = json!({"status": self.state.as_str()});
        if let Some(reason) = &self.reason {
            shown["reason"] = reason.as_str().into();
        }
        if let Some(image) = &self.image {
            shown["contentType"] = image.content_type.as_str().into();
            shown["fileSize"] = image.blob.bytes.into();
            shown["width"] = image.width.into();
            shown["height"] = image.height.into();
        }
        shown
    }
}

fn variant(row: &Row<'_>) -> rusqlite::Result<Variant> {
    let state: String = row.get(0)?;
    let state = VariantState::from_name(&state)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(0, state, rusqlite::types::Type::Text))?;
    let image = match state {
        VariantState::Complete => Some(Image {
            blob: Blob {
                digest: blobs::digest(row, 2)?.ok_or(rusqlite::Error::InvalidQuery)?,
                bytes: row.get(3)?,
            },
            content_type: row.get(4)?,
            width: row.get(5)?,
            height: row.get(6)?,
        }),
        _ => None,
    };
    Ok(Variant {
        state,
        reason: row.get(1)?,
        image,
    })
}

/// The variants that a file is to have, as they are kept.
fn recipes(connection: &Connection, file: ObjectId) -> error::Result<Vec<(String, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT name, recipe FROM variants WHERE file = ?")?;
    let rows = statement.query_map([file.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn remove(
    connection: &Connection,
    file: ObjectId,
    name: &str,
    now: Timestamp,
) -> error::Result<()> {
    let held = connection
        .prepare_cached("DELETE FROM variants WHERE file = ? AND name = ? RETURNING digest")?
        .query_row(params![file.to_string(), name], |row| blobs::digest(row, 0))
        .optional()?
        .flatten();
    match held {
        Some(digest) => blobs::release(connection, digest, now),
        None => Ok(()),
    }
}

fn first_due(connection: &Connection, now: i64) -> error::Result<Option<ObjectId>> {
    let mut statement = connection.prepare_cached(
        "SELECT file FROM variants WHERE due IS NOT NULL AND due <= ? ORDER BY due, file LIMIT 1",
    )?;
    Ok(statement
        .query_row([now], |row| parsed(row, 0))
        .optional()?)
}

fn take(connection: &Connection, author: &Author) -> error::Result<Option<Taken>> {
    let now = millis(author.at);
    let Some(file) = first_due(connection, now)? else {
        return Ok(None);
    };
    let id = file.to_string();
    let Some(blob) = files::blob_of(connection, file)? else {
        // There is nothing that they could be made of.
        forget(connection, file, author.at)?;
        return Ok(Some(Taken::default()));
    };
    let given_up = connection
        .prepare_cached(
            "UPDATE variants SET state = 'failed', due = NULL, reason = ?3 \
             WHERE file = ?1 AND due <= ?2 AND attempts >= ?4",
        )?
        .execute(params![id, now, GIVEN_UP, ATTEMPTS_MAX])?;
    let mut statement = connection.prepare_cached(
        "UPDATE variants SET attempts = attempts + 1 WHERE file = ? AND due <= ? RETURNING name, recipe",
    )?;
    let rows = statement.query_map(params![id, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut variants = Vec::new();
    for row in rows {
        let (name, recipe): (String, String) = row?;
        variants.push((name, recipe.parse().map_err(Error::internal)?));
    }
    Ok(Some(Taken {
        job: (!variants.is_empty()).then_some(VariantJob {
            file,
            blob,
            variants,
        }),
        written: match given_up {
            0 => None,
            _ => tell(connection, file, author)?,
        },
    }))
}

/// Says whether it made a difference.
fn settle(
    connection: &Connection,
    file: ObjectId,
    name: &str,
    recipe: Recipe,
    outcome: &VariantOutcome,
) -> error::Result<bool> {
    // What was changed meanwhile is not settled by what was made for how it was.
    const THIS: &str = "WHERE file = ?1 AND name = ?2 AND recipe = ?3 AND state = 'processing'";
    let (id, recipe) = (file.to_string(), recipe.to_string());
    match outcome {
        VariantOutcome::Made(image, era) => {
            let sql = format!(
                "UPDATE variants SET state = 'complete', due = NULL, digest = ?4, bytes = ?5, content_type = ?6, \
                 width = ?7, height = ?8 {THIS}"
            );
            let changed = connection.prepare_cached(&sql)?.execute(params![
                id,
                name,
                recipe,
                image.blob.digest.as_bytes(),
                image.blob.bytes,
                image.content_type,
                image.width,
                image.height
            ])?;
            if changed > 0 {
                blobs::claim(connection, image.blob, *era)?;
            }
            Ok(changed > 0)
        }
        VariantOutcome::Unfit(reason) => {
            let sql =
                format!("UPDATE variants SET state = 'failed', due = NULL, reason = ?4 {THIS}");
            let changed = connection
                .prepare_cached(&sql)?
                .execute(params![id, name, recipe, reason])?;
            Ok(changed > 0)
        }
        VariantOutcome::Later(at) => {
            let sql =
                format!("UPDATE variants SET attempts = max(attempts - 1, 0), due = ?4 {THIS}");
            connection
                .prepare_cached(&sql)?
                .execute(params![id, name, recipe, millis(*at)])?;
            Ok(false)
        }
    }
}

/// Lets the document of a file say how far its variants are. It is the server that writes, so nobody becomes the
/// updater.
fn tell(
    connection: &Connection,
    file: ObjectId,
    author: &Author,
) -> error::Result<Option<Written>> {
    let variants = json!({"variants": shown(connection, file)?});
    files::edit(connection, author, file, Properties::from_json(variants)?)
}

fn first_revision(connection: &Connection) -> error::Result<Option<(String, String, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT type, property, after FROM variant_revisions ORDER BY 1, 2 LIMIT 1",
    )?;
    let revision = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(statement.query_row([], revision).optional()?)
}

fn revise(connection: &Connection, author: &Author) -> error::Result<(Vec<Written>, bool)> {
    let Some((object_type, property, after)) = first_revision(connection)? else {
        return Ok((Vec::new(), false));
    };
    let (_, facts) = facts::facts(connection, &object_type.parse()?)?;
    let found = files_after(connection, &after, (&object_type, &property))?;
    let mut written = Vec::new();
    for (id, concerned) in &found {
        let file = id.parse()?;
        if *concerned {
            let before = shown(connection, file)?;
            if follow(connection, file, facts.recipes(&property), author.at)? != before {
                written.extend(tell(connection, file, author)?);
            }
        }
    }
    match found.last() {
        Some((last, _)) if found.len() == REVISED_MAX => connection
            .prepare_cached(
                "UPDATE variant_revisions SET after = ?3 WHERE type = ?1 AND property = ?2",
            )?
            .execute(params![object_type, property, last])?,
        _ => connection
            .prepare_cached("DELETE FROM variant_revisions WHERE type = ? AND property = ?")?
            .execute(params![object_type, property])?,
    };
    Ok((written, first_revision(connection)?.is_some()))
}

/// The files behind this id, and whether each is whole and belongs to the property.
fn files_after(
    connection: &Connection,
    after: &str,
    (object_type, property): (&str, &str),
) -> error::Result<Vec<(String, bool)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, digest IS NOT NULL AND attached = 1 AND owner_type IS ?2 AND property IS ?3 FROM files \
         WHERE id > ?1 ORDER BY id LIMIT ?4",
    )?;
    let limit = i64::try_from(REVISED_MAX).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![after, object_type, property, limit], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
