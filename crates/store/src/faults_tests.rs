//! What the store does when the disk, a file or an operation lets it down.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use futures_util::future::{join, join_all};
use pilvi_model::query::Filter;
use pilvi_model::{
    Asker, BackendId, Error as DomainError, Kind, Object, ObjectId, ObjectType, Properties,
    RequestId, Timestamp,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::backend::{Author, Written};
use crate::migrate::Schema;
use crate::{Backend, Database, Limits, Pool, Reserve, Result, Store};

static NUMBERS: Schema = Schema {
    steps: &["CREATE TABLE numbers (n INTEGER PRIMARY KEY, more TEXT); \
         CREATE TABLE references_ (n INTEGER REFERENCES numbers (n))"],
};

/// A table of numbers in a file of its own.
struct Numbers {
    database: Database,
    pool: Pool,
    path: PathBuf,
    _folder: TempDir,
}

impl Numbers {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::start(limits).unwrap();
        let path = folder.path().join("numbers.db");
        let made = pool.database(path.clone(), &NUMBERS, true);
        made.write_when_low(|_| Ok(())).await.unwrap();
        Self {
            database: pool.database(path.clone(), &NUMBERS, false),
            pool,
            path,
            _folder: folder,
        }
    }

    fn insert(&self, n: i64) -> impl Future<Output = pilvi_model::Result<()>> {
        let database = self.database.clone();
        async move {
            database
                .write(move |connection| insert(connection, n))
                .await
        }
    }

    async fn all(&self) -> Vec<i64> {
        let read = self.database.read(|connection| {
            let mut statement = connection.prepare("SELECT n FROM numbers ORDER BY n")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        });
        read.await.unwrap()
    }

    /// Runs futures whose writes share one transaction: the writer is held up until all of them are queued.
    async fn together<T>(&self, writes: Vec<impl Future<Output = T>>) -> Vec<T> {
        let (begin, begun) = oneshot::channel();
        let (release, held) = sync_channel::<()>(0);
        let holding = self.database.write(move |_| {
            let _ = begin.send(());
            let _ = held.recv();
            Ok(())
        });
        let meanwhile = async {
            begun.await.unwrap();
            // Polled in this order: the holder is let go when all are queued.
            join(join_all(writes), async { drop(release) }).await.0
        };
        join(holding, meanwhile).await.1
    }
}

fn insert(connection: &Connection, n: i64) -> Result<()> {
    connection.execute("INSERT INTO numbers (n) VALUES (?)", [n])?;
    Ok(())
}

type Write = std::pin::Pin<Box<dyn Future<Output = pilvi_model::Result<()>>>>;

fn boxed<F>(database: &Database, operation: F) -> Write
where
    F: FnOnce(&Connection) -> Result<()> + Send + 'static,
{
    let database = database.clone();
    Box::pin(async move { database.write(operation).await })
}

fn kinds(results: &[pilvi_model::Result<()>]) -> Vec<Option<Kind>> {
    let kind = |result: &pilvi_model::Result<()>| result.as_ref().err().map(|error| error.kind);
    results.iter().map(kind).collect()
}

#[tokio::test]
async fn writes_that_wait_share_one_commit() {
    // Few enough for tokio to let one task queue all of them in one go.
    const WRITES: i64 = 40;
    let numbers = Numbers::new().await;
    let before = numbers.pool.write_counts();
    let results = numbers
        .together((0..WRITES).map(|n| numbers.insert(n)).collect())
        .await;
    assert!(results.iter().all(Result::is_ok));
    let after = numbers.pool.write_counts();
    // One for the operation that held the writer up, one for all of them.
    assert_eq!(after.commits - before.commits, 2);
    assert_eq!(after.operations - before.operations, 1 + 40);
}

