//! Slugs: what was built or uploaded and can be run. A slug's number names its files.

use std::collections::BTreeMap;

use pilvi_model::app::{ProcessTypes, SlugTag, StackName};
use pilvi_model::{AppId, Error, Result, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Moment, Text, Types, apps, types_text};
use crate::Store;

#[derive(Clone, Debug, PartialEq)]
pub struct Slug {
    /// Never used again, also not by another app.
    pub id: i64,
    pub app: AppId,
    pub tag: SlugTag,
    pub origin: Origin,
    pub state: SlugState,
    pub process_types: ProcessTypes,
    /// What the buildpack's release step proposes; the app's own config vars win.
    pub default_vars: BTreeMap<String, String>,
    /// What it was built on; for an uploaded one what the app was set to.
    pub stack: StackName,
    pub bytes: u64,
    pub created_at: Timestamp,
    pub deployed_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built from a push.
    Git,
    Upload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlugState {
    /// Its file is not whole yet.
    Awaiting,
    Ready,
}

/// A slug whose file is still to be written.
#[derive(Clone, Debug)]
pub struct NewSlug {
    pub app: AppId,
    pub tag: SlugTag,
    pub origin: Origin,
    pub process_types: ProcessTypes,
    /// `None`: the one that the app is set to.
    pub stack: Option<StackName>,
    pub created_at: Timestamp,
}

/// What is known once the file of a slug is whole.
#[derive(Clone, Debug, Default)]
pub struct BuiltSlug {
    pub bytes: u64,
    /// `None`: those that it was announced with.
    pub process_types: Option<ProcessTypes>,
    pub default_vars: BTreeMap<String, String>,
}

const COLUMNS: &str = "id, app, tag, origin, state, process_types, default_vars, stack, bytes, created_at, deployed_at";

/// Uploads of one app that may wait for their bytes.
const AWAITING_MAX: u32 = 10;
/// Uploaded slugs of one app.
const UPLOADED_MAX: u32 = 50;

impl Store {
    /// Announces a slug, whose number then names its files. An upload is refused when its tag is taken; one whose
    /// bytes never came is replaced.
    pub async fn reserve_slug(&self, new: NewSlug) -> Result<Slug> {
        self.platform
            .write(move |connection| {
                let stack = apps::stack_of(connection, &new.app)?;
                let stack = new.stack.as_ref().unwrap_or(&stack);
                if new.origin == Origin::Upload {
                    make_way(connection, &new)?;
                }
                let slug = connection
                    .prepare_cached(&format!(
                        "INSERT INTO slugs (app, tag, origin, state, process_types, default_vars, stack, bytes,
                             created_at)
                         VALUES (?, ?, ?, 'awaiting', ?, '{{}}', ?, 0, ?) RETURNING {COLUMNS}"
                    ))?
                    .query_row(
                        params![
                            new.app.as_str(),
                            new.tag.as_str(),
                            origin_text(new.origin),
                            types_text(&new.process_types),
                            stack.as_str(),
                            Moment(new.created_at),
                        ],
                        slug_of,
                    )?;
                Ok(slug)
            })
            .await
    }

