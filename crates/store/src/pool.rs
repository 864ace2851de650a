//! Writers and readers of many SQLite files.
//!
//! A fixed number of writer threads share all files; one file always belongs to the same thread. A thread takes
//! everything that waits for it, runs all operations on one file in one transaction, each in a savepoint of its
//! own so that one failure spoils no other, commits once, and only then answers. Under load, many writes so share
//! one wait for the disk; alone, a write waits for nobody. Readers run beside the writer on connections of their
//! own. Idle files hold no thread, and past a bound the longest unused connections are closed.
//!
//! Files are tenants, so none gets more than its share: reads that take long have so many threads for each file and no
//! more, writes wait in a line of their file, and the lines take turns.
//!
//! A connection is used again only while the file it has open is the one at its path, and only after it has not
//! failed in a way that may outlast the cause. So what an operator repairs while the server runs, be it a full disk, a
//! folder that could not be written, or a file put back from a copy, needs no restart.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lru::LruCache;
use pilvi_base::Turnstile;
use pilvi_base::turnstile::{NoTurn, Shares};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::followers::Followers;
use crate::indexer::Indexer;
use crate::migrate::{Schema, format_of, migrate};
use crate::space::{Caps, Space};
use crate::writer::{self, Message, Need, Operation, Tally};
pub use pilvi_base::disk::Reserve;

#[cfg(test)]
mod tests;

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub struct Limits {
    pub writers: usize,
    /// Writes that may wait for one writer thread; the next caller waits before it may queue.
    pub queue_max: usize,
    /// Operations in one transaction.
    pub batch_max: usize,
    /// Reads that run at the same time.
    pub reads_max: usize,
    /// Of them those of one file.
    pub reads_each: usize,
    /// Writes of one file that are queued for its thread.
    pub writes_each: usize,
    /// Reads, and writes, of one file that wait before that, and how long each of them does.
    pub waiting_each: usize,
    pub patience: Duration,
    /// Connections that write and that are kept open, and as many that read. They hold five descriptors for each.
    pub files_max: NonZeroUsize,
    /// A read that takes longer is stopped.
    pub read_time_max: Duration,
    /// What is to stay free on the disk: with less, only what frees space or settles what was begun is written.
    pub disk_reserve: Reserve,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Self {
            writers: cores.clamp(2, 8),
            queue_max: 4096,
            batch_max: 256,
            reads_max: cores * 4,
            reads_each: cores * 2,
            writes_each: 256,
            waiting_each: 2048,
            patience: Duration::from_secs(20),
            files_max: NonZeroUsize::new(256).expect("256 is not zero"),
            read_time_max: Duration::from_secs(5),
            // Moving a write-ahead log into its file takes up to 4 MiB at once, on each of at most eight threads.
            disk_reserve: Reserve {
                bytes: 64 << 20,
                percent: 10,
            },
        }
    }
}

/// Read connections that one file keeps for the next reader.
const IDLE_READERS_MAX: usize = 4;

/// Prepared statements that one connection keeps.
const STATEMENTS_MAX: usize = 64;
/// Pages that one connection keeps, in KiB. The system has them, too; a page costs a microsecond to get from there.
const CACHE_KIB: i64 = 512;
/// With more connections than this, none keeps its pages when it rests.
pub(crate) const WARM_MAX: usize = 16;

/// A read that takes no longer is run where it is asked for. A thread that serves hundreds of requests can spare it.
const GLANCE: Duration = Duration::from_micros(500);
/// After a glance that took longer, so many reads of the same file go to other threads at once.
const DETOUR: u32 = 16;
/// So long the readers of a file are used without a look at whether it was replaced; its writer looks every time.
const TRUSTED_FOR: Duration = Duration::from_millis(100);
/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 500;

/// Shared by all [`Database`] handles. The threads end when the last handle is gone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    limits: Limits,
    writers: Vec<mpsc::Sender<Message>>,
    reads: Turnstile<Line>,
    writes: Turnstile<Line>,
    idle_readers: Arc<IdleReaders>,
    tally: Arc<Tally>,
    caps: Arc<Caps>,
    followers: Arc<Followers>,
    indexer: Indexer,
}

/// The connections that nobody reads with at the moment, by file.
pub(crate) struct IdleReaders {
    held_max: usize,
    /// A plain mutex: held for a look-up, never across a query or an await.
    held: Mutex<Held>,
}

struct Held {
    files: LruCache<PathBuf, Readers>,
    /// How many there are of all files together.
    count: usize,
}

