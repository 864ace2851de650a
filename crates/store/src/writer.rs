//! The loop of one writer thread: take what waits, one transaction per file, answer after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use lru::LruCache;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::pool::{File, Limits, open_writer};

pub(crate) enum Message {
    Write {
        file: Arc<File>,
        operation: Box<dyn Work>,
    },
    Close {
        path: PathBuf,
        done: oneshot::Sender<()>,
    },
}

/// What waits for one file.
struct Batch {
    file: Arc<File>,
    operations: Vec<Box<dyn Work>>,
}

/// An operation on its way through a transaction.
pub(crate) trait Work: Send {
    /// Runs it inside a savepoint. `false`: it failed, and its savepoint is to be rolled back.
    fn run(&mut self, connection: &Connection) -> bool;
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
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(todo) = self.todo.take() else {
            return false;
        };
        // A fault in one operation must not take down the thread that writes for everybody else.
        let outcome = catch_unwind(AssertUnwindSafe(|| todo(connection))).unwrap_or_else(|_| {
            Err(pilvi_model::Error::internal("an operation panicked in the writer").into())
        });
        let kept = outcome.is_ok();
        self.outcome = Some(outcome);
        kept
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

/// Runs until every [`crate::pool::Pool`] handle is gone.
pub(crate) fn run(mut queue: mpsc::Receiver<Message>, limits: &Limits) {
    let mut connections = LruCache::new(limits.files_max);
    while let Some(first) = queue.blocking_recv() {
        let mut batches: Vec<Batch> = Vec::new();
        let mut closing = None;
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(message) = next {
            match message {
                Message::Write { file, operation } => {
                    match batches
                        .iter_mut()
                        .find(|batch| batch.file.path == file.path)
                    {
                        Some(batch) => batch.operations.push(operation),
                        None => batches.push(Batch {
                            file,
                            operations: vec![operation],
                        }),
                    }
                }
                // What was queued before the close still happens, so the round ends here.
                Message::Close { path, done } => closing = Some((path, done)),
            }
            taken += 1;
            next = if closing.is_none() && taken < limits.batch_max {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        for batch in batches {
            write_batch(&mut connections, batch);
        }
        if let Some((path, done)) = closing {
            connections.pop(&path);
            let _ = done.send(());
        }
    }
}

fn write_batch(connections: &mut LruCache<PathBuf, Connection>, batch: Batch) {
    let Batch { file, operations } = batch;
    if !connections.contains(&file.path) {
        match open_writer(&file) {
            Ok(connection) => drop(connections.put(file.path.clone(), connection)),
            Err(error) => return refuse(operations, &error),
        }
    }
    let Some(connection) = connections.get(&file.path) else {
        return;
    };
    let mut waiting = operations.into_iter();
    while waiting.len() > 0 {
        write_transaction(connection, &mut waiting);
    }
}

/// Runs operations in one transaction until all are done, or until SQLite gave the whole transaction up, as it
/// does when the disk is full; what is left then gets a transaction of its own.
fn write_transaction(connection: &Connection, waiting: &mut std::vec::IntoIter<Box<dyn Work>>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        return refuse(waiting.collect(), &Error::Sql(error));
    }
    let mut done: Vec<Box<dyn Work>> = Vec::with_capacity(waiting.len());
    for mut operation in waiting.by_ref() {
        let fault = run_in_savepoint(connection, operation.as_mut()).err();
        done.push(operation);
        if connection.is_autocommit() || fault.is_some() {
            let _ = connection.execute_batch("ROLLBACK");
            let error =
                fault.unwrap_or_else(|| Error::NotCommitted("it was rolled back".into(), None));
            return refuse(done, &error);
        }
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => done
            .into_iter()
            .for_each(|operation| operation.finish(Ok(()))),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            refuse(done, &Error::Sql(error));
        }
    }
}

fn run_in_savepoint(connection: &Connection, operation: &mut dyn Work) -> Result<()> {
    connection.execute_batch("SAVEPOINT operation")?;
    let kept = operation.run(connection);
    if connection.is_autocommit() {
        return Ok(());
    }
    let end = if kept {
        "RELEASE operation"
    } else {
        "ROLLBACK TO operation; RELEASE operation"
    };
    Ok(connection.execute_batch(end)?)
}

fn refuse(operations: Vec<Box<dyn Work>>, error: &Error) {
    for operation in operations {
        operation.finish(Err(copy(error)));
    }
}

/// One failure is told to many callers, but SQLite's error cannot be cloned.
fn copy(error: &Error) -> Error {
    let code = match error {
        Error::Sql(error) | Error::Open { source: error, .. } => error.sqlite_error_code(),
        Error::NotCommitted(_, code) => *code,
        _ => None,
    };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Error::NotCommitted(text, code)
}