    /// Makes a slug deployable, after its file is whole on the disk. An older one with the same tag gets its number
    /// appended to it. `None`: it is not awaited any more.
    pub async fn finish_slug(&self, id: i64, built: BuiltSlug) -> Result<Option<Slug>> {
        let vars = serde_json::to_string(&built.default_vars).map_err(Error::internal)?;
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE slugs SET tag = tag || '~' || id
                         WHERE id <> ?1 AND state = 'ready'
                             AND (app, tag) = (SELECT app, tag FROM slugs WHERE id = ?1)",
                    )?
                    .execute([id])?;
                let types = built.process_types.as_ref().map(types_text);
                Ok(connection
                    .prepare_cached(&format!(
                        "UPDATE slugs SET state = 'ready', bytes = ?2, process_types = coalesce(?3, process_types),
                             default_vars = ?4
                         WHERE id = ?1 AND state = 'awaiting' RETURNING {COLUMNS}"
                    ))?
                    .query_row(params![id, built.bytes, types, vars], slug_of)
                    .optional()?)
            })
            .await
    }

    pub async fn find_slug(&self, id: i64) -> Result<Option<Slug>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM slugs WHERE id = ?"))?
                    .query_row([id], slug_of)
                    .optional()?)
            })
            .await
    }

    /// The slug that a tag names: a ready one, or an upload that is awaited.
    pub async fn find_slug_by_tag(&self, app: &AppId, tag: &SlugTag) -> Result<Option<Slug>> {
        let (app, tag) = (app.clone(), tag.clone());
        self.platform
            .read(move |connection| by_tag(connection, &app, &tag))
            .await
    }

    /// The slugs of an app that tags name, newest first.
    pub async fn list_slugs(&self, app: &AppId) -> Result<Vec<Slug>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM slugs
                     WHERE app = ? AND (state = 'ready' OR origin = 'upload') ORDER BY id DESC"
                ))?;
                let rows = statement.query_map([app.as_str()], slug_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// The numbers of all slugs of an app in whatever state; files of any other number are nobody's.
    pub async fn list_slug_ids(&self, app: &AppId) -> Result<Vec<i64>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT id FROM slugs WHERE app = ?")?;
                let rows = statement.query_map([app.as_str()], |row| row.get(0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Forgets a slug that a tag names, unless it runs or is about to; returns it, so that its files can follow.
    pub async fn delete_slug(&self, app: &AppId, tag: &SlugTag) -> Result<Slug> {
        let (app, tag) = (app.clone(), tag.clone());
        self.platform
            .write_when_low(move |connection| {
                let slug = by_tag(connection, &app, &tag)?.ok_or_else(no_such_slug)?;
                if is_in_use(connection, slug.id)? {
                    return Err(Error::conflict(
                        "this slug is running; deploy another one before removing it",
                    )
                    .into());
                }
                delete(connection, slug.id)?;
                Ok(slug)
            })
            .await
    }

    /// Forgets a slug whose file will never be whole; harmless when it is ready or gone.
    pub async fn abandon_slug(&self, id: i64) -> Result<()> {
        self.platform
            .write_when_low(move |connection| {
                connection
                    .prepare_cached("DELETE FROM slugs WHERE id = ? AND state = 'awaiting'")?
                    .execute([id])?;
                Ok(())
            })
            .await
    }

    /// Forgets the builds that an earlier run of the server did not finish.
    pub async fn abandon_unfinished_slugs(&self) -> Result<()> {
        self.platform
            .write_when_low(|connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM slugs WHERE state = 'awaiting' AND origin = 'git'",
                    )?
                    .execute([])?;
                Ok(())
            })
            .await
    }

    /// Forgets all but the newest `kept` builds of an app, keeping what runs, is about to, or ran last, and all
    /// uploads. Returns the numbers of those that are gone, so that their files can follow.
    pub async fn prune_slugs(&self, app: &AppId, kept: u32) -> Result<Vec<i64>> {
        let app = app.clone();
        self.platform
            .write_when_low(move |connection| {
                let mut statement = connection.prepare_cached(
                    "DELETE FROM slugs WHERE app = ?1 AND origin = 'git' AND state = 'ready'
                         AND id NOT IN (
                             SELECT id FROM slugs WHERE app = ?1 AND origin = 'git' AND state = 'ready'
                             ORDER BY id DESC LIMIT ?2)
                         AND id NOT IN (
                             SELECT slug FROM releases
                             WHERE app = ?1 AND slug IS NOT NULL AND (
                                 state IN ('pending', 'current')
                                 OR number = (SELECT max(number) FROM releases WHERE app = ?1 AND state = 'old')))
                     RETURNING id",
                )?;
                let rows = statement.query_map(params![app.as_str(), kept], |row| row.get(0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

pub(super) fn no_such_slug() -> Error {
    Error::not_found("there is no such slug; list those that there are with `mar slug:list`")
}

/// Refuses an upload whose tag is taken or that is one too many, and removes an earlier one that never came.
fn make_way(connection: &Connection, new: &NewSlug) -> crate::Result<()> {
    match by_tag(connection, &new.app, &new.tag)? {
        Some(slug) if slug.state == SlugState::Ready => {
            return Err(
                Error::conflict("the app has a slug with this tag; choose another tag").into(),
            );
        }
        Some(slug) => delete(connection, slug.id)?,
        None => {}
    }
    let (awaiting, uploaded): (u32, u32) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'awaiting'), count(*) FROM slugs
             WHERE app = ? AND origin = 'upload'",
        )?
        .query_row([new.app.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if awaiting >= AWAITING_MAX || uploaded >= UPLOADED_MAX {
        return Err(Error::over_limit(format!(
            "an app may have {UPLOADED_MAX} uploaded slugs, and {AWAITING_MAX} that wait for their bytes; remove one"
        ))
        .into());
    }
    Ok(())
}

/// All slugs of an app, whatever their state.
pub(super) fn read_all(connection: &Connection, app: &AppId) -> crate::Result<Vec<Slug>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM slugs WHERE app = ?"))?;
    let rows = statement.query_map([app.as_str()], slug_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn by_tag(connection: &Connection, app: &AppId, tag: &SlugTag) -> crate::Result<Option<Slug>> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM slugs
             WHERE app = ? AND tag = ? AND (state = 'ready' OR origin = 'upload')"
        ))?
        .query_row([app.as_str(), tag.as_str()], slug_of)
        .optional()?)
}

fn is_in_use(connection: &Connection, id: i64) -> crate::Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM releases WHERE slug = ? AND state IN ('pending', 'current'))",
        )?
        .query_row([id], |row| row.get(0))?)
}

fn delete(connection: &Connection, id: i64) -> crate::Result<()> {
    connection
        .prepare_cached("DELETE FROM slugs WHERE id = ?")?
        .execute([id])?;
    Ok(())
}

fn origin_text(origin: Origin) -> &'static str {
    match origin {
        Origin::Git => "git",
        Origin::Upload => "upload",
    }
}

fn slug_of(row: &Row<'_>) -> rusqlite::Result<Slug> {
    let default_vars = serde_json::from_str(row.get_ref(6)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(6, Type::Text, error.into()))?;
    Ok(Slug {
        id: row.get(0)?,
        app: row.get::<_, Text<_>>(1)?.0,
        tag: row.get::<_, Text<_>>(2)?.0,
        origin: match row.get_ref(3)?.as_str()? {
            "git" => Origin::Git,
            _ => Origin::Upload,
        },
        state: match row.get_ref(4)?.as_str()? {
            "ready" => SlugState::Ready,
            _ => SlugState::Awaiting,
        },
        process_types: row.get::<_, Types>(5)?.0,
        default_vars,
        stack: row.get::<_, Text<_>>(7)?.0,
        bytes: row.get(8)?,
        created_at: row.get::<_, Moment>(9)?.0,
        deployed_at: row.get::<_, Option<Moment>>(10)?.map(|moment| moment.0),
    })
}