impl IdleReaders {
    pub(crate) fn new(held_max: NonZeroUsize) -> Self {
        let files = LruCache::unbounded();
        Self {
            held_max: held_max.get(),
            held: Mutex::new(Held { files, count: 0 }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that has the file open which is at `path` now.
    fn take(&self, path: &Path, patience: Patience) -> Option<Reader> {
        let mut held = self.lock();
        let readers = held.files.get_mut(path)?;
        if patience == Patience::Little && readers.detour > 0 {
            readers.detour -= 1;
            return None;
        }
        let reader = readers.idle.pop()?;
        let is_trusted = readers.looked_at.elapsed() < TRUSTED_FOR;
        if !is_trusted {
            readers.looked_at = Instant::now();
        }
        held.count -= 1;
        drop(held);
        if is_trusted || reader.opened.is_current(path) {
            return Some(reader);
        }
        // The others are no better; whoever has one in use meets this line later.
        self.forget(path);
        None
    }

    fn are_many(&self) -> bool {
        self.lock().count > WARM_MAX
    }

    /// Keeps one for the next who reads the file; gives those back for which there is no room.
    fn keep(&self, path: &Path, reader: Reader, detour: u32) -> Vec<Reader> {
        let mut held = self.lock();
        let readers = held.files.get_or_insert_mut_ref(path, || Readers {
            idle: Vec::new(),
            detour: 0,
            looked_at: Instant::now(),
        });
        readers.detour = readers.detour.max(detour);
        if readers.idle.len() >= IDLE_READERS_MAX {
            return vec![reader];
        }
        readers.idle.push(reader);
        held.count += 1;
        let mut surplus = Vec::new();
        while held.count > self.held_max
            && let Some((_, oldest)) = held.files.pop_lru()
        {
            held.count -= oldest.idle.len();
            surplus.extend(oldest.idle);
        }
        surplus
    }

    /// Closes those of one file.
    pub(crate) fn forget(&self, path: &Path) {
        let mut held = self.lock();
        let forgotten = held.files.pop(path);
        if let Some(forgotten) = &forgotten {
            held.count -= forgotten.idle.len();
        }
        drop(held);
    }
}

/// What is kept for the readers of one file.
struct Readers {
    idle: Vec<Reader>,
    /// So many reads do not even try to run on the thread of their caller.
    detour: u32,
    /// When it was last looked whether the path still leads to the file that they have open.
    looked_at: Instant,
}

/// How long a reader is willing to hold its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Little,
    Much,
}

/// A connection that reads, and until when it may.
pub(crate) struct Reader {
    opened: Opened,
    opened_at: Instant,
    /// In microseconds after `opened_at`.
    deadline: Arc<AtomicU64>,
}

impl Reader {
    fn new(mut connection: Connection, path: &Path) -> Result<Self> {
        let opened_at = Instant::now();
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let bound = Arc::clone(&deadline);
        let is_over = move || micros(opened_at.elapsed()) > bound.load(Ordering::Relaxed);
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over))?;
        Ok(Self {
            opened: Opened::new(connection, path),
            opened_at,
            deadline,
        })
    }

    /// Runs `query` on one state of the file, however many statements it takes. It is interrupted when it takes longer
    /// than `time_max`.
    fn run<T>(
        &self,
        time_max: Duration,
        query: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let connection = &self.opened.connection;
        let deadline = micros(self.opened_at.elapsed() + time_max);
        self.deadline.store(deadline, Ordering::Relaxed);
        connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = query(connection);
        // An answer that comes late is an answer: nothing may interrupt the end.
        self.deadline.store(u64::MAX, Ordering::Relaxed);
        connection.prepare_cached("COMMIT")?.execute([])?;
        answer
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A connection and the file that it has open.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    identity: Option<Identity>,
}

/// Which file a path leads to: device and inode.
type Identity = (u64, u64);

impl Opened {
    fn new(connection: Connection, path: &Path) -> Self {
        Self {
            connection,
            identity: identity(path),
        }
    }

    /// Whether it was opened while the file could not be written. SQLite shares the index of the write-ahead log among
    /// all connections of a process, so as long as such a one lives, no new connection can write either.
    fn is_read_only(&self) -> bool {
        self.connection.is_readonly("main").unwrap_or(true)
    }

    /// Gives back the memory that a resting connection can do without.
    pub(crate) fn cool(&self) -> Result<()> {
        let mut statement = self.connection.prepare_cached("PRAGMA shrink_memory")?;
        statement.query([])?.next()?;
        Ok(())
    }

