//! Turns that are shared out fairly: so many at once, so many for each who asks, and who waits is served in turn.
//!
//! Where many tenants want the same few things, a queue in the order of arrival belongs to whoever pushes the most
//! into it. Here everybody has a line of their own. Whenever something becomes free, the line that has waited longest
//! for a turn sends its first, and then stands behind the others; a line that has as many turns as one may have at
//! once is passed over. Lines have a length, so nobody's waiting takes memory without end.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// The bounds of a [`Turnstile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Turns at once, of all together.
    pub at_once: usize,
    /// Turns at once of one.
    pub each: usize,
    /// So many of one may wait.
    pub waiting: usize,
    /// So long each of them does.
    pub patience: Duration,
}

/// Shares out turns among whoever is told apart by `K`. Cloning gives another handle.
pub struct Turnstile<K: Eq + Hash + Clone>(Arc<Inner<K>>);

struct Inner<K: Eq + Hash + Clone> {
    shares: Shares,
    /// A plain mutex: held for a few look-ups.
    state: Mutex<State<K>>,
}

struct State<K: Eq + Hash + Clone> {
    taken: usize,
    /// Only of those who have turns or wait for some.
    lines: HashMap<K, Line<K>>,
    /// Lines whose first may go as soon as anything is free, in the order in which they do.
    ready: VecDeque<K>,
}

struct Line<K: Eq + Hash + Clone> {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Turn<K>>>,
    /// It stands in `ready`.
    is_ready: bool,
}

/// A turn, until it is dropped.
pub struct Turn<K: Eq + Hash + Clone> {
    /// `None`: it was never given to anybody.
    of: Option<(Arc<Inner<K>>, K)>,
}

/// There is no turn to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// Too many of the same wait already.
    LineIsFull,
    /// None came within the time that one waits.
    TookTooLong,
}

impl<K: Eq + Hash + Clone> Turnstile<K> {
    pub fn new(shares: Shares) -> Self {
        Self(Arc::new(Inner {
            shares,
            state: Mutex::new(State {
                taken: 0,
                lines: HashMap::new(),
                ready: VecDeque::new(),
            }),
        }))
    }

    /// A turn of `key`, for which it waits in line.
    pub async fn enter(&self, key: &K) -> Result<Turn<K>, NoTurn> {
        let waiting = match self.try_enter(key)? {
            Ok(turn) => return Ok(turn),
            Err(waiting) => waiting,
        };
        match tokio::time::timeout(self.0.shares.patience, waiting).await {
            Ok(Ok(turn)) => Ok(turn),
            // The other end lies in a line, and a line ends when nobody waits in it.
            Ok(Err(_)) | Err(_) => Err(NoTurn::TookTooLong),
        }
    }

    /// A turn, or a place in line.
    fn try_enter(&self, key: &K) -> Result<Result<Turn<K>, oneshot::Receiver<Turn<K>>>, NoTurn> {
        let shares = &self.0.shares;
        let mut state = self.0.lock();
        let state = &mut *state;
        let line = state.lines.entry(key.clone()).or_default();
        let is_free = state.taken < shares.at_once && state.ready.is_empty();
        if is_free && line.taken < shares.each && line.waiting.is_empty() {
            state.taken += 1;
            line.taken += 1;
            return Ok(Ok(Turn::of(&self.0, key.clone())));
        }
        if line.waiting.len() >= shares.waiting {
            line.waiting.retain(|waiting| !waiting.is_closed());
        }
        if line.waiting.len() >= shares.waiting {
            if line.taken == 0 && line.waiting.is_empty() {
                state.lines.remove(key);
            }
            return Err(NoTurn::LineIsFull);
        }
        let (sender, receiver) = oneshot::channel();
        line.waiting.push_back(sender);
        if line.taken < shares.each && !line.is_ready {
            line.is_ready = true;
            state.ready.push_back(key.clone());
        }
        Ok(Err(receiver))
    }

