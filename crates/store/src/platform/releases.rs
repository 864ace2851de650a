//! Releases: the numbered states of an app, and the steps that lead from one to the next.
//!
//! `pending` → `current` → `old`, or `pending` → `failed`. A release is written before its first process starts and
//! becomes current in the same transaction that makes its predecessor old, gives the app its number and brings the
//! formation to its types. A crash leaves either the old state or the new one, and at most a pending release that the
//! next start fails.

use pilvi_model::app::{ProcessTypes, SlugTag, StackName};
use pilvi_model::{AppId, Error, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::instances::VISIBLE;
use super::{Moment, Text, Types, apps, formation};
use crate::Store;

/// A slug with config vars, process types and a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub app: AppId,
    /// Counts from 1 for each app.
    pub number: u32,
    /// The slug's number, which names its files. `None`: the slug was removed since.
    pub slug: Option<i64>,
    pub tag: SlugTag,
    /// The config vars, sealed.
    pub vars: Vec<u8>,
    pub process_types: ProcessTypes,
    pub stack: StackName,
    /// Why it was made, for people: `Deploy 1a2b3c4`.
    pub reason: String,
    /// Who made it, for people.
    pub author: String,
    pub state: ReleaseState,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseState {
    /// Its processes are starting, and the one before it still serves.
    Pending,
    Current,
    /// Its processes never took over.
    Failed,
    Old,
}

impl ReleaseState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Failed => "failed",
            Self::Old => "old",
        }
    }
}

/// What a release is made of. The slug says its process types and its stack.
#[derive(Clone, Debug)]
pub struct NewRelease {
    pub app: AppId,
    pub slug: i64,
    pub vars: Vec<u8>,
    pub reason: String,
    pub author: String,
    pub created_at: Timestamp,
}

const COLUMNS: &str =
    "app, number, slug, slug_tag, vars, process_types, stack, reason, author, state, created_at";

/// Releases that an app keeps a record of.
const KEPT: u32 = 200;

