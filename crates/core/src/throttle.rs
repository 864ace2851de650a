//! How often somebody may fail.
//!
//! Only failures count, and they are counted three ways: for one name from one peer, for one peer whatever the name,
//! and for one name whoever the peer. Only the first count refuses: whoever fails often for one name is not heard
//! again from there for a while. The other two only shorten the patience of the first. So a stranger who guesses at
//! somebody's name from elsewhere locks nobody out, neighbours behind one address do not stop one another, and who
//! knows the password passes at the first try, whatever others do.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use pilvi_base::Clock;
use pilvi_base::secret::sha256;
use pilvi_model::{BackendId, Timestamp};

/// How many failures pass, and how fast they are forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// So many at once.
    pub failures: u32,
    /// One of them is forgotten in this time.
    pub forgotten: Duration,
}

/// The bounds of a [`Throttle`].
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// One name from one peer.
    pub pair: Patience,
    /// One name from one peer, while the peer or the name is beyond its bounds.
    pub pair_under_attack: u32,
    pub peer: Patience,
    pub name: Patience,
}

/// For logging in: a person who mistypes never meets it, and a year of guessing from one place makes a million guesses
/// at one name.
pub const LOGINS: Rules = Rules {
    pair: Patience {
        failures: 10,
        forgotten: Duration::from_secs(30),
    },
    pair_under_attack: 3,
    peer: Patience {
        failures: 200,
        forgotten: Duration::from_secs(3),
    },
    name: Patience {
        failures: 100,
        forgotten: Duration::from_secs(30),
    },
};

/// So many of each kind are remembered; beyond that the longest untouched are forgotten.
const PAIRS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("it is not zero");
const OTHERS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("it is not zero");

/// Counts failures. Cloning gives another handle on the same counts.
#[derive(Clone, Debug)]
pub struct Throttle {
    rules: Rules,
    clock: Clock,
    /// A plain mutex: held for a few look-ups.
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug)]
struct Counts {
    pairs: LruCache<Key, Count>,
    peers: LruCache<Key, Count>,
    names: LruCache<Key, Count>,
}

type Key = [u8; 32];

/// Failures that are not forgotten yet, as the time until they all are.
#[derive(Clone, Copy, Debug)]
struct Count {
    forgotten_at: Timestamp,
}

/// Who tries what. The name itself is not kept.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pair: Key,
    peer: Key,
    name: Key,
}

/// It failed too often; in this time another try will be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyFailures {
    pub retry_after: Duration,
}

impl Attempt {
    pub fn new(backend: BackendId, name: &str, peer: IpAddr) -> Self {
        let peer = sha256(&network(peer));
        let mut text = backend.as_bytes().to_vec();
        text.extend_from_slice(name.as_bytes());
        let name = sha256(&text);
        Self {
            pair: sha256(&[name, peer].concat()),
            peer,
            name,
        }
    }
}

/// The part of an address that one customer of a network provider cannot change at will.
fn network(peer: IpAddr) -> Vec<u8> {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

impl Throttle {
    pub fn new(rules: Rules, clock: Clock) -> Self {
        let counts = Counts {
            pairs: LruCache::new(PAIRS_MAX),
            peers: LruCache::new(OTHERS_MAX),
            names: LruCache::new(OTHERS_MAX),
        };
        Self {
            rules,
            clock,
            counts: Arc::new(Mutex::new(counts)),
        }
    }

    /// Whether this attempt may be made.
    pub fn check(&self, attempt: &Attempt) -> Result<(), TooManyFailures> {
        let now = self.clock.now().into();
        let rules = &self.rules;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let attacked = debt(&mut counts.peers, &attempt.peer, now) >= rules.peer.span()
            || debt(&mut counts.names, &attempt.name, now) >= rules.name.span();
        let pair = Patience {
            failures: match attacked {
                true => rules.pair_under_attack,
                false => rules.pair.failures,
            },
            ..rules.pair
        };
        let debt = debt(&mut counts.pairs, &attempt.pair, now);
        // As much must be forgotten as makes room for one more failure.
        let room = pair.span().saturating_sub(pair.forgotten);
        match debt.checked_sub(room) {
            Some(retry_after) if !retry_after.is_zero() => Err(TooManyFailures { retry_after }),
            _ => Ok(()),
        }
    }

    /// The attempt failed.
    pub fn failed(&self, attempt: &Attempt) {
        let now = self.clock.now().into();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut counts.pairs, attempt.pair, self.rules.pair, now);
        add(&mut counts.peers, attempt.peer, self.rules.peer, now);
        add(&mut counts.names, attempt.name, self.rules.name, now);
    }

    /// The attempt succeeded: the mistypings before it are forgotten. What the peer did with other names is not.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.pairs.pop(&attempt.pair);
    }
}

