//! The databases of a server that does not run, seen through copies, so that the next start finds what the last left.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use pilvi_e2e::collector::Told;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// So many of the newest settled deliveries are certainly still in the log.
const IN_LOG: i64 = 500;

/// One row of the outbox.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) event: String,
    pub(crate) object: String,
    pub(crate) document: Value,
}

/// Expects every database below the folder to be sound.
#[track_caller]
pub(crate) fn expect_sound(data: &Path) {
    let mut files = vec![data.join("pilvi.db")];
    let backends = fs::read_dir(data.join("eds")).unwrap();
    files.extend(backends.map(|entry| entry.unwrap().path()));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    assert!(files.len() > 1, "no backend has a file");
    for file in &files {
        let (connection, _copy) = open_copy(file);
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok", "{}", file.display());
        let dangling = connection
            .prepare("PRAGMA foreign_key_check")
            .unwrap()
            .exists([])
            .unwrap();
        assert!(!dangling, "{} has dangling references", file.display());
    }
}

/// Expects the outbox of a backend to tell exactly how its objects came to be what they are, and every change to have
/// a delivery for each webhook. Returns the outbox.
#[track_caller]
pub(crate) fn expect_whole(data: &Path, backend: &str, webhooks: &[String]) -> Vec<Row> {
    let (connection, _copy) = open_copy(&file_of(data, backend));
    let outbox = outbox(&connection);
    let mut replayed = BTreeMap::new();
    for row in &outbox {
        let before = match row.event.as_str() {
            "delete" => replayed.remove(&row.object),
            _ => replayed.insert(row.object.clone(), row.document.clone()),
        };
        let is_new = row.event == "create";
        assert_eq!(before.is_none(), is_new, "{row:?} after {before:?}");
        if row.event == "delete" {
            assert_eq!(before.as_ref(), Some(&row.document), "{row:?}");
        }
    }
    let stored = texts(&connection, "SELECT id, doc FROM objects");
    assert_eq!(
        stored, replayed,
        "the outbox tells another story than the objects"
    );

    let newest = outbox.last().map_or(0, |row| row.seq);
    for webhook in webhooks {
        let missing: i64 = connection
            .query_row(
                "SELECT count(*) FROM outbox WHERE seq > ?1 AND NOT EXISTS \
                     (SELECT 1 FROM deliveries WHERE webhook = ?2 AND outbox = outbox.seq)",
                (newest - IN_LOG, webhook),
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(
            missing, 0,
            "changes without a delivery for webhook {webhook}"
        );
    }
    outbox
}

/// Expects nothing to be left to deliver, and nothing to be given up.
#[track_caller]
pub(crate) fn expect_all_delivered(data: &Path, backend: &str) {
    let (connection, _copy) = open_copy(&file_of(data, backend));
    let left: i64 = connection
        .query_row(
            "SELECT count(*) FROM deliveries WHERE state <> 'delivered'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0, "deliveries of {backend} that were not made");
}

/// Expects the collector to have heard of every change of a backend: each under one id, with one content, and those
/// of one object in order.
#[track_caller]
pub(crate) fn expect_told(told: &[Told], path: &str, webhook: &str, outbox: &[Row]) {
    let mut first: HashMap<&str, &Told> = HashMap::new();
    let mut newest_of: HashMap<&str, i64> = HashMap::new();
    let rows: HashMap<i64, &Row> = outbox.iter().map(|row| (row.seq, row)).collect();
    for one in told.iter().filter(|one| one.path == path) {
        let seq = one
            .delivery
            .strip_prefix(&format!("{webhook}-"))
            .and_then(|seq| seq.parse().ok())
            .unwrap_or_else(|| panic!("{} is no delivery of {webhook}", one.delivery));
        let row = rows
            .get(&seq)
            .unwrap_or_else(|| panic!("{} was told, and is in no outbox", one.delivery));
        assert_eq!((&one.event, &one.object), (&row.event, &row.document));
        if first.insert(&one.delivery, one).is_none() {
            let before = newest_of.insert(&row.object, seq);
            assert!(before < Some(seq), "{} came after {before:?}", one.delivery);
        }
    }
    let untold: Vec<i64> = rows
        .keys()
        .filter(|seq| !first.contains_key(&*format!("{webhook}-{seq}")))
        .copied()
        .collect();
    assert!(untold.is_empty(), "{path} was never told of {untold:?}");
}

fn outbox(connection: &Connection) -> Vec<Row> {
    let mut statement = connection
        .prepare("SELECT seq, event, object, doc FROM outbox ORDER BY seq")
        .unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Row {
            seq: row.get(0)?,
            event: row.get(1)?,
            object: row.get(2)?,
            document: json(&row.get::<_, String>(3)?),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn texts(connection: &Connection, sql: &str) -> BTreeMap<String, Value> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    rows.unwrap()
        .map(|row| row.map(|(id, text)| (id, json(&text))).unwrap())
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn file_of(data: &Path, backend: &str) -> PathBuf {
    data.join("eds").join(format!("{backend}.db"))
}

/// A copy of a database with what was not yet moved out of its write-ahead log.
fn open_copy(file: &Path) -> (Connection, TempDir) {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("copy.db");
    fs::copy(file, &copy).unwrap();
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        fs::copy(log, folder.path().join("copy.db-wal")).unwrap();
    }
    (Connection::open(copy).unwrap(), folder)
}
