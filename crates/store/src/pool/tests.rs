//! Where reads run, and how many connections rest.

use std::sync::atomic::AtomicUsize;
use std::thread::ThreadId;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

static NUMBERS: Schema = Schema {
    steps: &["CREATE TABLE numbers (n INTEGER)"],
};

/// Takes many times as long as a glance may.
const LONG: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) \
     SELECT max(i) FROM n";

/// An empty file that was read once, so that a connection rests, and that counts what is run on it.
struct Counted {
    database: Database,
    runs: Arc<AtomicUsize>,
    _folder: TempDir,
}

impl Counted {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::start(Limits::default()).unwrap();
        let database = pool.database(folder.path().join("numbers.db"), &NUMBERS, true);
        database.write(|_| Ok(())).await.unwrap();
        let counted = Self {
            database,
            runs: Arc::default(),
            _folder: folder,
        };
        assert!(!counted.is_here().await, "there was no connection yet");
        counted
    }

    /// Runs a query. Says on which threads it ran, and what came of it.
    async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> (Vec<ThreadId>, pilvi_model::Result<T>) {
        let threads: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        let (runs, seen) = (Arc::clone(&self.runs), Arc::clone(&threads));
        let read = self.database.read(move |connection| {
            runs.fetch_add(1, Ordering::Relaxed);
            seen.lock().unwrap().push(std::thread::current().id());
            query(connection)
        });
        let answer = read.await;
        let threads = std::mem::take(&mut *threads.lock().unwrap());
        (threads, answer)
    }

    /// Whether a short read runs on the thread of its caller. It never runs twice.
    async fn is_here(&self) -> bool {
        let (threads, answer) = self.read(|connection| ask(connection, "SELECT 7")).await;
        assert_eq!(answer.unwrap(), 7);
        let [thread] = threads[..] else {
            panic!("a short read ran {} times", threads.len());
        };
        thread == std::thread::current().id()
    }

    async fn check_detour(&self) {
        for number in 0..DETOUR {
            assert!(!self.is_here().await, "read {number} of the detour");
        }
        assert!(self.is_here().await, "the detour has an end");
    }

    fn resting(&self) -> usize {
        self.database.pool.0.idle_readers.lock().count
    }
}

fn ask(connection: &Connection, sql: &str) -> Result<i64> {
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

#[tokio::test]
async fn a_short_read_runs_where_it_is_asked_for() {
    let counted = Counted::new().await;
    assert!(counted.is_here().await);
    assert_eq!(counted.resting(), 1, "both shared one connection");
}

#[tokio::test]
async fn a_read_that_needs_more_than_a_glance_is_repeated_elsewhere() {
    let counted = Counted::new().await;
    let here = std::thread::current().id();
    let (threads, answer) = counted.read(|connection| ask(connection, LONG)).await;
    assert_eq!(answer.unwrap(), 400_000);
    assert_eq!(threads.len(), 2);
    assert_eq!(threads[0], here);
    assert_ne!(threads[1], here);
    counted.check_detour().await;
    assert_eq!(counted.resting(), 1);
}

#[tokio::test]
async fn a_glance_that_was_late_but_has_its_answer_is_not_repeated() {
    let counted = Counted::new().await;
    let late = |connection: &Connection| {
        let started = Instant::now();
        while started.elapsed() <= GLANCE {
            std::hint::spin_loop();
        }
        ask(connection, "SELECT 8")
    };
    let (threads, answer) = counted.read(late).await;
    assert_eq!(answer.unwrap(), 8);
    assert_eq!(threads, [std::thread::current().id()]);
    counted.check_detour().await;
}

#[tokio::test]
async fn a_read_that_fails_is_not_repeated() {
    let counted = Counted::new().await;
    let refused =
        |_: &Connection| -> Result<()> { Err(pilvi_model::Error::not_found("nothing").into()) };
    let (threads, answer) = counted.read(refused).await;
    assert_eq!(answer.unwrap_err().kind, pilvi_model::Kind::NotFound);
    assert_eq!(threads, [std::thread::current().id()]);
}

#[tokio::test]
async fn each_detour_is_that_of_one_file() {
    let slow = Counted::new().await;
    let path = slow.database.file.path.with_file_name("other.db");
    let other = slow.database.pool.database(path, &NUMBERS, true);
    other.write(|_| Ok(())).await.unwrap();
    let here = std::thread::current().id();
    let is_here = async || {
        let read = other.read(|_| Ok(std::thread::current().id()));
        read.await.unwrap() == here
    };
    assert!(!is_here().await, "there was no connection yet");
    let (_, answer) = slow.read(|connection| ask(connection, LONG)).await;
    assert_eq!(answer.unwrap(), 400_000);
    assert!(is_here().await);
    assert!(!slow.is_here().await);
}

/// Files in a folder, and connections to them that read.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn reader(&self, name: &str) -> Reader {
        let file = File::new(self.path(name), &NUMBERS, true);
        open_writer(&file).unwrap();
        Reader::new(open_reader(&file).unwrap(), &file.path).unwrap()
    }

    /// How many are given back.
    fn keep(&self, readers: &IdleReaders, name: &str) -> usize {
        readers.keep(&self.path(name), self.reader(name), 0).len()
    }
}

