//! One tenant's load is bounded: how many requests of one instance are carried out at the same time.
//!
//! A flood of requests of one instance would otherwise stand in the way of everybody else's: whatever is ready to run
//! runs in the order of arrival. So only so many of each instance are under way at once; the others wait in a line of
//! their instance, where they cost nothing, and which has an end. Below that bound nobody notices anything.
//!
//! What is answered without any waiting is never under way together with others of its kind, however many stand
//! before the door: they are a queue of the runtime. Where that has grown long, requests give way first: a few of each
//! instance go with each round of the queue, the others wait in a line of their instance as well, and whoever asks
//! seldom just goes. So a flood of connections makes a round longer by a few requests and not by all of them.
//!
//! This is for what is quick and comes in great numbers. What waits for a disk or for a thread is shared out where
//! that is waited for: reads and writes of a backend in `pilvi_store::pool`, messages of a gateway in its hub, uploads
//! of an app in MAR.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pilvi_base::Turnstile;
use pilvi_base::turnstile::{NoTurn, Shares, Turn};
use pilvi_model::{Error, Result};

/// The share of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests under way at once.
    pub in_flight: usize,
    /// Requests that wait for that.
    pub waiting: usize,
    /// How long each of them does.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight: 64,
            waiting: 1024,
            patience: Duration::from_secs(10),
        }
    }
}

/// Lines lie in so many tables, so that instances seldom meet.
const SHARDS: usize = 16;

/// Shares out requests in flight. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Fairness(Arc<Shards>);

#[derive(Debug)]
struct Shards {
    /// None: there is no bound.
    lines: Vec<Turnstile<u64>>,
    rounds: Rounds,
    hasher: RandomState,
}

/// Whether requests that are ready wait long for a thread, and who goes next while they do.
#[derive(Debug)]
struct Rounds {
    began: Instant,
    /// Counts requests: one of so many looks how long a round takes.
    requests: AtomicU32,
    /// In microseconds since `began`. 0: nobody need give way.
    crowded_until: AtomicU64,
    /// Those who go with the next round.
    going: Turnstile<u64>,
    /// How many came lately, by key. Two keys may share a place, and two threads lose a request: both do no harm.
    lately: Box<[AtomicU64]>,
}

/// One request of so many looks how long a round takes.
const LOOK_EVERY: u32 = 64;
/// A round that takes longer is a crowd.
const LONG: Duration = Duration::from_millis(2);
/// So many requests of an instance go with each round of a crowd.
const GOING: usize = 16;
/// While so many of one instance wait for a round, there still is a crowd, and so long after it.
const CROWD: usize = 32;
const LASTS: u64 = 100_000;
/// Whoever sent no more than that within four milliseconds need not give way.
const SELDOM: u64 = 4;

/// A request is under way, until this is dropped. Cloning holds it as well.
#[derive(Clone, Debug)]
pub struct InFlight {
    _turn: Option<Arc<Turn<u64>>>,
}

impl Fairness {
    pub fn new(settings: Settings) -> Self {
        let shares = Shares {
            at_once: usize::MAX,
            each: settings.in_flight,
            waiting: settings.waiting,
            patience: settings.patience,
        };
        Self::with(vec![shares; SHARDS], settings)
    }

    /// Everybody may as much as they like.
    pub fn unbounded() -> Self {
        Self::with(Vec::new(), Settings::default())
    }

    fn with(shares: Vec<Shares>, settings: Settings) -> Self {
        Self(Arc::new(Shards {
            lines: shares.into_iter().map(Turnstile::new).collect(),
            rounds: Rounds::new(settings),
            hasher: RandomState::new(),
        }))
    }

    /// Lets others go first while more requests of an instance are ready than go with one round.
    ///
    /// # Errors
    /// Those of [`Fairness::enter`].
    pub async fn give_way(&self, instance: &str) -> Result<()> {
        if self.0.lines.is_empty() {
            return Ok(());
        }
        let rounds = &self.0.rounds;
        if rounds.crowded_until.load(Ordering::Relaxed) != 0 {
            let key = self.0.hasher.hash_one(instance);
            return rounds.go(key).await.map_err(too_many);
        }
        let before = rounds.requests.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(LOOK_EVERY) {
            rounds.look().await;
        }
        Ok(())
    }

    /// Begins a request of an instance, for which it may have to wait.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`] when too many wait already, [`pilvi_model::Kind::Unavailable`] when its turn
    /// does not come in time.
    pub async fn enter(&self, instance: &str) -> Result<InFlight> {
        let lines = &self.0.lines;
        if lines.is_empty() {
            return Ok(InFlight { _turn: None });
        }
        let key = self.0.hasher.hash_one(instance);
        let shard = usize::try_from(key % lines.len() as u64).unwrap_or(0);
        let turn = lines[shard].enter(&key).await.map_err(too_many)?;
        Ok(InFlight {
            _turn: Some(Arc::new(turn)),
        })
    }
}

impl Rounds {
    fn new(settings: Settings) -> Self {
        /// Places for those who came lately.
        const PLACES: usize = 1024;
        Self {
            began: Instant::now(),
            requests: AtomicU32::new(0),
            crowded_until: AtomicU64::new(0),
            going: Turnstile::new(Shares {
                at_once: usize::MAX,
                each: GOING,
                waiting: settings.waiting,
                patience: settings.patience,
            }),
            lately: std::iter::repeat_with(AtomicU64::default)
                .take(PLACES)
                .collect(),
        }
    }