    /// Whether the path still leads to the file that is open. A deleted file would take every write and lose it.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        self.identity.is_some() && self.identity == identity(path)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// What the writers of a pool have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCounts {
    /// Transactions committed; each waited for the disk once.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
}

/// A file of the pool: cheap to make and to clone; nothing is opened before the first use.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    pub(crate) file: Arc<File>,
}

/// A file of the pool, for whoever must not keep the pool alive.
pub(crate) struct DatabaseRef {
    pool: Weak<Shared>,
    file: Arc<File>,
}

impl DatabaseRef {
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// `None` when the pool is gone.
    pub(crate) fn upgrade(&self) -> Option<Database> {
        let pool = Pool(self.pool.upgrade()?);
        let file = Arc::clone(&self.file);
        Some(Database { pool, file })
    }
}

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub schema: &'static Schema,
    /// A file that is missing is made; otherwise a missing file is an error.
    pub create: bool,
    line: Line,
    changes: AtomicU64,
}

/// The line in which those wait who want something of a file: a digest of its path, so that it costs nothing to tell.
type Line = u64;

impl File {
    pub(crate) fn new(path: PathBuf, schema: &'static Schema, create: bool) -> Self {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        Self {
            path,
            schema,
            create,
            line: hasher.finish(),
            changes: AtomicU64::new(0),
        }
    }

    /// How many transactions were run on the file through this handle. It grows before anybody hears of the end of one,
    /// so what was read when it stood where it stands now still holds, as far as this handle can tell.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Pool {
    pub fn start(limits: Limits) -> Result<Self> {
        let mut writers = Vec::with_capacity(limits.writers);
        let tally = Arc::new(Tally::default());
        let space = Arc::new(Space::new(limits.disk_reserve));
        let idle_readers = Arc::new(IdleReaders::new(limits.files_max));
        let caps = Arc::new(Caps::default());
        let followers = Arc::new(Followers::default());
        for number in 0..limits.writers {
            let (sender, receiver) = mpsc::channel(limits.queue_max);
            let thread = writer::Thread::new(
                &limits,
                Arc::clone(&idle_readers),
                Arc::clone(&space),
                Arc::clone(&caps),
                Arc::clone(&tally),
                Arc::clone(&followers),
            );
            std::thread::Builder::new()
                .name(format!("store-writer-{number}"))
                .spawn(move || thread.run(receiver))
                .map_err(|source| Error::Io {
                    step: "start a writer thread for",
                    path: PathBuf::new(),
                    source,
                })?;
            writers.push(sender);
        }
        Ok(Self(Arc::new(Shared {
            reads: Turnstile::new(Shares {
                at_once: limits.reads_max,
                each: limits.reads_each,
                waiting: limits.waiting_each,
                patience: limits.patience,
            }),
            writes: Turnstile::new(Shares {
                at_once: usize::MAX,
                each: limits.writes_each,
                waiting: limits.waiting_each,
                patience: limits.patience,
            }),
            idle_readers,
            writers,
            limits,
            tally,
            caps,
            followers,
            indexer: Indexer::start()?,
        })))
    }

    /// How many operations shared how many commits so far.
    pub fn write_counts(&self) -> WriteCounts {
        self.0.tally.counts()
    }

    /// What is to stay free on the disk.
    pub(crate) fn disk_reserve(&self) -> Reserve {
        self.0.limits.disk_reserve
    }

    pub fn database(&self, path: PathBuf, schema: &'static Schema, create: bool) -> Database {
        Database {
            pool: self.clone(),
            file: Arc::new(File::new(path, schema, create)),
        }
    }

    /// From now on what would add to the file is refused when it holds so many bytes; `None`: never.
    pub(crate) fn limit_file(&self, path: PathBuf, bytes_max: Option<u64>) {
        self.0.caps.set(path, bytes_max);
    }

    /// How many bytes single files may hold.
    pub(crate) fn caps(&self) -> &Caps {
        &self.0.caps
    }

    /// Who follows which files of this pool.
    pub(crate) fn followers(&self) -> &Followers {
        &self.0.followers
    }

    fn writer_of(&self, file: &File) -> &mpsc::Sender<Message> {
        let writers = &self.0.writers;
        let index = usize::try_from(file.line % writers.len() as u64).unwrap_or(0);
        &writers[index]
    }
}

impl Database {
    pub(crate) fn downgrade(&self) -> DatabaseRef {
        DatabaseRef {
            pool: Arc::downgrade(&self.pool.0),
            file: Arc::clone(&self.file),
        }
    }

    pub(crate) fn indexer(&self) -> &Indexer {
        &self.pool.0.indexer
    }