#[test]
fn one_file_keeps_few_readers() {
    let files = Files::new();
    let readers = IdleReaders::new(NonZeroUsize::new(100).unwrap());
    for _ in 0..IDLE_READERS_MAX {
        assert_eq!(files.keep(&readers, "a"), 0);
    }
    assert_eq!(files.keep(&readers, "a"), 1, "there is no room");
    assert_eq!(readers.lock().count, IDLE_READERS_MAX);
    for _ in 0..IDLE_READERS_MAX {
        assert!(readers.take(&files.path("a"), Patience::Much).is_some());
    }
    assert!(readers.take(&files.path("a"), Patience::Much).is_none());
    assert_eq!(readers.lock().count, 0);
}

#[test]
fn beyond_the_bound_the_files_unused_for_longest_keep_none() {
    let files = Files::new();
    let readers = IdleReaders::new(NonZeroUsize::new(3).unwrap());
    for name in ["a", "a", "b"] {
        assert_eq!(files.keep(&readers, name), 0);
    }
    assert_eq!(files.keep(&readers, "c"), 2, "both of the first file");
    assert_eq!(readers.lock().count, 2);
    assert!(readers.take(&files.path("a"), Patience::Much).is_none());

    let used = readers.take(&files.path("b"), Patience::Much).unwrap();
    assert!(readers.keep(&files.path("b"), used, 0).is_empty());
    assert_eq!(files.keep(&readers, "d"), 0);
    assert_eq!(files.keep(&readers, "e"), 1);
    assert!(readers.take(&files.path("c"), Patience::Much).is_none());
    assert!(readers.take(&files.path("b"), Patience::Much).is_some());
}

#[test]
fn a_reader_of_a_file_that_was_replaced_is_not_used_for_long() {
    let files = Files::new();
    let readers = IdleReaders::new(NonZeroUsize::new(9).unwrap());
    assert_eq!(files.keep(&readers, "a"), 0);
    assert_eq!(files.keep(&readers, "a"), 0);
    files.reader("b");
    std::fs::rename(files.path("b"), files.path("a")).unwrap();
    let long_ago = Instant::now().checked_sub(TRUSTED_FOR).unwrap();
    let path = files.path("a");
    readers.lock().files.get_mut(&path).unwrap().looked_at = long_ago;
    assert!(readers.take(&path, Patience::Much).is_none());
    assert_eq!(readers.lock().count, 0, "the others are closed as well");
}

/// A file whose reads last until they are let go.
struct Held {
    database: Database,
    let_go: Arc<std::sync::Barrier>,
}

