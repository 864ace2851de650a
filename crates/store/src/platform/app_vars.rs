//! Config vars of apps. Their values come and go sealed: this crate cannot read them.

use pilvi_model::app::VarName;
use pilvi_model::{AppId, Error, Result};
use rusqlite::{Connection, params};

use super::{Text, apps};
use crate::Store;

/// A config var as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedVar {
    pub name: VarName,
    pub value: Vec<u8>,
}

/// How many vars an app may have, and how many bytes they may take together.
#[derive(Clone, Copy, Debug)]
pub struct VarBounds {
    pub count_max: u32,
    pub bytes_max: u32,
}

impl Store {
    /// The vars of an app by name.
    pub async fn list_app_vars(&self, app: &AppId) -> Result<Vec<SealedVar>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT name, value FROM app_vars WHERE app = ? ORDER BY name",
                )?;
                let rows = statement.query_map([app.as_str()], |row| {
                    Ok(SealedVar {
                        name: row.get::<_, Text<_>>(0)?.0,
                        value: row.get(1)?,
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Sets and removes vars of an app; what is named in neither stays.
    pub async fn change_app_vars(
        &self,
        app: &AppId,
        set: Vec<SealedVar>,
        unset: Vec<VarName>,
        bounds: VarBounds,
    ) -> Result<()> {
        let app = app.clone();
        self.platform
            .write(move |connection| {
                apps::stack_of(connection, &app)?;
                for name in &unset {
                    connection
                        .prepare_cached("DELETE FROM app_vars WHERE app = ? AND name = ?")?
                        .execute([app.as_str(), name.as_str()])?;
                }
                for var in &set {
                    connection
                        .prepare_cached(
                            "INSERT INTO app_vars (app, name, value) VALUES (?, ?, ?)
                             ON CONFLICT DO UPDATE SET value = excluded.value",
                        )?
                        .execute(params![app.as_str(), var.name.as_str(), var.value])?;
                }
                check_bounds(connection, &app, bounds)
            })
            .await
    }
}

/// Refuses what has grown too large; the transaction then changes nothing.
fn check_bounds(connection: &Connection, app: &AppId, bounds: VarBounds) -> crate::Result<()> {
    let (count, bytes): (u32, u32) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(name) + length(value)), 0) FROM app_vars WHERE app = ?",
        )?
        .query_row([app.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let message = if count > bounds.count_max {
        format!("would be more than {}; remove some", bounds.count_max)
    } else if bytes > bounds.bytes_max {
        format!(
            "would take more than {} bytes together; shorten or remove some",
            bounds.bytes_max
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid("env_vars", message).into())
}
