//! The loop of one writer thread: take what waits, one transaction per file, answer after the commit.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::pool::{File, IdleReaders, Limits, Opened, Reader, WARM_MAX, WriteCounts, open_writer};
use crate::space::Space;

pub(crate) enum Message {
    Write {
        file: Arc<File>,
        need: Need,
        operation: Box<dyn Work>,
    },
    Close {
        path: PathBuf,
        done: oneshot::Sender<()>,
    },
    /// Closes connections on a thread that may wait for the disk.
    Drop(Vec<Reader>),
}

/// What an operation needs of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Room beyond the reserve.
    Space,
    /// The reserve is kept for it.
    Reserve,
}

/// What waits for one file.
struct Batch {
    file: Arc<File>,
    operations: Vec<(Need, Box<dyn Work>)>,
}

/// An operation on its way through a transaction.
pub(crate) trait Work: Send {
    /// Runs it inside a savepoint, on the file at `path`.
    fn run(&mut self, connection: &Connection, path: &Path);
    /// Why it failed, once it has run.
    fn fault(&self) -> Option<&Error>;
    /// Tells the caller: its own result when the transaction was committed, the reason when not.
    fn finish(self: Box<Self>, committed: Result<()>);
}

pub(crate) struct Operation<T, F> {
    todo: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Operation<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send + 'static,
{
    /// The work for the writer thread, and where its answer will come.
    pub(crate) fn prepare(todo: F) -> (Box<dyn Work>, oneshot::Receiver<Result<T>>) {
        let (reply, receiver) = oneshot::channel();
        (
            Box::new(Self {
                todo: Some(todo),
                outcome: None,
                reply,
            }),
            receiver,
        )
    }
}

impl<T, F> Work for Operation<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &Connection, path: &Path) {
        let Some(todo) = self.todo.take() else {
            return;
        };
        // A fault in one operation must not take down the thread that writes for everybody else.
        let outcome = catch_unwind(AssertUnwindSafe(|| todo(connection))).unwrap_or_else(|_| {
            Err(pilvi_model::Error::internal("an operation panicked in the writer").into())
        });
        self.outcome = Some(outcome.map_err(|error| error.at(path)));
    }

    fn fault(&self) -> Option<&Error> {
        self.outcome.as_ref()?.as_ref().err()
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let answer = match (self.outcome, committed) {
            // An operation that failed by itself says so, whatever became of the others.
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(why)) => Err(why),
            (None, Ok(())) => Err(Error::Stopped),
        };
        // The caller may have gone; the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

/// What the writer threads of a pool have done together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    commits: AtomicU64,
    operations: AtomicU64,
}

impl Tally {
    fn add(&self, operations: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let operations = u64::try_from(operations).unwrap_or(u64::MAX);
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> WriteCounts {
        WriteCounts {
            commits: self.commits.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
        }
    }
}

/// One writer thread.
pub(crate) struct Thread {
    batch_max: usize,
    connections: LruCache<PathBuf, Opened>,
    readers: Arc<IdleReaders>,
    space: Arc<Space>,
    tally: Arc<Tally>,
}

impl Thread {
    pub(crate) fn new(
        limits: &Limits,
        readers: Arc<IdleReaders>,
        space: Arc<Space>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            batch_max: limits.batch_max,
            connections: LruCache::new(share_of(limits)),
            readers,
            space,
            tally,
        }
    }

