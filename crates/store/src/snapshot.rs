//! Copies of databases while they are written to, and whether a copy from elsewhere can be trusted.
//!
//! A copy is one state of a file: a transaction that only reads holds it still while its pages are copied, and writers
//! go on beside it. So nothing that was acknowledged before the copy began is missing, and nothing is half there.
//!
//! A database that comes back may have been in anybody's hands. Its tables must be exactly those that this program
//! would make; whatever else a file can hold, such as triggers and views, would run with our rights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pilvi_model::{BackendId, Error as DomainError, Instance};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::error::{Error, Result};
use crate::migrate::{Schema, format_of, migrate};
use crate::pool::{Database, open_reader};
use crate::space::Space;
use crate::{Store, backend, make_private_file, platform};

/// Pages that are copied in one go: 1 MiB. After each, the copy is on disk, because others who wait for the disk would
/// wait for it, too; and then the disk and the processor are theirs for as long.
const PAGES_AT_ONCE: i32 = 256;
/// A disk that was slow once is not waited for without end.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a file that is to be replaced waits for those who read it. Nobody writes through the same thread meanwhile.
const READERS_WAIT: Duration = Duration::from_millis(500);

/// What was counted in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The format of its tables.
    pub format: usize,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
    /// Objects by type, where there are objects.
    pub types: BTreeMap<String, u64>,
}

/// Which of the two kinds of database a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// `pilvi.db`.
    Platform,
    /// That of one EDS backend.
    Backend,
}

impl DatabaseKind {
    fn schema(self) -> &'static Schema {
        match self {
            Self::Platform => &platform::SCHEMA,
            Self::Backend => &backend::SCHEMA,
        }
    }
}

impl Store {
    /// Copies `pilvi.db` to a file that is made for it.
    pub async fn copy_platform(&self, to: PathBuf) -> pilvi_model::Result<Facts> {
        self.copy(self.platform.clone(), to).await
    }

    /// Copies the file of a backend to one that is made for it.
    pub async fn copy_backend(&self, id: BackendId, to: PathBuf) -> pilvi_model::Result<Facts> {
        self.copy(self.database_of(id), to).await
    }

    async fn copy(&self, database: Database, to: PathBuf) -> pilvi_model::Result<Facts> {
        let space = Space::new(self.folder.pool.disk_reserve());
        let copied = tokio::task::spawn_blocking(move || {
            let path = database.file.path.clone();
            copy(&database, &to, &space).map_err(|error| error.at(&path))
        });
        Ok(copied.await.map_err(DomainError::internal)??)
    }

    /// Makes a checked file that of a backend which has none. What the backend belonged to stays behind: indexes are
    /// made again when they are wanted.
    pub async fn adopt_backend(&self, id: BackendId, from: PathBuf) -> pilvi_model::Result<()> {
        let path = self.backend_path(id);
        let adopted = tokio::task::spawn_blocking(move || {
            check_stranger(&from)?;
            if path.exists() {
                let message = "there is a database with this id already";
                return Err(DomainError::conflict(message).into());
            }
            let moved = || {
                File::open(&from)?.sync_all()?;
                fs::rename(&from, &path)?;
                match path.parent() {
                    Some(folder) => File::open(folder)?.sync_all(),
                    None => Ok(()),
                }
            };
            moved().map_err(failed("put in its place the database", &path))
        });
        Ok(adopted.await.map_err(DomainError::internal)??)
    }
}

impl Store {
    /// Puts the file of one backend in the place of another's, in one step: whatever interrupts this, the other has
    /// its old file or the new one. The first has none after that.
    pub async fn replace_backend(&self, id: BackendId, with: BackendId) -> pilvi_model::Result<()> {
        self.replace_backend_after(id, with, |_, _| Ok(())).await
    }

