//! Which backends have ever had a webhook: where to look for pending deliveries after a start, without opening the
//! file of every backend.

use pilvi_model::{BackendId, Result};

use super::Text;
use crate::Store;

impl Store {
    /// Notes that a backend has webhooks; harmless when it is noted already.
    pub async fn note_webhooks_of(&self, backend: BackendId) -> Result<()> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO webhook_backends (backend) VALUES (?) ON CONFLICT DO NOTHING",
                    )?
                    .execute([Text(backend)])?;
                Ok(())
            })
            .await
    }

    /// The backends that may have deliveries pending.
    pub async fn backends_with_webhooks(&self) -> Result<Vec<BackendId>> {
        self.platform
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT backend FROM webhook_backends ORDER BY backend")?;
                let rows =
                    statement.query_map([], |row| Ok(row.get::<_, Text<BackendId>>(0)?.0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
