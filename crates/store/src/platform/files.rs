//! Which backends have ever had a file: where to look after a start for variants that are to be made, and from time to
//! time for what is to be collected, without opening the file of every backend.

use pilvi_model::{BackendId, Result};

use super::Text;
use crate::Store;

impl Store {
    /// Notes that a backend has files; harmless when it is noted already.
    pub async fn note_files_of(&self, backend: BackendId) -> Result<()> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO file_backends (backend) SELECT id FROM instances WHERE id = ? \
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute([Text(backend)])?;
                Ok(())
            })
            .await
    }

    /// Whether a backend may have files.
    pub async fn has_files(&self, backend: BackendId) -> Result<bool> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM file_backends WHERE backend = ?)",
                )?;
                Ok(statement.query_row([Text(backend)], |row| row.get(0))?)
            })
            .await
    }

    /// The backends that may have files.
    pub async fn backends_with_files(&self) -> Result<Vec<BackendId>> {
        self.platform
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT backend FROM file_backends ORDER BY backend")?;
                let rows =
                    statement.query_map([], |row| Ok(row.get::<_, Text<BackendId>>(0)?.0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
