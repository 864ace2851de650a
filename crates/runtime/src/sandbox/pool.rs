//! Sockets of a sandbox's network namespace, made by its init and kept ready.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::protocol::Family;

/// With fewer than this left, more are asked for.
const LOW: usize = 4;
/// More than this are not kept.
const MOST: usize = 64;

/// The sockets of one family.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Held for moments, never across an await.
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<OwnedFd>,
    is_asked: bool,
    /// Why the last ones that were asked for did not come.
    error: Option<i32>,
}

impl Pool {
    pub(super) fn of(pools: &[Self; 2], family: Family) -> &Self {
        match family {
            Family::V4 => &pools[0],
            Family::V6 => &pools[1],
        }
    }

    /// A socket; `ask` has more of them made.
    pub(super) async fn take<F: Future<Output = ()>>(
        &self,
        ask: impl Fn() -> F,
    ) -> io::Result<OwnedFd> {
        loop {
            // Listening begins before looking, so that nothing arrives in between.
            let arrived = self.arrived.notified();
            let (taken, must_ask) = self.look();
            if must_ask {
                ask().await;
            }
            match taken {
                Some(taken) => return taken,
                None => arrived.await,
            }
        }
    }

    /// Takes what is there, and says whether the caller has to ask for more.
    fn look(&self) -> (Option<io::Result<OwnedFd>>, bool) {
        let mut state = self.lock();
        let taken = match state.ready.pop_front() {
            Some(socket) => Some(Ok(socket)),
            None => state
                .error
                .take()
                .map(|errno| Err(io::Error::from_raw_os_error(errno))),
        };
        let must_ask = !state.is_asked && state.ready.len() < LOW && !matches!(taken, Some(Err(_)));
        state.is_asked |= must_ask;
        (taken, must_ask)
    }

    /// Takes in what the init made, and why it made no more.
    pub(super) fn put(&self, sockets: Vec<OwnedFd>, errno: i32) {
        let mut state = self.lock();
        state.is_asked = false;
        state.error = (sockets.is_empty() && errno != 0).then_some(errno);
        let room = MOST - state.ready.len().min(MOST);
        state.ready.extend(sockets.into_iter().take(room));
        drop(state);
        self.arrived.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}
