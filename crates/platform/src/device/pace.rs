//! How fast a program may poll.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use pilvi_base::Clock;
use pilvi_model::Timestamp;

use super::INTERVAL;

/// What a program that asks too often waits longer from then on (RFC 8628, §3.5).
const LONGER: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// A network may bring two polls closer together than they were sent.
const JITTER: Duration = Duration::from_secs(1);
/// Codes that are known are never more.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// Remembers when each code was last polled with. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Pace {
    clock: Clock,
    /// A plain mutex: held for one look-up.
    polls: Arc<Mutex<LruCache<[u8; 32], Poll>>>,
}

#[derive(Clone, Copy)]
struct Poll {
    at: Timestamp,
    interval: Duration,
}

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            polls: Arc::new(Mutex::new(LruCache::new(REMEMBERED_MAX))),
        }
    }

    /// Notes a poll; `false`: it comes too early, and the next may come even later.
    pub(super) fn is_kept(&self, code: [u8; 32]) -> bool {
        let now: Timestamp = self.clock.now().into();
        let mut polls = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        let last = polls.get(&code).copied();
        let interval = last.map_or(INTERVAL, |last| last.interval);
        let is_early = last.is_some_and(|last| now < last.at.plus(interval.saturating_sub(JITTER)));
        let interval = match is_early {
            true => interval.saturating_add(LONGER).min(LONGEST),
            false => interval,
        };
        polls.put(code, Poll { at: now, interval });
        !is_early
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn whoever_hurries_waits_longer() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_400_000_000));
        let pace = Pace::new(clock.clone());
        let after = |seconds| {
            clock.advance(Duration::from_secs(seconds));
            pace.is_kept([1; 32])
        };
        assert!(after(0));
        assert!(after(5));
        assert!(after(4));
        assert!(!after(3));
        // Ten seconds now.
        assert!(!after(5));
        // Fifteen.
        assert!(after(14));
        assert!(!after(13));
        // Another code is another program.
        assert!(pace.is_kept([2; 32]));
        for _ in 0..100 {
            after(0);
        }
        assert!(after(60));
    }
}
