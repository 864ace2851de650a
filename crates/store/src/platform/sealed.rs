//! What apps keep sealed, and tokens that are derived: all that changes when keys are exchanged.

use pilvi_model::app::VarName;
use pilvi_model::{AppId, Result};
use rusqlite::params;

use super::tokens::{Digest, holder_of};
use super::{Holder, Text};
use crate::Store;

/// A value of an app that is sealed, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedValue {
    pub place: SealedPlace,
    pub value: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedPlace {
    /// One config var.
    Var(VarName),
    /// The config vars of one release.
    Release(u32),
    /// The private key of the certificate.
    Certificate,
}

/// A value as it is and as it is to be. `new` is `None`: it goes, and a certificate with its key; a release stays, so
/// for it there must be one.
#[derive(Clone, Debug)]
pub struct Resealed {
    pub old: SealedValue,
    pub new: Option<Vec<u8>>,
}

impl Store {
    /// The apps of all instances, in whatever state.
    pub async fn list_app_ids(&self) -> Result<Vec<AppId>> {
        self.platform
            .read(|connection| {
                let mut statement = connection.prepare_cached("SELECT id FROM apps ORDER BY id")?;
                let rows = statement.query_map([], |row| Ok(row.get::<_, Text<_>>(0)?.0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// All that an app keeps sealed.
    pub async fn list_sealed_values(&self, app: &AppId) -> Result<Vec<SealedValue>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let app = app.as_str();
                let mut all = Vec::new();
                let mut add =
                    |sql: &str, place: fn(&rusqlite::Row<'_>) -> rusqlite::Result<SealedPlace>| {
                        let mut statement = connection.prepare_cached(sql)?;
                        let rows = statement.query_map([app], |row| {
                            Ok(SealedValue {
                                place: place(row)?,
                                value: row.get(0)?,
                            })
                        })?;
                        for row in rows {
                            all.push(row?);
                        }
                        Ok::<_, crate::Error>(())
                    };
                add(
                    "SELECT value, name FROM app_vars WHERE app = ? ORDER BY name",
                    |row| Ok(SealedPlace::Var(row.get::<_, Text<_>>(1)?.0)),
                )?;
                add(
                    "SELECT vars, number FROM releases WHERE app = ? ORDER BY number",
                    |row| Ok(SealedPlace::Release(row.get(1)?)),
                )?;
                add("SELECT key FROM certificates WHERE app = ?", |_| {
                    Ok(SealedPlace::Certificate)
                })?;
                Ok(all)
            })
            .await
    }

    /// Puts newly sealed values in the place of the old ones; those that were changed meanwhile stay.
    pub async fn replace_sealed_values(&self, app: &AppId, changes: Vec<Resealed>) -> Result<()> {
        let app = app.clone();
        self.platform
            .write_when_low(move |connection| {
                let app = app.as_str();
                for Resealed { old, new } in &changes {
                    let value = &old.value;
                    match (&old.place, new) {
                        (SealedPlace::Var(name), Some(new)) => connection
                            .prepare_cached(
                                "UPDATE app_vars SET value = ?4 WHERE app = ?1 AND name = ?2 AND value = ?3",
                            )?
                            .execute(params![app, name.as_str(), value, new])?,
                        (SealedPlace::Var(name), None) => connection
                            .prepare_cached(
                                "DELETE FROM app_vars WHERE app = ?1 AND name = ?2 AND value = ?3",
                            )?
                            .execute(params![app, name.as_str(), value])?,
                        (SealedPlace::Release(number), Some(new)) => connection
                            .prepare_cached(
                                "UPDATE releases SET vars = ?4 WHERE app = ?1 AND number = ?2 AND vars = ?3",
                            )?
                            .execute(params![app, number, value, new])?,
                        (SealedPlace::Release(_), None) => 0,
                        (SealedPlace::Certificate, Some(new)) => connection
                            .prepare_cached(
                                "UPDATE certificates SET key = ?3 WHERE app = ?1 AND key = ?2",
                            )?
                            .execute(params![app, value, new])?,
                        (SealedPlace::Certificate, None) => connection
                            .prepare_cached("DELETE FROM certificates WHERE app = ?1 AND key = ?2")?
                            .execute(params![app, value])?,
                    };
                }
                Ok(())
            })
            .await
    }

    /// Gives all derived tokens, which are those of members and of instances, the digests that `derive` makes of their
    /// holders and generations; all or none. Returns how many changed.
    pub async fn rederive_tokens(
        &self,
        derive: impl Fn(&Holder, i64) -> [u8; 32] + Send + 'static,
    ) -> Result<u64> {
        self.platform
            .write_when_low(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT kind, person, account, instance, id, generation, digest FROM tokens
                     WHERE kind <> 'person'",
                )?;
                let rows = statement.query_map([], |row| {
                    Ok((
                        holder_of(row)?,
                        row.get::<_, i64>(4)?,
                        row.get::<_, i64>(5)?,
                        row.get::<_, Vec<u8>>(6)?,
                    ))
                })?;
                let tokens = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                let mut changed = 0;
                for (holder, id, generation, old) in tokens {
                    let digest = derive(&holder, generation);
                    if old != digest {
                        connection
                            .prepare_cached("UPDATE tokens SET digest = ? WHERE id = ?")?
                            .execute(params![Digest(digest), id])?;
                        changed += 1;
                    }
                }
                Ok(changed)
            })
            .await
    }
}
