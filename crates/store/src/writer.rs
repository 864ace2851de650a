//! The loop of one writer thread: take what waits, one transaction per file, answer after the commit.
//!
//! Files take turns, and while others wait, one transaction holds only so many operations of a file. So what somebody
//! pours into one file delays the others by one turn of it and not by all that is poured.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::followers::Followers;
use crate::pool::{File, IdleReaders, Limits, Opened, Reader, WARM_MAX, WriteCounts, open_writer};
use crate::space::{Caps, Space};

pub(crate) enum Message {
    Write {
        file: Arc<File>,
        need: Need,
        operation: Box<dyn Work>,
    },
    /// Closes the connection that writes to a file, and then does this, while nobody can write to it.
    Close {
        path: PathBuf,
        then: Box<dyn FnOnce() + Send>,
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
    waiting_max: usize,
    connections: LruCache<PathBuf, Opened>,
    readers: Arc<IdleReaders>,
    space: Arc<Space>,
    caps: Arc<Caps>,
    tally: Arc<Tally>,
    followers: Arc<Followers>,
}

impl Thread {
    pub(crate) fn new(
        limits: &Limits,
        readers: Arc<IdleReaders>,
        space: Arc<Space>,
        caps: Arc<Caps>,
        tally: Arc<Tally>,
        followers: Arc<Followers>,
    ) -> Self {
        Self {
            batch_max: limits.batch_max,
            waiting_max: limits.queue_max,
            connections: LruCache::new(share_of(limits)),
            readers,
            space,
            caps,
            tally,
            followers,
        }
    }