    /// Stands behind all that is ready, once, and takes the time.
    async fn look(&self) {
        let started = Instant::now();
        tokio::task::yield_now().await;
        if started.elapsed() > LONG {
            self.last();
        }
    }

    /// Goes with the next round that has room.
    async fn go(&self, key: u64) -> std::result::Result<(), NoTurn> {
        let now = self.now();
        if now > self.crowded_until.load(Ordering::Relaxed) {
            self.crowded_until.store(0, Ordering::Relaxed);
            return Ok(());
        }
        if self.comes_seldom(key, now) {
            return Ok(());
        }
        if self.going.waiting(&key) >= CROWD {
            self.last();
        }
        let _going = self.going.enter(&key).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    /// There is a crowd, for a while.
    fn last(&self) {
        let until = self.now() + LASTS;
        self.crowded_until.store(until, Ordering::Relaxed);
    }

    fn comes_seldom(&self, key: u64, now: u64) -> bool {
        let window = now >> 12;
        let places = self.lately.len() as u64;
        let place = usize::try_from(key % places).unwrap_or(0);
        let known = self.lately[place].load(Ordering::Relaxed);
        let before = if known >> 16 == window {
            known & 0xffff
        } else {
            0
        };
        let count = (before + 1).min(0xffff);
        self.lately[place].store((window << 16) | count, Ordering::Relaxed);
        count <= SELDOM
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn too_many(no: NoTurn) -> Error {
    match no {
        NoTurn::LineIsFull => Error::over_limit(
            "too many requests wait for their turn here; send fewer at the same time",
        ),
        NoTurn::TookTooLong => {
            Error::unavailable("this has more requests than it can answer just now; try again soon")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use pilvi_model::Kind;

    use super::*;

    const SETTINGS: Settings = Settings {
        in_flight: 2,
        waiting: 1,
        patience: Duration::from_secs(10),
    };

    #[tokio::test(start_paused = true)]
    async fn a_flooded_instance_waits_and_the_others_do_not() {
        let fairness = Fairness::new(SETTINGS);
        let held = [
            fairness.enter("flooded").await.unwrap(),
            fairness.enter("flooded").await.unwrap(),
        ];
        let mut third = pin!(fairness.enter("flooded"));
        let waits = tokio::time::timeout(Duration::from_secs(5), third.as_mut()).await;
        assert!(waits.is_err());
        let refused = fairness.enter("flooded").await.unwrap_err();
        assert_eq!(refused.kind, Kind::OverLimit);
        fairness.enter("quiet").await.unwrap();
        drop(held);
        third.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let fairness = Fairness::new(SETTINGS);
        let _held = [
            fairness.enter("a").await.unwrap(),
            fairness.enter("a").await.unwrap(),
        ];
        let refused = fairness.enter("a").await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
    }

    #[tokio::test]
    async fn a_request_is_under_way_as_long_as_anybody_holds_it() {
        let fairness = Fairness::new(Settings {
            in_flight: 1,
            waiting: 0,
            ..SETTINGS
        });
        let held = fairness.enter("a").await.unwrap();
        let also = held.clone();
        drop(held);
        fairness.enter("a").await.unwrap_err();
        drop(also);
        fairness.enter("a").await.unwrap();
    }

    impl Fairness {
        fn crowded(&self) -> bool {
            self.0.rounds.crowded_until.load(Ordering::Relaxed) != 0
        }
    }

    #[tokio::test]
    async fn without_a_crowd_nobody_gives_way() {
        let fairness = Fairness::new(Settings::default());
        for _ in 0..1000 {
            fairness.give_way("a").await.unwrap();
        }
        assert!(!fairness.crowded());
        let rounds = &fairness.0.rounds;
        assert_eq!(rounds.going.taken(), 0);
    }

    /// On one thread, so that what is ready runs in its order.
    #[tokio::test]
    async fn in_a_crowd_whoever_comes_seldom_goes_before_all_who_flood() {
        const FLOOD: usize = 500;
        let fairness = Fairness::new(Settings::default());
        fairness.0.rounds.last();
        let answered = Arc::new(AtomicU32::new(0));
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..FLOOD {
            let (fairness, answered) = (fairness.clone(), Arc::clone(&answered));
            flood.spawn(async move {
                fairness.give_way("loud").await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut quiet = tokio::task::JoinSet::new();
        quiet.spawn({
            let (fairness, answered) = (fairness.clone(), Arc::clone(&answered));
            async move {
                fairness.give_way("quiet").await.unwrap();
                answered.load(Ordering::Relaxed)
            }
        });
        let before = usize::try_from(quiet.join_all().await[0]).unwrap();
        assert!(before < FLOOD / 5, "{before}");
        flood.join_all().await;
        assert_eq!(fairness.0.rounds.going.taken(), 0);
        // It is over when nobody has waited for a while.
        let rounds = &fairness.0.rounds;
        rounds.crowded_until.store(1, Ordering::Relaxed);
        fairness.give_way("loud").await.unwrap();
        assert!(!fairness.crowded());
    }

    #[tokio::test]
    async fn one_of_many_looks_whether_there_is_a_crowd() {
        let fairness = Fairness::new(Settings::default());
        // It stands behind this one, which takes long.
        let mut slow = tokio::task::JoinSet::new();
        slow.spawn(async { std::thread::sleep(LONG * 2) });
        fairness.give_way("a").await.unwrap();
        slow.join_all().await;
        assert!(fairness.crowded());
    }
}
