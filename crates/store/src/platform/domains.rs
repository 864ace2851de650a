//! Domains: which host names lead to which app.

use pilvi_model::app::Domain;
use pilvi_model::{AppId, Error, Result, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::{Moment, Text, apps};
use crate::Store;

impl Store {
    /// The domains of an app by name.
    pub async fn list_domains(&self, app: &AppId) -> Result<Vec<Domain>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT name FROM domains WHERE app = ? ORDER BY name")?;
                let rows =
                    statement.query_map([app.as_str()], |row| Ok(row.get::<_, Text<_>>(0)?.0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Gives a domain to an app, which may have at most `domains_max`. A domain belongs to one app at a time.
    pub async fn insert_domain(
        &self,
        app: &AppId,
        domain: Domain,
        domains_max: u32,
        now: Timestamp,
    ) -> Result<()> {
        let app = app.clone();
        self.platform
            .write(move |connection| {
                apps::stack_of(connection, &app)?;
                let owner: Option<String> = connection
                    .prepare_cached("SELECT app FROM domains WHERE name = ?")?
                    .query_row([domain.as_str()], |row| row.get(0))
                    .optional()?;
                match owner {
                    Some(owner) if owner == app.as_str() => {
                        return Err(Error::conflict("the app has this domain already").into());
                    }
                    Some(_) => return Err(Error::conflict("another app has this domain").into()),
                    None => {}
                }
                let held: u32 = connection
                    .prepare_cached("SELECT count(*) FROM domains WHERE app = ?")?
                    .query_row([app.as_str()], |row| row.get(0))?;
                if held >= domains_max {
                    return Err(Error::over_limit(format!(
                        "an app may have {domains_max} domains; remove one first"
                    ))
                    .into());
                }
                connection
                    .prepare_cached("INSERT INTO domains (name, app, created_at) VALUES (?, ?, ?)")?
                    .execute(params![domain.as_str(), app.as_str(), Moment(now)])?;
                Ok(())
            })
            .await
    }

    /// `false`: the app has no such domain.
    pub async fn delete_domain(&self, app: &AppId, domain: &Domain) -> Result<bool> {
        let (app, domain) = (app.clone(), domain.clone());
        self.platform
            .write_when_low(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM domains WHERE app = ? AND name = ?")?
                    .execute([app.as_str(), domain.as_str()])?;
                Ok(deleted > 0)
            })
            .await
    }
}