    /// Runs until every [`crate::pool::Pool`] handle is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.blocking_recv() {
            let round = Round::take(first, &mut queue, self.batch_max);
            for batch in round.batches {
                self.write_batch(batch);
            }
            if let Some((path, done)) = round.closing {
                self.connections.pop(&path);
                let _ = done.send(());
            }
        }
    }

    fn write_batch(&mut self, mut batch: Batch) {
        let path = &batch.file.path;
        if self.space.is_low(path) {
            let low = Error::DiskLow { path: path.clone() };
            refuse(batch.take_all_that_need(Need::Space), low);
        }
        if batch.operations.is_empty() {
            return;
        }
        let opened = match opened(&mut self.connections, &self.readers, &batch.file) {
            Ok(opened) => opened,
            Err(error) => return refuse(batch.into_operations(), error),
        };
        let mut waiting = batch.operations.into_iter().map(|(_, operation)| operation);
        let mut spoiled = false;
        while waiting.len() > 0 {
            let transaction = Transaction {
                connection: &opened.connection,
                file: &batch.file,
                tally: &self.tally,
            };
            spoiled |= transaction.run(&mut waiting);
        }
        let is_many = self.connections.len() > WARM_MAX;
        let opened = self.connections.peek(&batch.file.path);
        if spoiled || (is_many && opened.is_some_and(|opened| opened.cool().is_err())) {
            self.connections.pop(&batch.file.path);
        }
    }
}

/// How many connections one thread keeps. Files are not spread evenly, so all together are a few more than the limit.
fn share_of(limits: &Limits) -> NonZeroUsize {
    let share = limits.files_max.get().div_ceil(limits.writers.max(1));
    NonZeroUsize::new(share + share / 8).unwrap_or(NonZeroUsize::MIN)
}

/// The connection to a file, opened when there is none that can be used.
fn opened<'a>(
    connections: &'a mut LruCache<PathBuf, Opened>,
    readers: &IdleReaders,
    file: &File,
) -> Result<&'a Opened> {
    let open = connections.get(&file.path);
    if open.is_some_and(|opened| !opened.is_current(&file.path)) {
        connections.pop(&file.path);
        readers.forget(&file.path);
        tracing::error!(
            path = %file.path.display(),
            "a database was deleted or replaced while the server had it open"
        );
    }
    connections.try_get_or_insert_ref(&file.path, || open_writer(file))
}

/// What a thread does in one go.
struct Round {
    batches: Vec<Batch>,
    closing: Option<(PathBuf, oneshot::Sender<()>)>,
}

impl Round {
    /// Takes what waits, up to a close: what was queued before it still happens.
    fn take(first: Message, queue: &mut mpsc::Receiver<Message>, batch_max: usize) -> Self {
        let mut round = Self {
            batches: Vec::new(),
            closing: None,
        };
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(message) = next {
            match message {
                Message::Write {
                    file,
                    need,
                    operation,
                } => round.add(file, need, operation),
                Message::Close { path, done } => round.closing = Some((path, done)),
                Message::Drop(readers) => drop(readers),
            }
            taken += 1;
            next = if round.closing.is_none() && taken < batch_max {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        round
    }

    fn add(&mut self, file: Arc<File>, need: Need, operation: Box<dyn Work>) {
        let mut batches = self.batches.iter_mut();
        match batches.find(|batch| batch.file.path == file.path) {
            Some(batch) => batch.operations.push((need, operation)),
            None => self.batches.push(Batch {
                file,
                operations: vec![(need, operation)],
            }),
        }
    }
}

impl Batch {
    fn take_all_that_need(&mut self, need: Need) -> Vec<Box<dyn Work>> {
        self.operations
            .extract_if(.., |(its, _)| *its == need)
            .map(|(_, operation)| operation)
            .collect()
    }

    fn into_operations(self) -> Vec<Box<dyn Work>> {
        let operations = self.operations.into_iter();
        operations.map(|(_, operation)| operation).collect()
    }
}

/// Where operations of one file are committed together.
struct Transaction<'a> {
    connection: &'a Connection,
    file: &'a File,
    tally: &'a Tally,
}

impl Transaction<'_> {
    /// Runs operations until all are done, or until SQLite gave the whole transaction up, as it does when the disk is
    /// full; what is left then gets a transaction of its own. Says whether the connection should not be used again.
    fn run(&self, waiting: &mut impl ExactSizeIterator<Item = Box<dyn Work>>) -> bool {
        let mut done = Vec::with_capacity(waiting.len());
        let outcome = self.try_run(waiting, &mut done);
        self.file.count_change();
        let mut faults = done.iter().filter_map(|operation| operation.fault());
        let spoiled = faults.any(Error::spoils_connection);
        let Err(error) = outcome else {
            self.tally.add(done.len());
            done.into_iter()
                .for_each(|operation| operation.finish(Ok(())));
            return spoiled;
        };
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if done.is_empty() {
            // It did not even begin, and would not for the others.
            done.extend(waiting);
        }
        let spoiled = spoiled || error.spoils_connection();
        refuse(done, error.at(&self.file.path));
        spoiled
    }

