//! What a backend keeps sealed, for whoever exchanges keys or brings a backend back under another id.

use pilvi_model::{Result, WebhookId};
use rusqlite::params;

use super::Backend;

/// The headers of a webhook as they are, and as they are to be. `new` is `None`: they cannot be opened, and a webhook
/// without its headers would tell the wrong story, so it goes.
#[derive(Clone, Debug)]
pub struct ResealedHeaders {
    pub webhook: WebhookId,
    pub old: Vec<u8>,
    pub new: Option<Vec<u8>>,
}

/// The same for the secrets that a webhook signs with. Without them it signs nothing any more.
#[derive(Clone, Debug)]
pub struct ResealedSigning {
    pub webhook: WebhookId,
    pub old: Vec<u8>,
    pub new: Option<Vec<u8>>,
}

impl Backend {
    /// The sealed headers of all webhooks, with where each webhook sends.
    pub async fn list_sealed_headers(&self) -> Result<Vec<(WebhookId, String, Vec<u8>)>> {
        self.database
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT id, url, headers FROM webhooks ORDER BY id")?;
                let rows = statement.query_map([], |row| {
                    let id: String = row.get(0)?;
                    Ok((id, row.get(1)?, row.get(2)?))
                })?;
                let mut sealed = Vec::new();
                for row in rows {
                    let (id, url, headers) = row?;
                    sealed.push((id.parse()?, url, headers));
                }
                Ok(sealed)
            })
            .await
    }

    /// Puts newly sealed headers in the place of the old ones; those that were changed meanwhile stay.
    pub async fn replace_sealed_headers(&self, changes: Vec<ResealedHeaders>) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                for change in &changes {
                    let id = change.webhook.to_string();
                    match &change.new {
                        Some(new) => connection
                            .prepare_cached(
                                "UPDATE webhooks SET headers = ?3 WHERE id = ?1 AND headers = ?2",
                            )?
                            .execute(params![id, change.old, new])?,
                        None => connection
                            .prepare_cached("DELETE FROM webhooks WHERE id = ?1 AND headers = ?2")?
                            .execute(params![id, change.old])?,
                    };
                }
                Ok(())
            })
            .await
    }

    /// The sealed secrets of those webhooks that sign, with where each webhook sends.
    pub async fn list_sealed_signing(&self) -> Result<Vec<(WebhookId, String, Vec<u8>)>> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, url, signing FROM webhooks WHERE signing IS NOT NULL ORDER BY id",
                )?;
                let rows = statement.query_map([], |row| {
                    Ok((super::webhooks::parsed(row, 0)?, row.get(1)?, row.get(2)?))
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Puts newly sealed secrets in the place of the old ones; those that were changed meanwhile stay.
    pub async fn replace_sealed_signing(&self, changes: Vec<ResealedSigning>) -> Result<()> {
        self.database
            .write_when_low(move |connection| {
                for change in &changes {
                    connection
                        .prepare_cached(
                            "UPDATE webhooks SET signing = ?3 WHERE id = ?1 AND signing = ?2",
                        )?
                        .execute(params![change.webhook.to_string(), change.old, change.new])?;
                }
                Ok(())
            })
            .await
    }

    /// Gives up the deliveries that wait: this backend is a copy, and the one that it was copied from makes them.
    pub async fn give_up_deliveries(&self) -> Result<()> {
        self.database
            .write(|connection| {
                connection.execute(
                    "UPDATE deliveries SET state = 'failed', next_at = NULL,
                         error = 'the backend was copied from a backup before this was delivered'
                     WHERE state = 'pending'",
                    [],
                )?;
                Ok(())
            })
            .await
    }
}
