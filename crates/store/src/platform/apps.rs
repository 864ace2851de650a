//! Apps: what an instance of the application runtime is, beside its instance.

use pilvi_model::app::{Size, StackName};
use pilvi_model::{AccountId, AppId, Error, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::instances::VISIBLE;
use super::{Moment, Text};
use crate::Store;

/// An app and what its instance says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    pub id: AppId,
    /// Never used for another app, also after this one is gone.
    pub number: u32,
    pub account: AccountId,
    pub name: String,
    pub size: Size,
    /// What the next build is made on; a release has its own.
    pub stack: StackName,
    pub wanted: Wanted,
    /// The release that runs, or would if the app were not stopped. `None`: nothing was ever deployed.
    pub release: Option<u32>,
    pub created_at: Timestamp,
}

/// Whether the processes of an app are to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Stopped,
}

impl Wanted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

const COLUMNS: &str =
    "apps.id, apps.number, instances.account, instances.name, apps.size, apps.stack, apps.wanted,
     apps.release, instances.created_at";

impl Store {
    /// Adds the app of an instance that is being created; harmless when it is there already.
    pub async fn insert_app(&self, id: &AppId, size: Size, stack: &StackName) -> Result<()> {
        let (id, stack) = (id.clone(), stack.clone());
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO apps (id, size, stack, wanted) VALUES (?, ?, ?, 'running')
                         ON CONFLICT (id) DO NOTHING",
                    )?
                    .execute(params![id.as_str(), size.units(), stack.as_str()])?;
                Ok(())
            })
            .await
    }

    pub async fn find_app(&self, id: &AppId) -> Result<Option<App>> {
        let id = id.clone();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM apps JOIN instances ON instances.id = apps.id WHERE apps.id = ?"
                    ))?
                    .query_row([id.as_str()], app_of)
                    .optional()?)
            })
            .await
    }

    /// The app, unless it was deleted, be it that it can still be brought back: such a one has no processes.
    pub async fn find_app_that_may_run(&self, id: &AppId) -> Result<Option<App>> {
        let id = id.clone();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM apps JOIN instances ON instances.id = apps.id
                         WHERE apps.id = ? AND instances.deleted_at IS NULL"
                    ))?
                    .query_row([id.as_str()], app_of)
                    .optional()?)
            })
            .await
    }

    /// The apps of all accounts that are neither being created nor deleted, oldest first.
    pub async fn list_apps(&self) -> Result<Vec<App>> {
        self.platform
            .read(|connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM apps JOIN instances ON instances.id = apps.id
                     WHERE {VISIBLE} ORDER BY apps.number"
                ))?;
                let rows = statement.query_map([], app_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Says whether the processes of an app are to run.
    pub async fn set_app_wanted(&self, id: &AppId, wanted: Wanted) -> Result<()> {
        let id = id.clone();
        self.platform
            .write_when_low(move |connection| {
                let changed = connection
                    .prepare_cached("UPDATE apps SET wanted = ? WHERE id = ?")?
                    .execute(params![wanted.as_str(), id.as_str()])?;
                Ok(must_exist(changed)?)
            })
            .await
    }

    /// Says what the next build is made on.
    pub async fn set_app_stack(&self, id: &AppId, stack: &StackName) -> Result<()> {
        let (id, stack) = (id.clone(), stack.clone());
        self.platform
            .write(move |connection| {
                let changed = connection
                    .prepare_cached("UPDATE apps SET stack = ? WHERE id = ?")?
                    .execute(params![stack.as_str(), id.as_str()])?;
                Ok(must_exist(changed)?)
            })
            .await
    }

    /// Forgets an app with its releases, slugs, vars, domains and certificate; harmless when there is none.
    pub async fn delete_app(&self, id: &AppId) -> Result<()> {
        let id = id.clone();
        self.platform
            .write_when_low(move |connection| {
                connection
                    .prepare_cached("DELETE FROM apps WHERE id = ?")?
                    .execute([id.as_str()])?;
                Ok(())
            })
            .await
    }
}

pub(super) fn no_such_app() -> Error {
    Error::not_found("there is no such app")
}

/// Refuses when no app was changed.
fn must_exist(changed: usize) -> Result<()> {
    match changed {
        0 => Err(no_such_app()),
        _ => Ok(()),
    }
}

/// The stack that the app's next build is made on, which also says whether the app exists.
pub(super) fn stack_of(connection: &Connection, app: &AppId) -> crate::Result<StackName> {
    let stack = connection
        .prepare_cached("SELECT stack FROM apps WHERE id = ?")?
        .query_row([app.as_str()], |row| row.get::<_, Text<_>>(0))
        .optional()?;
    Ok(stack.ok_or_else(no_such_app)?.0)
}

fn app_of(row: &Row<'_>) -> rusqlite::Result<App> {
    let size = Size::of_units(row.get(4)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Integer, error.into())
    })?;
    Ok(App {
        id: row.get::<_, Text<_>>(0)?.0,
        number: row.get(1)?,
        account: row.get::<_, Text<_>>(2)?.0,
        name: row.get(3)?,
        size,
        stack: row.get::<_, Text<_>>(5)?.0,
        wanted: match row.get_ref(6)?.as_str()? {
            "stopped" => Wanted::Stopped,
            _ => Wanted::Running,
        },
        release: row.get(7)?,
        created_at: row.get::<_, Moment>(8)?.0,
    })
}