    /// The same, after a last look at both files, of which nobody else writes to either.
    pub(crate) async fn replace_backend_after(
        &self,
        id: BackendId,
        with: BackendId,
        look: impl FnOnce(&Path, &Path) -> Result<()> + Send + 'static,
    ) -> pilvi_model::Result<()> {
        let (path, from) = (self.backend_path(id), self.backend_path(with));
        let alone = from.clone();
        // Its file is whole without a log beside it, and on disk.
        let settle = move || {
            settle_alone(&alone)?;
            let synced = File::open(&alone).and_then(|file| file.sync_all());
            synced.map_err(failed("wait for the disk with", &alone))
        };
        self.database_of(with).close_and(settle).await?;
        let replaced = path.clone();
        self.database_of(id)
            .close_and(move || {
                look(&path, &from)?;
                // A log that stayed would be taken for that of the new file.
                settle_alone(&path)?;
                fs::rename(&from, &path).map_err(failed("replace", &path))?;
                for suffix in ["-wal", "-shm"] {
                    let mut beside = path.clone().into_os_string();
                    beside.push(suffix);
                    match fs::remove_file(&beside) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(failed("delete", Path::new(&beside))(error));
                        }
                        _ => {}
                    }
                }
                let folder = path.parent().unwrap_or(&path);
                let synced = File::open(folder).and_then(|folder| folder.sync_all());
                synced.map_err(failed("wait for the disk with", folder))
            })
            .await?;
        self.folder.pool.followers().startle(&replaced);
        Ok(())
    }

    fn database_of(&self, id: BackendId) -> Database {
        let path = self.backend_path(id);
        self.folder.pool.database(path, &backend::SCHEMA, false)
    }
}

/// Changes a file that nobody else has open; what was changed is in the file itself, and on disk, when this returns.
pub(crate) fn alter(path: &Path, change: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    crate::query::register(&connection)?;
    let transaction = connection.unchecked_transaction()?;
    change(&transaction)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    settle_alone(path)?;
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(failed("wait for the disk with", path))
}

/// Brings everything that was written into the file itself, so that its log is empty.
fn settle_alone(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(READERS_WAIT)?;
    let held_up: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match held_up {
        0 => Ok(()),
        _ => {
            let message = "the database is being read without a pause; try again soon";
            Err(DomainError::unavailable(message).into())
        }
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source }
}

fn copy(database: &Database, to: &Path, space: &Space) -> Result<Facts> {
    let source = open_reader(&database.file)?;
    make_private_file(to)?;
    let mut target = Connection::open(to)?;
    // Whoever needs the copy to survive a loss of power waits for the disk once, at its end.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    source.execute_batch("BEGIN")?;
    // From here on the source stands still, as far as this connection can see.
    format_of(&source)?;
    let copying = Backup::new(&source, &mut target)?;
    let copied = File::open(to).map_err(failed("open", to))?;
    loop {
        let started = Instant::now();
        if space.is_low(to) {
            return Err(Error::DiskLow {
                path: to.to_owned(),
            });
        }
        match copying.step(PAGES_AT_ONCE)? {
            StepResult::Done => break,
            StepResult::More => {
                let synced = copied.sync_data();
                synced.map_err(failed("wait for the disk with", to))?;
                std::thread::sleep(started.elapsed().min(PAUSE_MAX));
            }
            // Nobody else has the target, and readers of the source wait for nobody.
            other => {
                let message = format!("a copy of a database was held up: {other:?}");
                return Err(DomainError::internal(message).into());
            }
        }
    }
    drop(copying);
    target.close().map_err(|(_, error)| error)?;
    source.execute_batch("COMMIT")?;
    inspect(to)
}

/// Counts what is in a copy.
pub fn inspect(path: &Path) -> Result<Facts> {
    let connection = open_still(path)?;
    let count = |sql: &str| -> Result<BTreeMap<String, u64>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    let names = count(
        "SELECT name, 0 FROM sqlite_schema
         WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'location\\_%' ESCAPE '\\'",
    )?;
    let mut tables = BTreeMap::new();
    for name in names.into_keys() {
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        let rows = connection.query_row(&sql, [], |row| row.get(0))?;
        tables.insert(name, rows);
    }
    let types = match tables.contains_key("objects") {
        true => count("SELECT type, count(*) FROM objects GROUP BY type")?,
        false => BTreeMap::new(),
    };
    Ok(Facts {
        format: format_of(&connection)?,
        tables,
        types,
    })
}

