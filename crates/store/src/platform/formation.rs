//! The formation of an app: how many processes of each type are wanted.

use pilvi_model::app::{ProcessType, ProcessTypes};
use pilvi_model::{AppId, Error, Result};
use rusqlite::{Connection, params};

use super::{Text, apps, quotas};
use crate::Store;

impl Store {
    /// Every type of the current release with its wanted count, in the order of its Procfile. Empty before the first
    /// deploy.
    pub async fn formation(&self, app: &AppId) -> Result<Vec<(ProcessType, u32)>> {
        let app = app.clone();
        self.platform
            .read(move |connection| read(connection, &app))
            .await
    }

    /// Changes wanted counts; what is not named stays. All or none. Together there may be `most`, unless there were
    /// more already and these are not more than that. The same holds for the memory of all of the account's apps
    /// together, of which there may be `memory_max` bytes, unless its quota is another one.
    pub async fn scale(
        &self,
        app: &AppId,
        counts: Vec<(ProcessType, u32)>,
        most: u32,
        memory_max: u64,
    ) -> Result<()> {
        let app = app.clone();
        self.platform
            .write(move |connection| {
                apps::stack_of(connection, &app)?;
                let before = total(connection, &app)?;
                let memory_before = quotas::app_memory_around(connection, &app)?;
                for (process_type, quantity) in &counts {
                    let changed = connection
                        .prepare_cached(
                            "UPDATE formation SET quantity = ? WHERE app = ? AND type = ?",
                        )?
                        .execute(params![quantity, app.as_str(), process_type.as_str()])?;
                    if changed == 0 {
                        return Err(unknown_type(connection, &app, process_type)?.into());
                    }
                }
                let after = total(connection, &app)?;
                match counts.last() {
                    Some((process_type, _)) if after > before.max(most.into()) => {
                        Err(Error::invalid(
                            process_type.as_str(),
                            format!(
                                "is too many: an app may have {most} processes of all types together, and this would \
                                 make {after}"
                            ),
                        )
                        .into())
                    }
                    _ => quotas::check_app_memory(connection, &app, memory_max, memory_before),
                }
            })
            .await
    }
}

fn total(connection: &Connection, app: &AppId) -> crate::Result<u64> {
    let formation = read(connection, app)?;
    Ok(formation.iter().map(|(_, count)| u64::from(*count)).sum())
}

/// The refusal names what there is, as its reader is likely to have mistyped it.
fn unknown_type(
    connection: &Connection,
    app: &AppId,
    process_type: &ProcessType,
) -> crate::Result<Error> {
    let known = read(connection, app)?;
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let message = match names.is_empty() {
        true => "is no process type of this app, which has none before its first deploy".to_owned(),
        false => format!(
            "is no process type of this app, which has {}",
            names.join(", ")
        ),
    };
    Ok(Error::invalid(process_type.as_str(), message))
}

pub(super) fn read(connection: &Connection, app: &AppId) -> crate::Result<Vec<(ProcessType, u32)>> {
    let mut statement = connection
        .prepare_cached("SELECT type, quantity FROM formation WHERE app = ? ORDER BY position")?;
    let rows = statement.query_map([app.as_str()], |row| {
        Ok((row.get::<_, Text<_>>(0)?.0, row.get(1)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Brings the formation to the types of a new release: those that stay keep their counts, new ones begin with no
/// process, except `web`, which begins with one (`mar.md` §4.8).
pub(super) fn follow(
    connection: &Connection,
    app: &AppId,
    types: &ProcessTypes,
) -> crate::Result<()> {
    let before = read(connection, app)?;
    connection
        .prepare_cached("DELETE FROM formation WHERE app = ?")?
        .execute([app.as_str()])?;
    for (position, process_type) in types.types().enumerate() {
        let kept = before.iter().find(|(known, _)| known == process_type);
        let quantity = kept.map_or(u32::from(process_type.is_web()), |(_, quantity)| *quantity);
        connection
            .prepare_cached(
                "INSERT INTO formation (app, position, type, quantity) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![
                app.as_str(),
                position,
                process_type.as_str(),
                quantity
            ])?;
    }
    Ok(())
}