impl Patience {
    /// In what time all the failures that pass are forgotten.
    fn span(&self) -> Duration {
        self.forgotten.saturating_mul(self.failures)
    }
}

fn debt(counts: &mut LruCache<Key, Count>, key: &Key, now: Timestamp) -> Duration {
    let until = counts
        .get(key)
        .map_or(0, |count| count.forgotten_at.as_millis());
    Duration::from_millis(until.saturating_sub(now.as_millis()))
}

fn add(counts: &mut LruCache<Key, Count>, key: Key, patience: Patience, now: Timestamp) {
    // However often it fails, it is not held against anybody for longer than what is allowed takes to forget.
    let debt = debt(counts, &key, now)
        .saturating_add(patience.forgotten)
        .min(patience.span());
    let forgotten_at = now.plus(debt);
    counts.put(key, Count { forgotten_at });
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn throttle() -> (Throttle, Clock) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_400_000_000));
        (Throttle::new(LOGINS, clock.clone()), clock)
    }

    fn attempt(name: &str, peer: &str) -> Attempt {
        let backend = "5417e5485a3d8b418a01adb7".parse().unwrap();
        Attempt::new(backend, name, peer.parse().unwrap())
    }

    /// Fails as often as it is let, at most `times`.
    fn fail(throttle: &Throttle, attempt: &Attempt, times: u32) -> u32 {
        (0..times)
            .take_while(|_| throttle.check(attempt).is_ok())
            .inspect(|_| throttle.failed(attempt))
            .count() as u32
    }

    #[test]
    fn ten_failures_pass_and_then_one_every_half_minute() {
        let (throttle, clock) = throttle();
        let guesser = attempt("anna", "192.0.2.1");
        assert_eq!(fail(&throttle, &guesser, 100), 10);
        let refused = throttle.check(&guesser).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(30));
        clock.advance(refused.retry_after);
        assert_eq!(fail(&throttle, &guesser, 100), 1);
        clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(fail(&throttle, &guesser, 100), 10);
    }

    #[test]
    fn a_success_forgets_the_mistypings_before_it() {
        let (throttle, _) = throttle();
        let anna = attempt("anna", "192.0.2.1");
        for _ in 0..50 {
            assert_eq!(fail(&throttle, &anna, 2), 2);
            throttle.succeeded(&anna);
        }
    }

    #[test]
    fn nobody_is_locked_out_by_a_stranger() {
        let (throttle, _) = throttle();
        for stranger in 0..1000 {
            let stranger = format!("198.51.{}.{}", stranger / 250, stranger % 250);
            fail(&throttle, &attempt("anna", &stranger), 20);
        }
        let anna = attempt("anna", "192.0.2.1");
        assert_eq!(fail(&throttle, &anna, 100), LOGINS.pair_under_attack);
        assert!(throttle.check(&attempt("anna", "192.0.2.2")).is_ok());
    }

    #[test]
    fn neighbours_behind_one_address_do_not_stop_one_another() {
        let (throttle, _) = throttle();
        for name in 0..1000 {
            fail(
                &throttle,
                &attempt(&format!("name {name}"), "192.0.2.1"),
                20,
            );
        }
        assert!(throttle.check(&attempt("anna", "192.0.2.1")).is_ok());
        let sprayed = attempt("name 1001", "192.0.2.1");
        assert_eq!(fail(&throttle, &sprayed, 100), LOGINS.pair_under_attack);
    }

    #[test]
    fn a_name_of_another_backend_is_another_name() {
        let (throttle, _) = throttle();
        fail(&throttle, &attempt("anna", "192.0.2.1"), 100);
        let other = "5417e5485a3d8b418a01adb8".parse().unwrap();
        let other = Attempt::new(other, "anna", "192.0.2.1".parse().unwrap());
        assert!(throttle.check(&other).is_ok());
    }

    #[test]
    fn one_customer_is_one_peer_however_many_addresses_they_have() {
        let same = attempt("anna", "2001:db8:1:2::1").peer;
        assert_eq!(attempt("anna", "2001:db8:1:2:ffff::9").peer, same);
        assert_ne!(attempt("anna", "2001:db8:1:3::1").peer, same);
        assert_eq!(
            attempt("anna", "::ffff:192.0.2.1").peer,
            attempt("anna", "192.0.2.1").peer
        );
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, _) = throttle();
        for name in 0..PAIRS_MAX.get() + 10 {
            throttle.failed(&attempt(&name.to_string(), "192.0.2.1"));
        }
        let counts = throttle.counts.lock().unwrap();
        assert_eq!(counts.pairs.len(), PAIRS_MAX.get());
        assert_eq!(counts.names.len(), OTHERS_MAX.get());
    }
}
