//! One at a time: pieces of the same upload.
//!
//! A client whose connection broke sends a piece again while the server still waits for the rest of the first try. So
//! whoever comes last has the turn, and whoever had it is told to stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_model::{BackendId, ObjectId};
use tokio::sync::{OwnedMutexGuard, watch};

type Key = (BackendId, ObjectId);

/// Who is sending a piece of what.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Key, Line>>>);

#[derive(Clone, Debug)]
struct Line {
    /// Held by whoever has the turn.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The number of whoever came last.
    last: Arc<watch::Sender<u64>>,
    /// Those who have the turn or wait for it.
    users: usize,
}

/// The turn of an upload, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _held: OwnedMutexGuard<()>,
    mine: u64,
    last: watch::Receiver<u64>,
    _place: Place,
}

/// Counts its holder among the users of a line.
#[derive(Debug)]
struct Place {
    turns: Turns,
    key: Key,
}

impl Turns {
    /// The turn, as soon as whoever has it has stopped. `None`: somebody else came meanwhile.
    pub(super) async fn take(&self, key: Key) -> Option<Turn> {
        let (line, mine, place) = self.join(key);
        let last = line.last.subscribe();
        let held = line.turn.lock_owned().await;
        let is_last = *last.borrow() == mine;
        is_last.then_some(Turn {
            _held: held,
            mine,
            last,
            _place: place,
        })
    }

    fn join(&self, key: Key) -> (Line, u64, Place) {
        let mut lines = self.lock();
        let line = lines.entry(key).or_insert_with(|| Line {
            turn: Arc::default(),
            last: Arc::new(watch::Sender::new(0)),
            users: 0,
        });
        line.users += 1;
        line.last.send_modify(|last| *last += 1);
        let place = Place {
            turns: self.clone(),
            key,
        };
        (line.clone(), *line.last.borrow(), place)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Ends when somebody else wants the turn.
    pub(super) async fn wanted(&mut self) {
        let mine = self.mine;
        if self.last.wait_for(|last| *last != mine).await.is_err() {
            // The line lives as long as this turn.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.turns.lock();
        if let Some(line) = lines.get_mut(&self.key) {
            line.users -= 1;
            if line.users == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        (
            ObjectId::from_bytes([number; 12]),
            ObjectId::from_bytes([9; 12]),
        )
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    async fn whoever_comes_last_has_the_turn() {
        let turns = Turns::default();
        let mut first = turns.take(key(1)).await.unwrap();
        let other = turns.take(key(2)).await.unwrap();
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(key(1)).await.is_some() }
        });
        first.wanted().await;
        let third = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(key(1)).await.is_some() }
        });
        // Both wait.
        while turns.lock().get(&key(1)).unwrap().users < 3 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(!second.await.unwrap());
        assert!(third.await.unwrap());
        drop(other);
        assert!(turns.lock().is_empty());
    }
}