/// Looks whether a copy is sound: every page of it, every index, every reference. Says what is wrong.
pub fn check(path: &Path, kind: DatabaseKind) -> Result<()> {
    let connection = open_still(path)?;
    let (found, known) = (format_of(&connection)?, kind.schema().steps.len());
    if found > known {
        return Err(Error::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return Err(damaged(path, &said));
    }
    let dangling: Option<String> = connection
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .optional()?;
    match dangling {
        None => Ok(()),
        Some(table) => Err(damaged(
            path,
            &format!("a row of {table} refers to one that is missing"),
        )),
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    DomainError::bad_request(format!("the database `{name}` is damaged: {why}")).into()
}

/// Takes from a backend's file that came from elsewhere what we do not need, and refuses it when there is anything else
/// than the tables that we would have made.
fn check_stranger(path: &Path) -> Result<()> {
    check(path, DatabaseKind::Backend)?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    crate::query::register(&connection)?;
    // One that is alone needs no files beside its own, and none may stay beside the name that it has now.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    for (kind, sql) in [
        ("TRIGGER", "type = 'trigger' AND name GLOB 'location_*'"),
        (
            "TABLE",
            "type = 'table' AND name GLOB 'location_*' AND sql LIKE 'CREATE VIRTUAL TABLE % USING rtree %'",
        ),
        ("INDEX", "type = 'index' AND name GLOB 'property_*'"),
    ] {
        let names: Vec<String> = connection
            .prepare(&format!("SELECT name FROM sqlite_schema WHERE {sql}"))?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in names {
            let name = name.replace('"', "\"\"");
            connection.execute_batch(&format!("DROP {kind} \"{name}\""))?;
        }
    }
    let found = format_of(&connection)?;
    let ours = Connection::open_in_memory()?;
    let schema = DatabaseKind::Backend.schema();
    let steps = Schema {
        steps: schema.steps.get(..found).unwrap_or(schema.steps),
    };
    migrate(&ours, path, &steps)?;
    if found == 0 || shape_of(&connection)? != shape_of(&ours)? {
        return Err(DomainError::bad_request(
            "the database in the archive has other tables than those of a backend",
        )
        .into());
    }
    forget_derived(&connection)
}

/// What stands in a file and follows from the rest of it is not taken on trust: it is made anew.
fn forget_derived(connection: &Connection) -> Result<()> {
    let has = |table: &str| connection.table_exists(None, table);
    if has("schema_stamp")? {
        connection.execute("UPDATE schema_stamp SET stamp = random()", [])?;
    }
    if has("indexes")? {
        connection.execute_batch(
            "DELETE FROM index_keys; DELETE FROM index_touched;
             UPDATE indexes SET state = 'building', pass = NULL, filled = 0, total = 0 WHERE state = 'ready'",
        )?;
    }
    Ok(())
}

/// An entry of SQLite's own table of tables: type, name, table, and the text that made it.
type Entry = (String, String, String, Option<String>);

/// All that a file can hold beside rows.
fn shape_of(connection: &Connection) -> Result<Vec<Entry>> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')
             AND sql LIKE 'CREATE TABLE sqlite_stat_(%')
         ORDER BY type, name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The blobs that a copy of a backend's file names as the bytes of files.
pub fn used_blobs_in(copy: &Path) -> Result<Vec<pilvi_model::Blob>> {
    backend::used_blobs_in(&open_still(copy)?)
}

/// The instances in a copy of `pilvi.db` that have something to be copied: those that there are, and those that were
/// deleted and can still be brought back.
pub fn instances_in(copy: &Path) -> Result<Vec<Instance>> {
    platform::instances_in(&open_still(copy)?)
}

/// Corrects a copy of `pilvi.db`: this instance was removed while the copy was made. The server that runs on the copy
/// clears the rest away when it starts.
pub fn mark_removed_in(copy: &Path, id: &str) -> Result<()> {
    platform::mark_removed(&open_alone(copy)?, id)
}

/// Notes in a copy of `pilvi.db` which of its backends have webhooks. A webhook may be younger than the copy.
pub fn note_webhooks_in(copy: &Path, backends: &[BackendId]) -> Result<()> {
    platform::note_webhooks(&open_alone(copy)?, backends)
}

/// Opens a file that nobody writes to and that has nothing beside it.
fn open_still(path: &Path) -> Result<Connection> {
    let fail = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open_with_flags(
        still_uri(path),
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(fail)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .map_err(fail)?;
    // Indexes may use functions of ours.
    crate::query::register(&connection).map_err(fail)?;
    Ok(connection)
}

/// Opens a file that nobody else has open, leaving nothing beside it.
fn open_alone(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(connection)
}

fn still_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests;