    /// Runs until every [`crate::pool::Pool`] handle is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut waiting = Waiting::default();
        loop {
            if waiting.is_empty() {
                match queue.blocking_recv() {
                    Some(first) => waiting.add(first),
                    None => return,
                }
            }
            while waiting.len() < self.waiting_max
                && let Ok(next) = queue.try_recv()
            {
                waiting.add(next);
            }
            match waiting.next(self.batch_max) {
                Some(Turn::Batch(batch)) => self.write_batch(batch),
                Some(Turn::Close(path, then)) => {
                    self.connections.pop(&path);
                    then();
                }
                None => {}
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
        if let Some(bytes_max) = self.caps.reached(&batch.file.path, &opened.connection) {
            let path = batch.file.path.clone();
            let full = Error::OverQuota { path, bytes_max };
            refuse(batch.take_all_that_need(Need::Space), full);
            if batch.operations.is_empty() {
                return;
            }
        }
        let mut waiting = batch.operations.into_iter().map(|(_, operation)| operation);
        let mut spoiled = false;
        while waiting.len() > 0 {
            let transaction = Transaction {
                connection: &opened.connection,
                file: &batch.file,
                tally: &self.tally,
                followers: &self.followers,
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

/// What waits for a thread, by file, in the order in which files have their turns.
#[derive(Default)]
struct Waiting {
    lines: HashMap<PathBuf, VecDeque<Item>>,
    /// Each file with a line stands here once.
    order: VecDeque<PathBuf>,
    len: usize,
}

enum Item {
    Operation(Arc<File>, Need, Box<dyn Work>),
    Close(Box<dyn FnOnce() + Send>),
}

/// What a thread does in one go.
enum Turn {
    Batch(Batch),
    Close(PathBuf, Box<dyn FnOnce() + Send>),
}

/// While other files wait, a transaction holds this part of what it may hold otherwise.
const SHARE: usize = 4;

impl Waiting {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn len(&self) -> usize {
        self.len
    }

    fn add(&mut self, message: Message) {
        let (path, item) = match message {
            Message::Write {
                file,
                need,
                operation,
            } => (file.path.clone(), Item::Operation(file, need, operation)),
            Message::Close { path, then } => (path, Item::Close(then)),
            Message::Drop(readers) => return drop(readers),
        };
        self.len += 1;
        match self.lines.get_mut(&path) {
            Some(line) => line.push_back(item),
            None => {
                self.order.push_back(path.clone());
                self.lines.insert(path, VecDeque::from([item]));
            }
        }
    }

    /// The turn of the file that has waited longest. What was queued before a close still happens before it.
    fn next(&mut self, batch_max: usize) -> Option<Turn> {
        let path = self.order.pop_front()?;
        let most = match self.order.is_empty() {
            true => batch_max,
            false => batch_max.div_ceil(SHARE),
        };
        let line = self.lines.get_mut(&path)?;
        let turn = Turn::of(line, &path, most);
        self.len -= turn.as_ref().map_or(0, Turn::len);
        match line.is_empty() {
            true => drop(self.lines.remove(&path)),
            false => self.order.push_back(path),
        }
        turn
    }
}

impl Turn {
    fn of(line: &mut VecDeque<Item>, path: &Path, most: usize) -> Option<Self> {
        let mut batch = match line.pop_front()? {
            Item::Close(then) => return Some(Self::Close(path.to_owned(), then)),
            Item::Operation(file, need, operation) => Batch {
                file,
                operations: vec![(need, operation)],
            },
        };
        while batch.operations.len() < most
            && let Some(item) = line.pop_front_if(|item| matches!(item, Item::Operation(..)))
        {
            if let Item::Operation(_, need, operation) = item {
                batch.operations.push((need, operation));
            }
        }
        Some(Self::Batch(batch))
    }

    fn len(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.operations.len(),
            Self::Close(..) => 1,
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
    followers: &'a Followers,
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
            self.followers.tell(&self.file.path, self.connection);
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

    fn file(name: &str) -> Arc<File> {
        Arc::new(File::new(PathBuf::from(name), &SCHEMA, true))
    }

    /// Whose turn it is, and with how many operations; `None`: a file is closed.
    fn turns(waiting: &mut Waiting, batch_max: usize) -> Vec<(String, Option<usize>)> {
        let next = || waiting.next(batch_max);
        let turns = std::iter::from_fn(next).map(|turn| match turn {
            Turn::Batch(batch) => (batch.file.path.clone(), Some(batch.operations.len())),
            Turn::Close(path, _) => (path, None),
        });
        turns
            .map(|(path, count)| (path.display().to_string(), count))
            .collect()
    }

    #[test]
    fn a_flood_into_one_file_delays_the_others_by_one_turn_of_it() {
        let mut waiting = Waiting::default();
        for n in 0..20 {
            waiting.add(insert(&file("flooded"), n).0);
        }
        waiting.add(insert(&file("quiet"), 1).0);
        assert_eq!(waiting.len(), 21);
        let expected = [
            ("flooded", 2),
            ("quiet", 1),
            ("flooded", 8),
            ("flooded", 8),
            ("flooded", 2),
        ];
        let expected = expected.map(|(name, count)| (name.to_owned(), Some(count)));
        assert_eq!(turns(&mut waiting, 8), expected);
        assert!(waiting.is_empty() && waiting.lines.is_empty());
    }

    #[test]
    fn what_was_queued_before_a_close_happens_before_it() {
        let mut waiting = Waiting::default();
        waiting.add(insert(&file("a"), 1).0);
        waiting.add(insert(&file("a"), 2).0);
        let path = PathBuf::from("a");
        waiting.add(Message::Close {
            path,
            then: Box::new(|| ()),
        });
        waiting.add(insert(&file("a"), 3).0);
        let expected = [Some(2), None, Some(1)].map(|count| ("a".to_owned(), count));
        assert_eq!(turns(&mut waiting, 8), expected);
    }

    #[test]
    fn nobody_hears_of_success_before_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::new(folder.path().join("numbers.db"), &SCHEMA, true));
        let limits = Limits::default();
        let readers = Arc::new(IdleReaders::new(limits.files_max));
        let space = Arc::new(Space::new(limits.disk_reserve));
        let (caps, tally, followers) = (Arc::default(), Arc::default(), Arc::default());
        let mut thread = Thread::new(&limits, readers, space, caps, tally, followers);
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
