//! Which backends have variants to be made, each in its turn.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_model::BackendId;
use tokio::sync::Notify;

/// Where writes say that a backend has variants to be made. Cheap to clone; saying the same twice is saying it once, so
/// it holds at most one entry per backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// A plain mutex: held to add or take, never across an await.
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    turns: VecDeque<BackendId>,
    waiting: HashSet<BackendId>,
    /// Those that somebody works for. A wake meanwhile gives them another turn.
    busy: HashSet<BackendId>,
    /// Those that get a turn by themselves, at some time.
    dozing: HashSet<BackendId>,
}

impl Wakes {
    pub(crate) fn wake(&self, backend: BackendId) {
        let mut queue = self.queue();
        if queue.waiting.insert(backend) && !queue.busy.contains(&backend) {
            queue.turns.push_back(backend);
            self.0.arrived.notify_one();
        }
    }

    /// Waits for a backend whose turn it is. Nobody else gets the same one before the turn is dropped.
    pub(super) async fn next(&self) -> Turn {
        loop {
            if let Some(backend) = self.take() {
                return Turn {
                    wakes: self.clone(),
                    backend,
                };
            }
            self.0.arrived.notified().await;
        }
    }

    /// Notes that the backend will be roused. `false`: that is so already.
    pub(super) fn doze(&self, backend: BackendId) -> bool {
        self.queue().dozing.insert(backend)
    }

    /// Wakes a backend that dozed.
    pub(super) fn rouse(&self, backend: BackendId) {
        self.queue().dozing.remove(&backend);
        self.wake(backend);
    }

    fn take(&self) -> Option<BackendId> {
        let mut queue = self.queue();
        let backend = queue.turns.pop_front()?;
        queue.waiting.remove(&backend);
        queue.busy.insert(backend);
        if !queue.turns.is_empty() {
            // One notice may have stood for several arrivals.
            self.0.arrived.notify_one();
        }
        Some(backend)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody works for this backend.
#[derive(Debug)]
pub(super) struct Turn {
    wakes: Wakes,
    pub(super) backend: BackendId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.wakes.queue();
        queue.busy.remove(&self.backend);
        if queue.waiting.contains(&self.backend) {
            queue.turns.push_back(self.backend);
            self.wakes.0.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn backend(number: u8) -> BackendId {
        BackendId::from_bytes([number; 12])
    }

    fn next(wakes: &Wakes) -> Option<Turn> {
        wakes.next().now_or_never()
    }

    #[test]
    fn backends_take_turns() {
        let wakes = Wakes::default();
        for number in [1, 2, 1] {
            wakes.wake(backend(number));
        }
        let first = next(&wakes).unwrap();
        let second = next(&wakes).unwrap();
        assert_eq!((first.backend, second.backend), (backend(1), backend(2)));
        assert!(next(&wakes).is_none());
    }

    #[test]
    fn a_backend_is_worked_for_by_one_at_a_time() {
        let wakes = Wakes::default();
        wakes.wake(backend(1));
        let turn = next(&wakes).unwrap();
        wakes.wake(backend(1));
        wakes.wake(backend(2));
        assert_eq!(next(&wakes).unwrap().backend, backend(2));
        assert!(next(&wakes).is_none());
        drop(turn);
        assert_eq!(next(&wakes).unwrap().backend, backend(1));
        assert!(next(&wakes).is_none());
    }
}