impl Held {
    /// Begins as many long reads as the file may have threads.
    async fn all_threads(pool: &Pool, folder: &TempDir, name: &str) -> (Self, JoinSet<()>) {
        let database = pool.database(folder.path().join(name), &NUMBERS, true);
        database.write(|_| Ok(())).await.unwrap();
        let each = pool.0.limits.reads_each;
        let held = Self {
            database,
            let_go: Arc::new(std::sync::Barrier::new(each + 1)),
        };
        let mut reads = JoinSet::new();
        for _ in 0..each {
            let (database, let_go) = (held.database.clone(), Arc::clone(&held.let_go));
            reads.spawn(async move {
                // The connection does not exist yet, so no read is tried where it is asked for.
                let read = database.read(move |_| {
                    let_go.wait();
                    Ok(())
                });
                read.await.unwrap();
            });
        }
        while pool.0.reads.taken() < each {
            tokio::task::yield_now().await;
        }
        (held, reads)
    }
}

#[tokio::test]
async fn long_reads_of_one_file_leave_threads_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        reads_max: 4,
        reads_each: 2,
        waiting_each: 1,
        ..Limits::default()
    };
    let pool = Pool::start(limits).unwrap();
    let quiet = pool.database(folder.path().join("quiet.db"), &NUMBERS, true);
    quiet.write(|_| Ok(())).await.unwrap();
    let (flooded, mut reads) = Held::all_threads(&pool, &folder, "flooded.db").await;

    let mut waiting = Box::pin(flooded.database.read(|_| Ok(())));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let refused = flooded.database.read(|_| Ok(())).await.unwrap_err();
    assert_eq!(refused.kind, pilvi_model::Kind::OverLimit);
    quiet.read(|_| Ok(())).await.unwrap();

    flooded.let_go.wait();
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
    waiting.await.unwrap();
}

#[tokio::test]
async fn writes_into_one_file_are_queued_up_to_a_bound_and_then_wait_and_then_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        writes_each: 3,
        waiting_each: 1,
        ..Limits::default()
    };
    let pool = Pool::start(limits).unwrap();
    let database = |name: &str| pool.database(folder.path().join(name), &NUMBERS, true);
    let (flooded, quiet) = (database("flooded.db"), database("quiet.db"));
    let (go_on, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Mutex::new(held);
    let mut writes: Vec<_> = (0..4)
        .map(|_| Box::pin(flooded.write(|_| Ok(()))))
        .collect();
    let mut first = Box::pin(flooded.write(move |_| {
        let _ = held.lock().unwrap().recv();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut first).is_pending());
    // It runs, so its turn is queued no more; three of these are queued, and one waits.
    while pool.0.writes.taken() > 1 {
        tokio::task::yield_now().await;
    }
    for write in &mut writes[..3] {
        assert!(futures_util::poll!(write).is_pending());
    }
    let refused = flooded.write(|_| Ok(())).await.unwrap_err();
    assert_eq!(refused.kind, pilvi_model::Kind::OverLimit);
    drop(go_on);
    first.await.unwrap();
    for write in writes {
        write.await.unwrap();
    }
    quiet.write(|_| Ok(())).await.unwrap();
    assert_eq!(pool.0.writes.taken(), 0);
}

#[tokio::test]
async fn a_file_takes_no_more_than_it_may_until_something_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::start(Limits::default()).unwrap();
    let path = folder.path().join("numbers.db");
    let database = pool.database(path.clone(), &NUMBERS, true);
    let fill = || {
        database.write(|connection| {
            connection.execute(
                "INSERT INTO numbers WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                 WHERE i < 200000) SELECT i FROM n",
                [],
            )?;
            Ok(())
        })
    };
    fill().await.unwrap();
    let clean = || {
        // What is counted is in the file, and not in the log beside it.
        database.write_when_low(|_| Ok(()))
    };
    clean().await.unwrap();
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    pool.limit_file(path.clone(), Some(1 << 20));
    let refused = fill().await.unwrap_err();
    assert_eq!(refused.kind, pilvi_model::Kind::OverLimit);
    assert!(refused.message.contains("1 MB"), "{refused:?}");
    // What removes something passes, and then there is room in the file, though it is as long as before.
    let delete =
        database.write_when_low(|connection| Ok(connection.execute("DELETE FROM numbers", [])?));
    delete.await.unwrap();
    database
        .write(|connection| Ok(connection.execute("INSERT INTO numbers VALUES (1)", [])?))
        .await
        .unwrap();
    pool.limit_file(path, None);
    fill().await.unwrap();
}