    /// Runs `operation` in a transaction, together with whatever else waits for this file, and resolves once that
    /// is on disk. When it fails, nothing of it is kept.
    pub async fn write<T, F>(&self, operation: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.send(Need::Space, operation).await
    }

    /// Like [`Database::write`], and also when the disk is nearly full: for what frees space, takes a right away, or
    /// writes down what has already happened.
    pub async fn write_when_low<T, F>(&self, operation: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.send(Need::Reserve, operation).await
    }

    async fn send<T, F>(&self, need: Need, operation: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let turn = self.pool.0.writes.enter(&self.file.line).await;
        let turn = turn.map_err(|no| busy(no, "written"))?;
        // It is taken as long as the operation is queued, also when nobody waits for that any more.
        let (operation, reply) = Operation::prepare(move |connection: &Connection| {
            let _turn = turn;
            operation(connection)
        });
        let message = Message::Write {
            file: Arc::clone(&self.file),
            need,
            operation,
        };
        self.pool
            .writer_of(&self.file)
            .send(message)
            .await
            .map_err(|_| Error::Stopped)?;
        Ok(reply.await.map_err(|_| Error::Stopped)??)
    }

    /// The same for a thread that may wait, which nobody else's patience depends on; the answer comes by the receiver.
    pub(crate) fn write_blocking<T, F>(
        &self,
        need: Need,
        operation: F,
    ) -> Result<oneshot::Receiver<Result<T>>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (operation, reply) = Operation::prepare(operation);
        let message = Message::Write {
            file: Arc::clone(&self.file),
            need,
            operation,
        };
        let sent = self.pool.writer_of(&self.file).blocking_send(message);
        sent.map_err(|_| Error::Stopped)?;
        Ok(reply)
    }

    /// Queues an operation that nobody waits for, unless the queue is full. What becomes of it is in the log.
    pub(crate) fn write_sometime<F>(&self, operation: F)
    where
        F: FnOnce(&Connection) -> Result<()> + Send + 'static,
    {
        let (operation, _) = Operation::prepare(move |connection| {
            operation(connection).inspect_err(|error| {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "a write in the background failed"
                );
            })
        });
        let file = Arc::clone(&self.file);
        let _ = self.pool.writer_of(&self.file).try_send(Message::Write {
            file,
            need: Need::Space,
            operation,
        });
    }

    /// Runs `query` on a read-only connection that sees everything committed before the call.
    ///
    /// Most reads take microseconds, less than it takes to wake another thread, so `query` is first run here, with
    /// little time. When that is not enough it is run once more, on a thread that may take long.
    pub async fn read<T, F>(&self, query: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        if let Some(result) = self.glance(&query) {
            return Ok(result?);
        }
        let turn = self.pool.0.reads.enter(&self.file.line).await;
        let turn = turn.map_err(|no| busy(no, "read"))?;
        let database = self.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            database.read_blocking(query)
        });
        Ok(outcome.await.map_err(pilvi_model::Error::internal)??)
    }

    /// Like [`Database::read`] for what may take long between two looks at the clock, so that the caller's thread,
    /// which others wait for, never runs it.
    pub async fn read_apart<T, F>(&self, query: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let turn = self.pool.0.reads.enter(&self.file.line).await;
        let turn = turn.map_err(|no| busy(no, "read"))?;
        let database = self.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            database.read_blocking(query)
        });
        Ok(outcome.await.map_err(pilvi_model::Error::internal)??)
    }

    /// Runs a query on the thread of the caller. `None`: it needs more time, or there is no connection yet, or the
    /// last glances at this file took too long, be it for the disk or for what was asked.
    fn glance<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Option<Result<T>> {
        let reader = self
            .pool
            .0
            .idle_readers
            .take(&self.file.path, Patience::Little)?;
        let started = Instant::now();
        let result = reader.run(GLANCE, query);
        let late = started.elapsed() > GLANCE;
        let stopped = late && result.as_ref().is_err_and(Error::is_interruption);
        let result = self.finish_read(reader, result, if late { DETOUR } else { 0 });
        (!stopped).then_some(result)
    }

    pub(crate) fn read_blocking<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let reader = match self
            .pool
            .0
            .idle_readers
            .take(&self.file.path, Patience::Much)
        {
            Some(reader) => reader,
            None => self.open_reader()?,
        };
        let result = reader.run(self.pool.0.limits.read_time_max, query);
        self.finish_read(reader, result, 0)
    }

    fn finish_read<T>(&self, reader: Reader, result: Result<T>, detour: u32) -> Result<T> {
        let result = result.map_err(|error| error.at(&self.file.path));
        let is_spoiled = result.as_ref().is_err_and(Error::spoils_connection);
        let is_fit =
            |reader: &Reader| !self.pool.0.idle_readers.are_many() || reader.opened.cool().is_ok();
        if !is_spoiled && is_fit(&reader) {
            self.keep_reader(reader, detour);
        }
        result
    }

    /// Opens a connection that reads. A file of an older format is first brought up to date by its writer.
    fn open_reader(&self) -> Result<Reader> {
        let connection = open_reader(&self.file)?;
        if format_of(&connection).map_err(|error| error.at(&self.file.path))?
            == self.file.schema.steps.len()
        {
            return Reader::new(connection, &self.file.path);
        }
        let (operation, reply) = Operation::prepare(|_| Ok(()));
        let message = Message::Write {
            file: Arc::clone(&self.file),
            need: Need::Reserve,
            operation,
        };
        self.pool
            .writer_of(&self.file)
            .blocking_send(message)
            .map_err(|_| Error::Stopped)?;
        reply.blocking_recv().map_err(|_| Error::Stopped)??;
        Reader::new(open_reader(&self.file)?, &self.file.path)
    }

    /// Keeps a reader for the next who reads this file.
    fn keep_reader(&self, reader: Reader, detour: u32) {
        if reader.opened.is_read_only() {
            return;
        }
        let path = &self.file.path;
        let surplus = self.pool.0.idle_readers.keep(path, reader, detour);
        if !surplus.is_empty() {
            // The last connection to a file waits for the disk when it is closed. That is for a thread that may wait.
            let _ = self
                .pool
                .writer_of(&self.file)
                .try_send(Message::Drop(surplus));
        }
    }

    /// Closes all connections to the file, so that it can be moved or deleted.
    pub async fn close(&self) -> pilvi_model::Result<()> {
        self.close_and(|| Ok(())).await?;
        self.pool.0.idle_readers.forget(&self.file.path);
        Ok(())
    }

    /// Closes all connections to the file but those that are reading right now, and then does this, while nobody can
    /// write to it.
    pub(crate) async fn close_and<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> pilvi_model::Result<T> {
        let (done, closed) = oneshot::channel();
        let (readers, path) = (
            Arc::clone(&self.pool.0.idle_readers),
            self.file.path.clone(),
        );
        let message = Message::Close {
            path: path.clone(),
            then: Box::new(move || {
                readers.forget(&path);
                let _ = done.send(work());
            }),
        };
        self.pool
            .writer_of(&self.file)
            .send(message)
            .await
            .map_err(|_| Error::Stopped)?;
        Ok(closed.await.map_err(|_| Error::Stopped)??)
    }
}

