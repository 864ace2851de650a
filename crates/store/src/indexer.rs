//! The thread that works on indexes in the background, on one file at a time and at low priority.
//!
//! It holds nothing open: everything it does goes through the readers and the writer of the file, like everybody's
//! reads and writes, and in between it looks whether anybody still wants it. What has to be done stands in the file, so
//! nothing is lost when it ends early; whoever uses the file next sends it back to work.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use pilvi_base::Clock;
use pilvi_model::Timestamp;
use rusqlite::Connection;

use crate::backend::{
    IndexSighting, IndexWish, make_wished_index, record_slow_query, work_on_indexes,
};
use crate::error::{Error, Result};
use crate::pool::{Database, DatabaseRef};

/// Files that wait for the thread.
const QUEUE_MAX: usize = 1024;
/// After a failure a file is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// So often one form of slow queries is written down, and the use of one index.
const RECORD_EVERY: Duration = Duration::from_secs(2);
const USE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Forms of queries, and indexes, about which it is remembered when they were last written down.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// How much lower than that of others the thread's priority is.
const NICENESS: i32 = 10;

struct Job {
    file: DatabaseRef,
    wish: Option<IndexWish>,
}

/// The way to the thread. It ends when this is gone.
pub(crate) struct Indexer {
    jobs: SyncSender<Job>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Files that wait or are worked on, and those that are left alone until then.
    files: HashMap<PathBuf, Option<Instant>>,
    /// What was seen of slow queries and not written down yet.
    slow: LruCache<(PathBuf, String), Seen>,
    /// When the use of an index was last written down.
    used: LruCache<(PathBuf, i64), Instant>,
}

struct Seen {
    written: Option<Instant>,
    sighting: IndexSighting,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Indexer {
    pub(crate) fn start() -> Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let state = Arc::new(Mutex::new(State {
            files: HashMap::new(),
            slow: LruCache::new(REMEMBERED_MAX),
            used: LruCache::new(REMEMBERED_MAX),
        }));
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("store-indexer".to_owned())
            .spawn(move || run(&queue, &shared))
            .map_err(|source| Error::Io {
                step: "start the indexer thread for",
                path: PathBuf::new(),
                source,
            })?;
        Ok(Self { jobs, state })
    }

    fn push(&self, database: &Database, wish: Option<IndexWish>) {
        let mut state = lock(&self.state);
        let path = &database.file.path;
        let is_waiting = match state.files.get(path) {
            None => false,
            Some(None) => wish.is_none(),
            Some(Some(until)) => wish.is_none() && *until > Instant::now(),
        };
        let job = Job {
            file: database.downgrade(),
            wish,
        };
        // When the queue is full, whoever uses the file next asks again.
        if !is_waiting && self.jobs.try_send(job).is_ok() {
            state.files.insert(path.clone(), None);
        }
    }
}

impl Database {
    /// Has the thread do what stands in the file.
    pub(crate) fn work_on_indexes(&self) {
        self.indexer().push(self, None);
    }

    /// Notes that a query went along an index.
    pub(crate) fn note_index_use(&self, number: i64) {
        let state = &self.indexer().state;
        let (key, at) = ((self.file.path.clone(), number), Instant::now());
        let mut state = lock(state);
        let is_fresh = state
            .used
            .get(&key)
            .is_some_and(|last| at - *last < USE_EVERY);
        if is_fresh {
            return;
        }
        state.used.put(key, at);
        drop(state);
        let at = now().to_millis_text();
        self.write_sometime(move |connection| {
            let sql = "UPDATE indexes SET used_at = ? WHERE number = ?";
            connection
                .prepare_cached(sql)?
                .execute(rusqlite::params![at, number])?;
            Ok(())
        });
    }

    /// Notes a slow query, and has the index made that it wishes for.
    pub(crate) fn note_slow_query(&self, sighting: IndexSighting, wish: Option<IndexWish>) {
        if wish.is_some() {
            self.indexer().push(self, wish);
        }
        let seen_at = Instant::now();
        let key = (
            self.file.path.clone(),
            format!("{} {}", sighting.object_type, sighting.shape),
        );
        let mut state = lock(&self.indexer().state);
        let seen = state.slow.get_or_insert_mut(key, || Seen {
            written: None,
            sighting: IndexSighting {
                count: 0,
                ..sighting.clone()
            },
        });
        seen.sighting.count += sighting.count;
        seen.sighting.worst = seen.sighting.worst.max(sighting.worst);
        seen.sighting.property = sighting.property;
        if seen.written.is_some_and(|at| seen_at - at < RECORD_EVERY) {
            return;
        }
        seen.written = Some(seen_at);
        let told = seen.sighting.clone();
        (seen.sighting.count, seen.sighting.worst) = (0, Duration::ZERO);
        drop(state);
        self.write_sometime(move |connection| record_slow_query(connection, &told, now()));
    }
}

fn run(queue: &Receiver<Job>, state: &Arc<Mutex<State>>) {
    lower_priority();
    while let Ok(job) = queue.recv() {
        let path = job.file.path().to_owned();
        let hands = Hands { file: &job.file };
        let done = job
            .wish
            .map_or(Ok(()), |wish| {
                hands.write(move |connection| make_wished_index(connection, &wish, now()))
            })
            .and_then(|()| {
                // Whoever asks from now on may have something new.
                lock(state).files.remove(&path);
                work_on_indexes(&hands)
            });
        let mut state = lock(state);
        match done {
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "the work on an index failed; it goes on when the backend is used next"
                );
                state.files.insert(path, Some(Instant::now() + RETRY_AFTER));
            }
        }
        state
            .files
            .retain(|_, until| until.is_none_or(|until| until > Instant::now()));
    }
}

/// The machine's own time: what is written down by it is for people, and to tell what was not used for days.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(Clock::system().now())
}

/// On Linux a priority is a thread's.
fn lower_priority() {
    use rustix::process::setpriority_process;
    let _ = setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// What the work on a file is done with.
pub(crate) struct Hands<'a> {
    file: &'a DatabaseRef,
}

impl Hands<'_> {
    fn database(&self) -> Result<Database> {
        self.file.upgrade().ok_or(Error::Stopped)
    }

    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database()?.read_blocking(query)
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reply = self
            .database()?
            .write_blocking(crate::writer::Need::Space, operation)?;
        reply.blocking_recv().map_err(|_| Error::Stopped)?
    }

    pub(crate) fn write_when_low<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reply = self
            .database()?
            .write_blocking(crate::writer::Need::Reserve, operation)?;
        reply.blocking_recv().map_err(|_| Error::Stopped)?
    }

    /// Waits; says whether anybody still wants the work.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        std::thread::sleep(time.min(Duration::from_millis(200)));
        self.file.upgrade().is_some()
    }
}
