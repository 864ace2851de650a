//! The certificates that owners of apps uploaded.

use pilvi_model::{AppId, Result, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::{Moment, apps};
use crate::Store;

/// A certificate of an app: one for all of its domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the app's own first.
    pub chain: String,
    /// The private key, sealed.
    pub key: Vec<u8>,
    pub expires_at: Timestamp,
}

impl Store {
    pub async fn find_certificate(&self, app: &AppId) -> Result<Option<Certificate>> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT chain, key, expires_at FROM certificates WHERE app = ?",
                    )?
                    .query_row([app.as_str()], |row| {
                        Ok(Certificate {
                            chain: row.get(0)?,
                            key: row.get(1)?,
                            expires_at: row.get::<_, Moment>(2)?.0,
                        })
                    })
                    .optional()?)
            })
            .await
    }

    /// Stores the certificate of an app in place of the one it may have.
    pub async fn put_certificate(&self, app: &AppId, certificate: Certificate) -> Result<()> {
        let app = app.clone();
        self.platform
            .write(move |connection| {
                apps::stack_of(connection, &app)?;
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO certificates (app, chain, key, expires_at) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![
                        app.as_str(),
                        certificate.chain,
                        certificate.key,
                        Moment(certificate.expires_at),
                    ])?;
                Ok(())
            })
            .await
    }

    /// `false`: the app had none.
    pub async fn delete_certificate(&self, app: &AppId) -> Result<bool> {
        let app = app.clone();
        self.platform
            .write_when_low(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM certificates WHERE app = ?")?
                    .execute([app.as_str()])?;
                Ok(deleted > 0)
            })
            .await
    }
}