    fn try_run(
        &self,
        waiting: &mut impl Iterator<Item = Box<dyn Work>>,
        done: &mut Vec<Box<dyn Work>>,
    ) -> Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        for mut operation in waiting {
            let outcome = self.run_in_savepoint(operation.as_mut());
            done.push(operation);
            outcome?;
        }
        self.execute("COMMIT")
    }

    /// Runs one of the few statements that every transaction needs.
    fn execute(&self, sql: &str) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn run_in_savepoint(&self, operation: &mut dyn Work) -> Result<()> {
        self.execute("SAVEPOINT operation")?;
        operation.run(self.connection, &self.file.path);
        if self.connection.is_autocommit() {
            return Err(Error::rolled_back_by(operation.fault()));
        }
        if operation.fault().is_some() {
            self.execute("ROLLBACK TO operation")?;
        }
        self.execute("RELEASE operation")
    }
}

fn refuse(operations: Vec<Box<dyn Work>>, error: Error) {
    // One failure is told to many callers.
    let error = Arc::new(error);
    for operation in operations {
        operation.finish(Err(Error::NotCommitted(Arc::clone(&error))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::migrate::Schema;

    static SCHEMA: Schema = Schema {
        steps: &["CREATE TABLE numbers (n INTEGER)"],
    };

    fn insert(file: &Arc<File>, n: i64) -> (Message, oneshot::Receiver<Result<()>>) {
        let (operation, reply) = Operation::prepare(move |connection| {
            connection.execute("INSERT INTO numbers VALUES (?)", [n])?;
            Ok(())
        });
        let message = Message::Write {
            file: Arc::clone(file),
            need: Need::Space,
            operation,
        };
        (message, reply)
    }

    #[test]
    fn nobody_hears_of_success_before_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::new(folder.path().join("numbers.db"), &SCHEMA, true));
        let limits = Limits::default();
        let readers = Arc::new(IdleReaders::new(limits.files_max));
        let space = Arc::new(Space::new(limits.disk_reserve));
        let mut thread = Thread::new(&limits, readers, space, Arc::default());
        let mut opened = open_writer(&file).unwrap();
        let (committing, begun) = sync_channel(0);
        let (go_on, held) = sync_channel(0);
        let held = Mutex::new(held);
        let hook = move || {
            committing.send(()).unwrap();
            let refuse: bool = held.lock().unwrap().recv().unwrap();
            refuse
        };
        opened.connection.commit_hook(Some(hook)).unwrap();
        thread.connections.put(file.path.clone(), opened);

        let (queue, waiting) = mpsc::channel(8);
        let (messages, mut replies): (Vec<_>, Vec<_>) =
            [insert(&file, 1), insert(&file, 2)].into_iter().unzip();
        for message in messages {
            queue.try_send(message).unwrap();
        }
        let running = std::thread::spawn(move || thread.run(waiting));
        begun.recv().unwrap();
        for reply in &mut replies {
            assert!(reply.try_recv().is_err(), "the commit has not ended");
        }
        go_on.send(false).unwrap();
        for reply in replies {
            reply.blocking_recv().unwrap().unwrap();
        }

        let (message, refused) = insert(&file, 3);
        queue.try_send(message).unwrap();
        begun.recv().unwrap();
        go_on.send(true).unwrap();
        let error = refused.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, Error::NotCommitted(_)), "{error}");
        drop(queue);
        running.join().unwrap();
    }
}