/// Why somebody is sent away who wants more of one file than it can give.
fn busy(no: NoTurn, what: &str) -> pilvi_model::Error {
    match no {
        NoTurn::LineIsFull => pilvi_model::Error::over_limit(format!(
            "too much is being {what} here at once; send fewer requests at the same time"
        )),
        NoTurn::TookTooLong => pilvi_model::Error::unavailable(format!(
            "too much is being {what} here; try again soon"
        )),
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.file.path).finish()
    }
}

/// Opens the connection that writes: it makes the file when allowed, and brings it to the newest format.
pub(crate) fn open_writer(file: &File) -> Result<Opened> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if file.create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = open(file, flags)?;
    prepare_writer(&connection, file).map_err(|error| error.at(&file.path))?;
    Ok(Opened::new(connection, &file.path))
}

fn prepare_writer(connection: &Connection, file: &File) -> Result<()> {
    if !file.create && format_of(connection)? == 0 {
        return Err(Error::Empty {
            path: file.path.clone(),
        });
    }
    // WAL lets readers run beside the writer; FULL makes every commit wait for the disk.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
    )?;
    migrate(connection, &file.path, file.schema)
}

pub(crate) fn open_reader(file: &File) -> Result<Connection> {
    let connection = open(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn open(file: &File, flags: OpenFlags) -> Result<Connection> {
    let fail = |source| Error::Open {
        path: file.path.clone(),
        source,
    };
    let connection = Connection::open_with_flags(&file.path, flags).map_err(|source| {
        if !file.create && !file.path.exists() {
            return Error::Missing {
                path: file.path.clone(),
            };
        }
        fail(source)
    })?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection
        .pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(fail)?;
    crate::query::register(&connection).map_err(fail)?;
    Ok(connection)
}
