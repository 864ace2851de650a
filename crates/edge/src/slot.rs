//! One upstream as the router sees it: what is under way, and the connections that rest.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Upstream;

/// An upstream, its pool and its count.
pub(crate) struct Slot {
    pub(crate) upstream: Arc<dyn Upstream>,
    /// Requests and sockets that are under way.
    under_way: AtomicUsize,
    /// It is in no route any more.
    removed: AtomicBool,
    /// Told when a removed one has nothing under way.
    settled: Notify,
    /// A plain mutex: it is held to push or pop one connection, and seldom to drop some.
    resting: Mutex<Vec<Resting>>,
    /// Milliseconds since `born`, until which it is not asked when others can be.
    shunned_until: AtomicU64,
    born: Instant,
}

/// A connection between two requests.
struct Resting {
    stream: TcpStream,
    since: Instant,
    until: Instant,
}

impl Slot {
    pub(crate) fn new(upstream: Arc<dyn Upstream>) -> Self {
        Self {
            upstream,
            under_way: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
            settled: Notify::new(),
            resting: Mutex::new(Vec::new()),
            shunned_until: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// Counts one more request, unless the upstream has been removed meanwhile.
    ///
    /// The count goes up before the flag is read, and [`Self::remove`] sets the flag before the count is read, so
    /// that one of the two sees the other.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Ticket> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let ticket = Ticket(Arc::clone(self));
        (!self.removed.load(Ordering::SeqCst)).then_some(ticket)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// From here on it gets no request. Those under way go on.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
        self.resting().clear();
    }

    /// Resolves when a removed upstream has nothing under way.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.under_way() == 0 {
                return;
            }
            settled.await;
        }
    }

    /// A resting connection that is still open, as far as anybody knows. `fresh` asks for one that has rested for so
    /// long at most.
    ///
    /// Asking a socket costs no system call here: the runtime knows whether something has happened to it since it was
    /// read to its end, and what happens to a resting connection is that it is closed.
    pub(crate) fn take(&self, now: Instant, fresh: Option<Duration>) -> Option<TcpStream> {
        let mut resting = self.resting();
        while let Some(Resting {
            stream,
            since,
            until,
        }) = resting.pop()
        {
            let quiet = stream
                .try_read(&mut [0; 1])
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            if !quiet || now >= until {
                continue;
            }
            if fresh.is_some_and(|age| now.saturating_duration_since(since) > age) {
                resting.push(Resting {
                    stream,
                    since,
                    until,
                });
                return None;
            }
            return Some(stream);
        }
        None
    }

    /// Keeps a connection for the next request, unless there are enough. Says whether it is the only one.
    pub(crate) fn park(&self, stream: TcpStream, now: Instant, keep: Duration, max: usize) -> bool {
        let mut resting = self.resting();
        // Whoever removes the upstream sets the flag first and empties the pool then, under the same lock.
        if !self.is_removed() && resting.len() < max {
            resting.push(Resting {
                stream,
                since: now,
                until: now + keep,
            });
        }
        resting.len() == 1
    }

    /// Closes what has rested for too long. Says whether anything is left.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let mut resting = self.resting();
        resting.retain(|one| now < one.until);
        !resting.is_empty()
    }

    /// Do not ask it for a while: it could not be reached.
    pub(crate) fn shun(&self, now: Instant, period: Duration) {
        self.shunned_until
            .store(self.millis(now + period), Ordering::Relaxed);
    }

    pub(crate) fn is_shunned(&self, now: Instant) -> bool {
        let until = self.shunned_until.load(Ordering::Relaxed);
        until != 0 && self.millis(now) < until
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.born).as_millis() as u64
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request or socket under way at an upstream.
pub(crate) struct Ticket(Arc<Slot>);

impl Ticket {
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let before = self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.is_removed() {
            self.0.settled.notify_waiters();
        }
    }
}