    /// How many of one wait, among them some who may have gone away.
    pub fn waiting(&self, key: &K) -> usize {
        let state = self.0.lock();
        state.lines.get(key).map_or(0, |line| line.waiting.len())
    }

    /// How many turns are taken, of all together.
    pub fn taken(&self) -> usize {
        self.0.lock().taken
    }
}

impl<K: Eq + Hash + Clone> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn back, and gives what is free to those who wait.
    fn release(self: &Arc<Self>, key: &K) {
        let mut state = self.lock();
        state.taken -= 1;
        let state = &mut *state;
        if let Entry::Occupied(mut entry) = state.lines.entry(key.clone()) {
            let line = entry.get_mut();
            line.taken -= 1;
            if !line.waiting.is_empty() && !line.is_ready {
                line.is_ready = true;
                state.ready.push_back(key.clone());
            } else if line.taken == 0 && line.waiting.is_empty() && !line.is_ready {
                entry.remove();
            }
        }
        while state.taken < self.shares.at_once
            && let Some(next) = state.ready.pop_front()
        {
            self.serve(state, next);
        }
    }

    /// Gives a turn to the first of a line who still waits.
    fn serve(self: &Arc<Self>, state: &mut State<K>, key: K) {
        let Some(line) = state.lines.get_mut(&key) else {
            return;
        };
        line.is_ready = false;
        while let Some(first) = line.waiting.pop_front() {
            match first.send(Turn::of(self, key.clone())) {
                Ok(()) => {
                    line.taken += 1;
                    state.taken += 1;
                    break;
                }
                // Whoever it was has gone, and this turn was never taken.
                Err(mut turn) => turn.of = None,
            }
        }
        if line.waiting.is_empty() {
            if line.taken == 0 {
                state.lines.remove(&key);
            }
        } else if line.taken < self.shares.each {
            line.is_ready = true;
            state.ready.push_back(key);
        }
    }
}

impl<K: Eq + Hash + Clone> Turn<K> {
    fn of(inner: &Arc<Inner<K>>, key: K) -> Self {
        Self {
            of: Some((Arc::clone(inner), key)),
        }
    }
}

impl<K: Eq + Hash + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        if let Some((inner, key)) = self.of.take() {
            inner.release(&key);
        }
    }
}

impl<K: Eq + Hash + Clone> Default for Line<K> {
    fn default() -> Self {
        Self {
            taken: 0,
            waiting: VecDeque::new(),
            is_ready: false,
        }
    }
}

impl<K: Eq + Hash + Clone> Clone for Turnstile<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> fmt::Debug for Turnstile<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turnstile").field(&self.0.shares).finish()
    }
}