#[tokio::test]
async fn an_operation_that_fails_or_panics_takes_no_other_with_it() {
    let numbers = Numbers::new().await;
    let database = &numbers.database;
    let results = numbers
        .together(vec![
            boxed(database, |connection| insert(connection, 1)),
            boxed(database, |connection| {
                insert(connection, 2)?;
                Err(DomainError::conflict("on purpose").into())
            }),
            boxed(database, |connection| {
                insert(connection, 3)?;
                panic!("on purpose")
            }),
            boxed(database, |connection| insert(connection, 1)),
            boxed(database, |connection| insert(connection, 4)),
        ])
        .await;
    let (conflict, internal) = (Some(Kind::Conflict), Some(Kind::Internal));
    assert_eq!(kinds(&results), [None, conflict, internal, internal, None]);
    assert_eq!(numbers.all().await, [1, 4]);
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_every_caller() {
    let numbers = Numbers::new().await;
    let database = &numbers.database;
    let results = numbers
        .together(vec![
            boxed(database, |connection| insert(connection, 1)),
            // A deferred constraint is looked at by the commit alone.
            boxed(database, |connection| {
                connection.execute_batch("PRAGMA defer_foreign_keys = ON")?;
                connection.execute("INSERT INTO references_ VALUES (404)", [])?;
                Ok(())
            }),
            boxed(
                database,
                |_| Err(DomainError::conflict("on purpose").into()),
            ),
            boxed(database, |connection| insert(connection, 2)),
        ])
        .await;
    let not_now = Some(Kind::Unavailable);
    // Who broke a rule hears of that: trying again would not help.
    let expected = [not_now, not_now, Some(Kind::Conflict), not_now];
    assert_eq!(kinds(&results), expected);
    assert!(
        results[0]
            .as_ref()
            .unwrap_err()
            .message
            .contains("try it again")
    );
    assert!(numbers.all().await.is_empty());
    numbers.insert(3).await.unwrap();
    assert_eq!(numbers.all().await, [3]);
}

#[tokio::test]
async fn every_commit_waits_for_the_disk() {
    let numbers = Numbers::new().await;
    let settings = numbers.database.write(|connection| {
        let ask = |name: &str| {
            connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        Ok((ask("journal_mode")?, ask("synchronous")?))
    });
    let full = rusqlite::types::Value::Integer(2);
    assert_eq!(settings.await.unwrap(), ("wal".to_owned().into(), full));
}

#[tokio::test]
async fn a_full_disk_is_told_to_every_caller_and_ends_with_its_cause() {
    let numbers = Numbers::new().await;
    let database = &numbers.database;
    // SQLite says the same when the file may not grow as when the disk is full.
    let limit = |pages: u32| {
        numbers.database.write(move |connection| {
            connection.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let large = |n: i64| {
        boxed(database, move |connection| {
            let more = "x".repeat(100_000);
            connection.execute("INSERT INTO numbers VALUES (?, ?)", (n, more))?;
            Ok(())
        })
    };
    let results = numbers
        .together(vec![numbers_insert(&numbers, 1), large(2), large(3)])
        .await;
    for result in &results[1..] {
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message.contains("disk is full"), "{error}");
    }
    let acknowledged: Vec<i64> = results[0].iter().map(|()| 1).collect();
    assert_eq!(numbers.all().await, acknowledged);

    limit(1_000_000).await.unwrap();
    let results = numbers.together(vec![large(5), large(6)]).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(numbers.all().await.ends_with(&[5, 6]));
}

fn numbers_insert(numbers: &Numbers, n: i64) -> Write {
    boxed(&numbers.database, move |connection| insert(connection, n))
}

#[tokio::test]
async fn below_the_reserve_only_what_frees_space_is_written() {
    let everything = Reserve {
        bytes: u64::MAX,
        percent: u8::MAX,
    };
    let limits = Limits {
        disk_reserve: everything,
        ..Limits::default()
    };
    let numbers = Numbers::with(limits).await;
    let refused = numbers.insert(1).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.message.contains("nearly full"), "{refused}");
    let write = numbers
        .database
        .write_when_low(|connection| insert(connection, 2));
    write.await.unwrap();
    assert_eq!(numbers.all().await, [2]);
}

#[tokio::test]
async fn a_file_that_is_deleted_takes_no_more_writes_until_it_is_back() {
    let numbers = Numbers::new().await;
    numbers.insert(1).await.unwrap();
    assert_eq!(numbers.all().await, [1]);
    numbers.database.close().await.unwrap();
    let copy = numbers.path.with_extension("copy");
    fs::copy(&numbers.path, &copy).unwrap();
    numbers.insert(2).await.unwrap();

    fs::remove_file(&numbers.path).unwrap();
    for _ in 0..2 {
        let refused = numbers.insert(3).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(refused.message.contains("missing"), "{refused}");
        let unread = numbers.database.read(|_| Ok(())).await.unwrap_err();
        assert_eq!(unread.message, refused.message);
        assert!(!numbers.path.exists(), "no empty file takes its place");
    }

    for suffix in ["-wal", "-shm"] {
        let mut left = numbers.path.clone().into_os_string();
        left.push(suffix);
        let _ = fs::remove_file(left);
    }
    fs::rename(&copy, &numbers.path).unwrap();
    assert_eq!(numbers.all().await, [1]);
    numbers.insert(4).await.unwrap();
    assert_eq!(numbers.all().await, [1, 4]);
}

#[tokio::test]
async fn a_read_of_an_older_file_finds_the_newest_format() {
    static NEWER: Schema = Schema {
        steps: &[
            NUMBERS.steps[0],
            "ALTER TABLE numbers ADD COLUMN extra TEXT DEFAULT 'new'",
        ],
    };
    let numbers = Numbers::new().await;
    numbers.insert(1).await.unwrap();
    numbers.database.close().await.unwrap();
    let newer = numbers.pool.database(numbers.path.clone(), &NEWER, false);
    let extra = newer.read(|connection| {
        Ok(
            connection.query_row("SELECT extra FROM numbers", [], |row| {
                row.get::<_, String>(0)
            })?,
        )
    });
    assert_eq!(extra.await.unwrap(), "new");
}

/// A store with two backends, of which the first is to be harmed.
struct World {
    store: Store,
    harmed: Backend,
    sound: Backend,
    file: PathBuf,
    folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let ids: [BackendId; 2] = [1, 2].map(|number| ObjectId::from_bytes([number; 12]));
    for id in ids {
        store.create_backend(id).await.unwrap();
    }
    World {
        harmed: store.backend(ids[0]),
        sound: store.backend(ids[1]),
        file: folder.path().join(format!("eds/{}.db", ids[0])),
        store,
        folder,
    }
}

fn todos() -> ObjectType {
    ObjectType::custom("todos").unwrap()
}

async fn create(backend: &Backend, number: u16) -> pilvi_model::Result<Written> {
    let [high, low] = number.to_be_bytes();
    let mut id = [0; 12];
    id[..2].copy_from_slice(&[high, low]);
    let now = Timestamp::from_millis(1_000_000);
    let properties = Properties::from_json(json!({"title": "A"})).unwrap();
    let object = Object::create(ObjectId::from_bytes(id), todos(), now, &properties);
    let author = Author {
        asker: Asker::Admin,
        request: RequestId::from_bytes([7; 16]),
        at: now,
    };
    backend.insert_object(object, author).await
}

async fn count(backend: &Backend) -> pilvi_model::Result<u64> {
    backend
        .count_objects(Asker::Admin, todos(), Filter::default())
        .await
}

#[tokio::test]
async fn a_damaged_file_is_a_clear_error_of_its_backend_alone() {
    let garbage: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    for content in [&garbage[..], b"", b"SQLite format 3\0and no more"] {
        let world = world().await;
        create(&world.harmed, 1).await.unwrap();
        world.harmed.close().await.unwrap();
        let (harmed, sound) = (&world.harmed, &world.sound);
        let intact = fs::read(&world.file).unwrap();
        fs::write(&world.file, content).unwrap();

        let errors = [
            create(harmed, 2).await.map(drop).unwrap_err(),
            count(harmed).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, Kind::Unavailable);
            assert!(error.message.contains("damaged"), "{error}");
            let cause = std::error::Error::source(&error).map(causes).unwrap();
            assert!(
                cause.contains(&harmed.id.to_string()),
                "the log names it: {cause}"
            );
        }
        let untouched = fs::read(&world.file).unwrap() == content;
        assert!(untouched, "nothing is written over it");
        create(sound, 2).await.unwrap();
        assert_eq!(count(sound).await.unwrap(), 1);

        fs::write(&world.file, intact).unwrap();
        assert_eq!(count(harmed).await.unwrap(), 1);
        create(harmed, 2).await.unwrap();
        assert_eq!(count(harmed).await.unwrap(), 2);
    }
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn a_deleted_platform_is_not_replaced_by_an_empty_one() {
    let world = world().await;
    let file = world.folder.path().join("pilvi.db");
    fs::remove_file(&file).unwrap();
    let refused = world.store.note_webhooks_of(world.harmed.id).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Unavailable);
    assert!(!file.exists());
    create(&world.harmed, 1).await.unwrap();
}

#[tokio::test]
async fn thirty_two_writers_share_commits() {
    const WRITERS: u16 = 32;
    const EACH: u16 = 25;
    let world = world().await;
    let before = world.store.write_counts();
    let writers = (0..WRITERS).map(|writer| {
        let backend = world.harmed.clone();
        Box::pin(async move {
            for number in 0..EACH {
                create(&backend, writer * EACH + number).await.unwrap();
            }
        })
    });
    join_all(writers).await;
    let after = world.store.write_counts();
    let operations = after.operations - before.operations;
    let commits = after.commits - before.commits;
    assert_eq!(operations, u64::from(WRITERS * EACH));
    println!("{operations} writes by {WRITERS} writers in {commits} commits");
    assert!(
        commits * 4 <= operations,
        "{commits} commits for {operations} writes"
    );
}
