//! Copies under writes, and files that want to be taken for ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_model::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::Limits;

fn id(number: u8) -> BackendId {
    BackendId::from_bytes([number; 12])
}

async fn store() -> (Store, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("data"), Limits::default())
        .await
        .unwrap();
    store.create_backend(id(1)).await.unwrap();
    (store, folder)
}

/// Two rows of two tables in one transaction, so that a copy that is no single state shows.
fn pair(number: u64) -> impl FnOnce(&Connection) -> Result<()> + Send + 'static {
    move |connection| {
        let text = number.to_string();
        connection.execute(
            "INSERT INTO objects (type, id, created_at, updated_at, doc) VALUES ('objects.t', ?1, '', '', ?2)",
            [&text, &"x".repeat(2000)],
        )?;
        connection.execute(
            "INSERT INTO outbox (at, event, type, object, request, doc, bytes)
             VALUES (0, 'create', 'objects.t', ?1, '', '', 0)",
            [&text],
        )?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_writes_is_one_state_and_holds_all_that_was_acknowledged_before() {
    let (store, folder) = store().await;
    let database = store
        .folder
        .pool
        .database(store.backend_path(id(1)), &backend::SCHEMA, false);
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let tasks = TaskGroup::new();
    tasks.spawn("write", {
        let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                let many = (0..50).map(|_| {
                    number += 1;
                    database.write(pair(number))
                });
                for write in futures_util::future::join_all(many).await {
                    write.unwrap();
                    written.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    });
    for round in 0..10 {
        let enough = (round + 1) * 300;
        while written.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
        let before = written.load(Ordering::SeqCst);
        let to = folder.path().join(format!("copy-{round}.db"));
        let facts = store.copy_backend(id(1), to.clone()).await.unwrap();
        assert!(facts.tables["objects"] >= before, "{facts:?} {before}");
        assert_eq!(facts.tables["objects"], facts.tables["outbox"]);
        assert_eq!(facts.types["objects.t"], facts.tables["objects"]);
        check(&to, DatabaseKind::Backend).unwrap();
        assert_eq!(inspect(&to).unwrap(), facts);
    }
    stop.store(true, Ordering::SeqCst);
    assert!(tasks.drain(Duration::from_secs(60)).await);
    let beside = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(beside, 11, "a copy is one file");
}

#[tokio::test]
async fn a_copied_backend_works_under_another_id() {
    let (store, folder) = store().await;
    store
        .create_private_backend(id(2), Timestamp::from_millis(0))
        .await
        .unwrap();
    let to = folder.path().join("copy.db");
    let facts = store.copy_backend(id(2), to.clone()).await.unwrap();
    store.adopt_backend(id(3), to.clone()).await.unwrap();
    assert!(!to.exists());
    let again = folder.path().join("again.db");
    assert_eq!(
        store.copy_backend(id(3), again.clone()).await.unwrap(),
        facts
    );
    let taken = store.adopt_backend(id(3), again).await.unwrap_err();
    assert_eq!(taken.kind, pilvi_model::Kind::Conflict);
}

/// Objects of a backend, as a request sees them.
async fn objects(store: &Store, number: u8) -> u64 {
    let database = store.database_of(id(number));
    let count = "SELECT count(*) FROM objects";
    let read = database.read(|connection| Ok(connection.query_row(count, [], |row| row.get(0))?));
    read.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_takes_anothers_place_while_people_use_it() {
    let (store, folder) = store().await;
    for number in 0..3 {
        store.database_of(id(1)).write(pair(number)).await.unwrap();
    }
    let to = folder.path().join("copy.db");
    store.copy_backend(id(1), to.clone()).await.unwrap();
    store.adopt_backend(id(2), to).await.unwrap();
    store.database_of(id(2)).write(pair(100)).await.unwrap();
    let (stop, tasks) = (Arc::new(AtomicBool::new(false)), TaskGroup::new());
    tasks.spawn("write", {
        let (stop, store) = (Arc::clone(&stop), store.clone());
        async move {
            let mut number = 1000;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                // Whoever comes while the file is replaced may be sent away.
                let _ = store.database_of(id(1)).write(pair(number)).await;
            }
        }
    });
    while objects(&store, 1).await < 50 {
        tokio::task::yield_now().await;
    }
    store.replace_backend(id(1), id(2)).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    assert!(tasks.drain(Duration::from_secs(60)).await);
    let taken = store.database_of(id(1));
    let old: u64 = taken
        .read(|connection| {
            let sql = "SELECT count(*) FROM objects WHERE id IN ('0', '1', '2', '100')";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })
        .await
        .unwrap();
    assert_eq!(old, 4, "what was brought is all there");
    assert!(!store.backend_path(id(2)).exists());
    let last = folder.path().join("last.db");
    store.copy_backend(id(1), last.clone()).await.unwrap();
    check(&last, DatabaseKind::Backend).unwrap();
    // Again, over what was written since, and after that with nothing to take its place.
    let again = folder.path().join("again.db");
    store.copy_backend(id(1), again.clone()).await.unwrap();
    store.adopt_backend(id(2), again).await.unwrap();
    store.replace_backend(id(1), id(2)).await.unwrap();
    let count = objects(&store, 1).await;
    assert!(store.replace_backend(id(1), id(2)).await.is_err());
    assert_eq!(objects(&store, 1).await, count, "it stays as it was");
}

#[tokio::test]
async fn the_platform_is_copied_too() {
    let (store, folder) = store().await;
    let to = folder.path().join("copy.db");
    let facts = store.copy_platform(to.clone()).await.unwrap();
    assert_eq!(facts.tables["persons"], 0);
    check(&to, DatabaseKind::Platform).unwrap();
    assert!(instances_in(&to).unwrap().is_empty());
    mark_removed_in(&to, "nobody").unwrap();
    note_webhooks_in(&to, &[id(1)]).unwrap();
    assert_eq!(inspect(&to).unwrap(), facts);
}

#[tokio::test]
async fn what_would_run_with_our_rights_is_refused() {
    for wrong in [
        "CREATE TRIGGER t AFTER INSERT ON objects BEGIN DELETE FROM objects; END",
        "CREATE TRIGGER sqlite AFTER INSERT ON objects BEGIN DELETE FROM objects; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more (x)",
        "CREATE TABLE location_x (x)",
        "CREATE INDEX i ON objects (doc)",
        "DROP TABLE members; CREATE VIEW members AS SELECT '' usergroup, '' user",
        "DROP TABLE users; CREATE TABLE users (id, username)",
        "DROP INDEX objects_by_id",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 99",
        "PRAGMA writable_schema = 1; \
         INSERT INTO sqlite_schema VALUES ('trigger', 'sqlite_stat1', 'objects', 0, \
             'CREATE TRIGGER sqlite_stat1 AFTER INSERT ON objects BEGIN DELETE FROM objects; END')",
    ] {
        let (store, folder) = store().await;
        let to = folder.path().join("copy.db");
        store.copy_backend(id(1), to.clone()).await.unwrap();
        Connection::open(&to).unwrap().execute_batch(wrong).unwrap();
        let refused = store.adopt_backend(id(3), to).await;
        assert!(refused.is_err(), "{wrong}");
        assert!(!store.backend_path(id(3)).exists());
    }
}

#[tokio::test]
async fn indexes_that_came_by_themselves_stay_behind() {
    let (store, folder) = store().await;
    let to = folder.path().join("copy.db");
    store.copy_backend(id(1), to.clone()).await.unwrap();
    Connection::open(&to)
        .unwrap()
        .execute_batch(
            "CREATE INDEX property_1 ON objects (type, doc, id);
             CREATE VIRTUAL TABLE location_1 USING rtree (id, west, east, south, north);
             CREATE TRIGGER location_1_insert AFTER INSERT ON objects BEGIN DELETE FROM location_1; END;
             ANALYZE",
        )
        .unwrap();
    store.adopt_backend(id(3), to).await.unwrap();
}

#[tokio::test]
async fn a_damaged_copy_is_found() {
    let (store, folder) = store().await;
    let to = folder.path().join("copy.db");
    store.copy_backend(id(1), to.clone()).await.unwrap();
    let whole = fs::read(&to).unwrap();
    for (name, bytes) in [
        ("short", &whole[..whole.len() / 2]),
        ("empty", &[][..]),
        ("text", &b"hello"[..]),
        ("zeros", &[0; 8192]),
    ] {
        fs::write(&to, bytes).unwrap();
        assert!(
            store.adopt_backend(id(3), to.clone()).await.is_err(),
            "{name}"
        );
    }
    let mut changed = whole.clone();
    for byte in &mut changed[4096..8192] {
        *byte ^= 0x55;
    }
    fs::write(&to, changed).unwrap();
    assert!(store.adopt_backend(id(3), to).await.is_err());
}