impl<K: Eq + Hash + Clone> fmt::Debug for Turn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Turn<u8>, NoTurn>> + 'a>>;

    const SHARES: Shares = Shares {
        at_once: 4,
        each: 3,
        waiting: 5,
        patience: Duration::from_secs(10),
    };

    fn now<'a>(waiting: &mut Waiting<'a>) -> Option<Result<Turn<u8>, NoTurn>> {
        match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn ask(turnstile: &Turnstile<u8>, key: u8) -> Waiting<'_> {
        Box::pin(async move { turnstile.enter(&key).await })
    }

    fn turn(turnstile: &Turnstile<u8>, key: u8) -> Turn<u8> {
        let turn = now(&mut ask(turnstile, key));
        turn.expect("nobody needs to wait")
            .expect("there is a turn")
    }

    fn is_forgotten(turnstile: &Turnstile<u8>) -> bool {
        let state = turnstile.0.lock();
        state.lines.is_empty() && state.ready.is_empty() && state.taken == 0
    }

    #[tokio::test]
    async fn one_leaves_something_to_the_others() {
        let turnstile = Turnstile::new(SHARES);
        let held: Vec<_> = (0..3).map(|_| turn(&turnstile, 1)).collect();
        let mut fourth = ask(&turnstile, 1);
        assert!(now(&mut fourth).is_none());
        let other = turn(&turnstile, 2);
        assert_eq!(turnstile.taken(), 4);
        drop(other);
        assert!(now(&mut fourth).is_none(), "it has as many as it may");
        drop(held);
        now(&mut fourth).unwrap().unwrap();
        drop(fourth);
        assert!(is_forgotten(&turnstile));
    }

    #[tokio::test]
    async fn lines_take_turns_however_long_they_are() {
        let turnstile = Turnstile::new(Shares {
            at_once: 1,
            ..SHARES
        });
        let mut held = turn(&turnstile, 1);
        let mut waiting: Vec<_> = [1, 1, 1, 1, 1, 2, 3].map(|key| ask(&turnstile, key)).into();
        assert!(waiting.iter_mut().all(|waiting| now(waiting).is_none()));
        // The first of the long line, then one of each of the others, and only then the long line again.
        for place in [0, 5, 6, 1] {
            drop(held);
            held = now(&mut waiting[place]).expect("it is its turn").unwrap();
        }
        assert!(now(&mut waiting[2]).is_none());
    }

    #[tokio::test]
    async fn a_line_has_a_length_and_whoever_went_away_does_not_count() {
        let turnstile = Turnstile::new(SHARES);
        let held: Vec<_> = (0..3).map(|_| turn(&turnstile, 1)).collect();
        let mut waiting: Vec<_> = (0..5).map(|_| ask(&turnstile, 1)).collect();
        assert!(waiting.iter_mut().all(|waiting| now(waiting).is_none()));
        let refused = now(&mut ask(&turnstile, 1)).unwrap();
        assert_eq!(refused.unwrap_err(), NoTurn::LineIsFull);
        drop(turn(&turnstile, 2));
        waiting.pop();
        assert!(now(&mut ask(&turnstile, 1)).is_none());
        drop((waiting, held));
        assert_eq!(turnstile.taken(), 0);
        drop(turn(&turnstile, 1));
        assert!(is_forgotten(&turnstile));
    }

    #[tokio::test]
    async fn a_turn_that_came_to_somebody_who_had_gone_goes_to_the_next() {
        let turnstile = Turnstile::new(Shares {
            at_once: 1,
            ..SHARES
        });
        let held = turn(&turnstile, 1);
        let mut gone = ask(&turnstile, 1);
        assert!(now(&mut gone).is_none());
        let mut next = ask(&turnstile, 2);
        assert!(now(&mut next).is_none());
        // It is given away, and goes while it lies in the channel.
        drop(held);
        assert!(now(&mut next).is_none());
        drop(gone);
        now(&mut next).unwrap().unwrap();
        drop(next);
        assert!(is_forgotten(&turnstile));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turnstile = Turnstile::new(SHARES);
        let _held: Vec<_> = (0..3).map(|_| turn(&turnstile, 1)).collect();
        let refused = turnstile.enter(&1).await.unwrap_err();
        assert_eq!(refused, NoTurn::TookTooLong);
    }

    #[tokio::test]
    async fn under_load_from_many_threads_nothing_is_lost() {
        let turnstile = Turnstile::new(Shares {
            waiting: usize::MAX,
            ..SHARES
        });
        let tasks: Vec<_> = (0..400_u32)
            .map(|number| {
                let turnstile = turnstile.clone();
                async move {
                    let key = u8::try_from(number % 7).unwrap();
                    let turn = turnstile.enter(&key).await.unwrap();
                    tokio::task::yield_now().await;
                    assert!(turnstile.taken() <= SHARES.at_once);
                    drop(turn);
                }
            })
            .collect();
        let mut set = tokio::task::JoinSet::new();
        for task in tasks {
            set.spawn(task);
        }
        let done = set.join_all().await;
        assert_eq!(done.len(), 400);
        assert!(is_forgotten(&turnstile));
    }
}
