//! The thread that writes all journals, so that no async task waits for a disk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::log::Log;

/// Tells the thread which journals have something to write. It is stopped, with all written, when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// A plain mutex: it is held for adding a journal, or taking all of them.
#[derive(Debug, Default)]
struct Bell {
    waiting: Mutex<Waiting>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each journal is here at most once, because it announces itself once.
    logs: Vec<Arc<Log>>,
    stopped: bool,
}

impl Writer {
    pub(super) fn start() -> std::io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let thread = thread::Builder::new().name("journal".into()).spawn({
            let bell = Arc::clone(&bell);
            move || bell.serve()
        })?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }

    pub(super) fn announce(&self, log: Arc<Log>) {
        self.bell.lock().logs.push(log);
        self.bell.rung.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.bell.lock().stopped = true;
        self.bell.rung.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panics only when a journal's code does, and then it has said so already.
            let _ = thread.join();
        }
    }
}

impl Bell {
    fn serve(&self) {
        // Journals that dropped lines, with the time at which their window is over.
        let mut later: Vec<(Instant, Arc<Log>)> = Vec::new();
        loop {
            let next = later.iter().map(|(due, _)| *due).min();
            let (mut logs, stopped) = self.wait(next);
            let now = Instant::now();
            later.retain(|(due, log)| {
                let is_due = *due <= now || stopped;
                if is_due {
                    logs.push(Arc::clone(log));
                }
                !is_due
            });
            for log in logs {
                if let Some(due) = log.settle() {
                    later.retain(|(_, other)| !Arc::ptr_eq(other, &log));
                    later.push((due, log));
                }
            }
            if stopped {
                return;
            }
        }
    }

    /// Waits until a journal announces itself or `until`.
    fn wait(&self, until: Option<Instant>) -> (Vec<Arc<Log>>, bool) {
        let mut waiting = self.lock();
        while waiting.logs.is_empty() && !waiting.stopped {
            let Some(until) = until else {
                waiting = self
                    .rung
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let patience = until.saturating_duration_since(Instant::now());
            if patience == Duration::ZERO {
                break;
            }
            (waiting, _) = self
                .rung
                .wait_timeout(waiting, patience)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (std::mem::take(&mut waiting.logs), waiting.stopped)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
