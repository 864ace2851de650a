//! Where reads run, and how many connections rest.

use std::sync::atomic::AtomicUsize;
use std::thread::ThreadId;

use tempfile::TempDir;

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
