//! Turns: what is done to one thing waits for what is being done to it already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Things whose turns are remembered; those that nobody waits for are forgotten beyond it.
const REMEMBERED: usize = 1000;

/// The turns of many things by their names. Cloning gives another handle on the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// A plain mutex: held for finding one thing's turn, never across an await.
    by_name: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Turns {
    /// Waits until nobody else has the turn. It ends when what is returned is dropped.
    pub(crate) async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            if by_name.len() >= REMEMBERED {
                by_name.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(by_name.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_has_one_turn_at_a_time() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        turns.take("b").await;
        let mut second = Box::pin(turns.take("a"));
        let waits = std::future::poll_fn(|context| {
            std::task::Poll::Ready(second.as_mut().poll(context).is_pending())
        });
        assert!(waits.await);
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn only_the_turns_that_somebody_has_are_kept() {
        let turns = Turns::default();
        let held = turns.take("held").await;
        for number in 0..REMEMBERED * 2 {
            turns.take(&number.to_string()).await;
        }
        let by_name = turns.by_name.lock().unwrap();
        assert!(by_name.len() <= REMEMBERED);
        assert!(by_name.contains_key("held"));
        drop(by_name);
        drop(held);
    }
}
