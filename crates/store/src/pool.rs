//! Writers and readers of many SQLite files.
//!
//! A fixed number of writer threads share all files; one file always belongs to the same thread. A thread takes
//! everything that waits for it, runs all operations on one file in one transaction, each in a savepoint of its
//! own so that one failure spoils no other, commits once, and only then answers. Under load, many writes so share
//! one wait for the disk; alone, a write waits for nobody. Readers run beside the writer on connections of their
//! own. Idle files hold no thread, and past a bound the longest unused connections are closed.
//!
//! A connection is used again only while the file it has open is the one at its path, and only after it has not
//! failed in a way that may outlast the cause. So what an operator repairs while the server runs, be it a full disk, a
//! folder that could not be written, or a file put back from a copy, needs no restart.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::{Error, Result};
use crate::migrate::{Schema, format_of, migrate};
use crate::space::Space;
use crate::writer::{self, Message, Need, Operation, Tally};

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
    /// Files with open read connections; a writer thread keeps as many open for itself.
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

/// So many bytes, or so much of the disk where that is less. 0: none.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    pub bytes: u64,
    pub percent: u8,
}

/// Read connections that one file keeps for the next reader.
const IDLE_READERS_MAX: usize = 4;

/// Shared by all [`Database`] handles. The threads end when the last handle is gone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    limits: Limits,
    writers: Vec<mpsc::Sender<Message>>,
    reads: Arc<Semaphore>,
    /// A plain mutex: held for a look-up, never across a query or an await.
    idle_readers: Mutex<IdleReaders>,
    tally: Arc<Tally>,
}

type IdleReaders = LruCache<PathBuf, Vec<Opened>>;

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

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub schema: &'static Schema,
    /// A file that is missing is made; otherwise a missing file is an error.
    pub create: bool,
}

impl Pool {
    pub fn start(limits: Limits) -> Result<Self> {
        let mut writers = Vec::with_capacity(limits.writers);
        let tally = Arc::new(Tally::default());
        let space = Arc::new(Space::new(limits.disk_reserve));
        for number in 0..limits.writers {
            let (sender, receiver) = mpsc::channel(limits.queue_max);
            let thread = writer::Thread::new(&limits, Arc::clone(&space), Arc::clone(&tally));
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
            reads: Arc::new(Semaphore::new(limits.reads_max)),
            idle_readers: Mutex::new(LruCache::new(limits.files_max)),
            writers,
            limits,
            tally,
        })))
    }

    /// How many operations shared how many commits so far.
    pub fn write_counts(&self) -> WriteCounts {
        self.0.tally.counts()
    }

    pub fn database(&self, path: PathBuf, schema: &'static Schema, create: bool) -> Database {
        Database {
            pool: self.clone(),
            file: Arc::new(File {
                path,
                schema,
                create,
            }),
        }
    }

    fn writer_of(&self, file: &File) -> &mpsc::Sender<Message> {
        let mut hasher = DefaultHasher::new();
        file.path.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % self.0.writers.len() as u64).unwrap_or(0);
        &self.0.writers[index]
    }

    fn idle_readers(&self) -> std::sync::MutexGuard<'_, IdleReaders> {
        self.0
            .idle_readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
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
        let (operation, reply) = Operation::prepare(operation);
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
    pub async fn read<T, F>(&self, query: F) -> pilvi_model::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.pool.0.reads)
            .acquire_owned()
            .await
            .map_err(|_| Error::Stopped)?;
        let database = self.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            database.read_blocking(query)
        });
        Ok(outcome.await.map_err(pilvi_model::Error::internal)??)
    }

    fn read_blocking<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut reader = match self.take_idle_reader() {
            Some(reader) => reader,
            None => self.open_reader()?,
        };
        let deadline = std::time::Instant::now() + self.pool.0.limits.read_time_max;
        reader
            .connection
            .progress_handler(10_000, Some(move || std::time::Instant::now() > deadline))?;
        let result = query(&reader.connection).map_err(|error| error.at(&self.file.path));
        if !result.as_ref().is_err_and(Error::spoils_connection) {
            self.keep_reader(reader);
        }
        result
    }

    /// Opens a connection that reads. A file of an older format is first brought up to date by its writer.
    fn open_reader(&self) -> Result<Opened> {
        let connection = open_reader(&self.file)?;
        if format_of(&connection).map_err(|error| error.at(&self.file.path))?
            == self.file.schema.steps.len()
        {
            return Ok(Opened::new(connection, &self.file.path));
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
        Ok(Opened::new(open_reader(&self.file)?, &self.file.path))
    }

    fn take_idle_reader(&self) -> Option<Opened> {
        let reader = self
            .pool
            .idle_readers()
            .get_mut(&self.file.path)
            .and_then(Vec::pop)?;
        if reader.is_current(&self.file.path) {
            return Some(reader);
        }
        // The others are no better; whoever has one in use meets this line later.
        self.pool.idle_readers().pop(&self.file.path);
        None
    }

    fn keep_reader(&self, reader: Opened) {
        let mut idle = self.pool.idle_readers();
        let readers = idle.get_or_insert_mut(self.file.path.clone(), Vec::new);
        if readers.len() < IDLE_READERS_MAX {
            readers.push(reader);
        }
    }

    /// Closes all connections to the file, so that it can be moved or deleted.
    pub async fn close(&self) -> pilvi_model::Result<()> {
        let (done, closed) = oneshot::channel();
        let message = Message::Close {
            path: self.file.path.clone(),
            done,
        };
        self.pool
            .writer_of(&self.file)
            .send(message)
            .await
            .map_err(|_| Error::Stopped)?;
        closed.await.map_err(|_| Error::Stopped)?;
        self.pool.idle_readers().pop(&self.file.path);
        Ok(())
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

fn open_reader(file: &File) -> Result<Connection> {
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
    connection.set_prepared_statement_cache_capacity(64);
    crate::query::register(&connection).map_err(fail)?;
    Ok(connection)
}
