//! Pushes of one app come one after the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The lanes of all apps that have something under way.
pub(crate) struct Turns {
    waiting_max: usize,
    /// A plain mutex: held for one look-up. A lane that nobody holds goes at the next look-up of another app.
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// What the pushes and fetches of one app share.
pub(crate) struct Lane {
    /// One permit for each process.
    pub(crate) processes: Arc<Semaphore>,
    /// The one permit to deploy.
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// The right to deploy, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _turn: OwnedSemaphorePermit,
}

/// So many pushes wait already that one more would not get its turn for long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyWaiting;

impl Turns {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self {
            waiting_max,
            lanes: Mutex::default(),
        }
    }

    pub(crate) fn lane(&self, app: &str, processes_max: usize) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(app) {
            return Arc::clone(lane);
        }
        lanes.retain(|_, lane| lane.is_used());
        let lane = Arc::new(Lane {
            processes: Arc::new(Semaphore::new(processes_max)),
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            waiting_max: self.waiting_max,
        });
        lanes.insert(app.to_owned(), Arc::clone(&lane));
        lane
    }
}

impl Lane {
    /// Whether somebody holds it, or a permit of it.
    fn is_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
            || Arc::strong_count(&self.processes) > 1
            || Arc::strong_count(&self.turn) > 1
    }

    /// The turn, if nobody has it.
    pub(crate) fn try_turn(&self) -> Option<Turn> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        Some(Turn { _turn: turn })
    }

    /// Waits for the turn, in the order of asking.
    pub(crate) async fn turn(&self) -> Result<Turn, TooManyWaiting> {
        let _waiting = Waiting::enter(&self.waiting, self.waiting_max).ok_or(TooManyWaiting)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        Ok(Turn {
            _turn: turn.expect("the semaphore is never closed"),
        })
    }
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let enter = |waiting| (waiting < max).then_some(waiting + 1);
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_has_the_turn_and_a_bounded_number_waits() {
        let turns = Turns::new(1);
        let lane = turns.lane("a", 1);
        let first = lane.try_turn().unwrap();
        assert!(lane.try_turn().is_none());
        let mut second = Box::pin(lane.turn());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(lane.turn().await.unwrap_err(), TooManyWaiting);
        drop(first);
        second.await.unwrap();
        assert!(turns.lane("b", 1).try_turn().is_some());
    }

    #[test]
    fn a_lane_stays_while_somebody_has_its_turn() {
        let turns = Turns::new(1);
        let turn = turns.lane("a", 1).try_turn().unwrap();
        turns.lane("b", 1);
        turns.lane("c", 1);
        assert!(turns.lane("a", 1).try_turn().is_none());
        drop(turn);
        turns.lane("d", 1);
        assert_eq!(turns.lanes.lock().unwrap().len(), 1);
    }
}