impl Store {
    /// Adds a pending release with the next number. Its slug must be ready.
    pub async fn begin_release(&self, new: NewRelease) -> Result<Release> {
        self.platform
            .write(move |connection| {
                // An app that was deleted gets no new processes.
                let number: u32 = connection
                    .prepare_cached(&format!(
                        "UPDATE apps SET releases = releases + 1
                         WHERE id = ? AND EXISTS (
                             SELECT 1 FROM instances WHERE instances.id = apps.id AND {VISIBLE})
                         RETURNING releases"
                    ))?
                    .query_row([new.app.as_str()], |row| row.get(0))
                    .optional()?
                    .ok_or_else(apps::no_such_app)?;
                let inserted = connection
                    .prepare_cached(
                        "INSERT INTO releases (app, number, slug, slug_tag, vars, process_types, stack, reason,
                             author, state, created_at)
                         SELECT app, ?3, id, tag, ?4, process_types, stack, ?5, ?6, 'pending', ?7
                         FROM slugs WHERE app = ?1 AND id = ?2 AND state = 'ready'",
                    )?
                    .execute(params![
                        new.app.as_str(),
                        new.slug,
                        number,
                        new.vars,
                        new.reason,
                        new.author,
                        Moment(new.created_at),
                    ])?;
                if inserted == 0 {
                    return Err(Error::conflict("the slug was removed; deploy another one").into());
                }
                connection
                    .prepare_cached(
                        "DELETE FROM releases WHERE app = ?1 AND number <= ?2 AND state IN ('failed', 'old')",
                    )?
                    .execute(params![new.app.as_str(), i64::from(number) - i64::from(KEPT)])?;
                let release = find(connection, &new.app, number)?;
                Ok(release.ok_or_else(|| Error::internal("a release was not there after its insertion"))?)
            })
            .await
    }

    /// Makes a pending release the current one. `false`: it is not pending, because it failed meanwhile or its app is
    /// gone.
    pub async fn activate_release(&self, app: &AppId, number: u32, now: Timestamp) -> Result<bool> {
        let app = app.clone();
        self.platform
            .write_when_low(move |connection| {
                let pending = find(connection, &app, number)?
                    .filter(|release| release.state == ReleaseState::Pending);
                let Some(release) = pending else {
                    return Ok(false);
                };
                connection
                    .prepare_cached(
                        "UPDATE releases SET state = 'old' WHERE app = ? AND state = 'current'",
                    )?
                    .execute([app.as_str()])?;
                connection
                    .prepare_cached(
                        "UPDATE releases SET state = 'current' WHERE app = ? AND number = ?",
                    )?
                    .execute(params![app.as_str(), number])?;
                connection
                    .prepare_cached("UPDATE apps SET release = ? WHERE id = ?")?
                    .execute(params![number, app.as_str()])?;
                connection
                    .prepare_cached("UPDATE slugs SET deployed_at = ? WHERE id = ?")?
                    .execute(params![Moment(now), release.slug])?;
                formation::follow(connection, &app, &release.process_types)?;
                Ok(true)
            })
            .await
    }

    /// Gives a pending release up. `false`: it is not pending.
    pub async fn fail_release(&self, app: &AppId, number: u32) -> Result<bool> {
        let app = app.clone();
        self.platform
            .write_when_low(move |connection| {
                let failed = connection
                    .prepare_cached(
                        "UPDATE releases SET state = 'failed' WHERE app = ? AND number = ? AND state = 'pending'",
                    )?
                    .execute(params![app.as_str(), number])?;
                Ok(failed > 0)
            })
            .await
    }

    /// Gives up what an earlier run of the server left pending; says which.
    pub async fn fail_pending_releases(&self) -> Result<Vec<(AppId, u32)>> {
        self.platform
            .write_when_low(|connection| {
                let mut statement = connection.prepare_cached(
                    "UPDATE releases SET state = 'failed' WHERE state = 'pending' RETURNING app, number",
                )?;
                let rows =
                    statement.query_map([], |row| Ok((row.get::<_, Text<_>>(0)?.0, row.get(1)?)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    pub async fn find_release(&self, app: &AppId, number: u32) -> Result<Option<Release>> {
        let app = app.clone();
        self.platform
            .read(move |connection| find(connection, &app, number))
            .await
    }

    /// The release that runs, or would if the app were not stopped.
    pub async fn find_current_release(&self, app: &AppId) -> Result<Option<Release>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM releases WHERE app = ? AND state = 'current'"
                    ))?
                    .query_row([app.as_str()], release_of)
                    .optional()?)
            })
            .await
    }

    /// The app's releases, newest first.
    pub async fn list_releases(&self, app: &AppId, limit: u32) -> Result<Vec<Release>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM releases WHERE app = ? ORDER BY number DESC LIMIT ?"
                ))?;
                let rows = statement.query_map(params![app.as_str(), limit], release_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn find(connection: &Connection, app: &AppId, number: u32) -> crate::Result<Option<Release>> {
    Ok(connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM releases WHERE app = ? AND number = ?"
        ))?
        .query_row(params![app.as_str(), number], release_of)
        .optional()?)
}

/// All releases of an app.
pub(super) fn read_all(connection: &Connection, app: &AppId) -> crate::Result<Vec<Release>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM releases WHERE app = ?"))?;
    let rows = statement.query_map([app.as_str()], release_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn release_of(row: &Row<'_>) -> rusqlite::Result<Release> {
    Ok(Release {
        app: row.get::<_, Text<_>>(0)?.0,
        number: row.get(1)?,
        slug: row.get(2)?,
        tag: row.get::<_, Text<_>>(3)?.0,
        vars: row.get(4)?,
        process_types: row.get::<_, Types>(5)?.0,
        stack: row.get::<_, Text<_>>(6)?.0,
        reason: row.get(7)?,
        author: row.get(8)?,
        state: match row.get_ref(9)?.as_str()? {
            "pending" => ReleaseState::Pending,
            "current" => ReleaseState::Current,
            "failed" => ReleaseState::Failed,
            _ => ReleaseState::Old,
        },
        created_at: row.get::<_, Moment>(10)?.0,
    })
}
