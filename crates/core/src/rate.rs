//! How often somebody may ask: buckets of tokens that fill up again by and by.
//!
//! A bucket is one number, the moment at which it is full again, so a look at it is a look at the clock and one
//! compare-and-swap. All buckets lie in one table whose size never changes: whoever comes with a million names takes
//! no more memory than whoever comes with one. A name that is new where all places are taken gets the place of the
//! bucket that lacks the least. So what is forgotten is always in the asker's favour, and nobody gets rid of a debt by
//! asking under many other names.
//!
//! What the rates are for says [`Rates`]; who counts as whom, the door does (`pilvi_web::rates`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use pilvi_base::Clock;
use pilvi_model::{Error, PersonId, Result};

/// So many at once, and so many a second for as long as one likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// The rates of a server. 0 a second: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests with one token to the control plane: the platform, apps, git. Objects and messages are not counted but
    /// shared out (`fairness`).
    pub token: Rate,
    /// The same of one person, with whatever tokens.
    pub person: Rate,
    /// The same without a token that is known to be good, from one address.
    pub peer: Rate,
    /// Requests to any service with a token that turned out to be wrong, from one address.
    pub failures: Rate,
}

impl Default for Settings {
    /// The classic command line asks for its token before each call (`platform.md` §3), a few times a second when a
    /// script runs it; ten scripts at once have room. A loop without a pause asks thousands of times a second. A
    /// fleet of devices behind one address may come with tokens that have run out, and must be able to get new ones.
    fn default() -> Self {
        Self {
            token: Rate {
                burst: 1000,
                per_second: 100,
            },
            person: Rate {
                burst: 2000,
                per_second: 200,
            },
            peer: Rate {
                burst: 600,
                per_second: 60,
            },
            failures: Rate {
                burst: 1000,
                per_second: 100,
            },
        }
    }
}

/// What a bucket holds after something was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub requests: u32,
    /// Until the bucket is full again.
    pub full_in: Duration,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// In this time there will be something in it.
    pub retry_after: Duration,
}

/// All buckets of a server. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Rates(Arc<Tables>);

#[derive(Debug)]
struct Tables {
    settings: Settings,
    clock: Clock,
    /// Tokens and persons.
    holders: Table,
    /// Addresses. They have a table of their own, as anybody can come with very many tokens.
    peers: Table,
}

/// So many buckets, and 16 bytes for each.
const HOLDERS_MAX: usize = 1 << 16;
const PEERS_MAX: usize = 1 << 15;

/// Whose bucket it is: a digest that nobody can aim at, because it is made with a secret of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Rates {
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self(Arc::new(Tables {
            settings,
            clock,
            holders: Table::new(HOLDERS_MAX),
            peers: Table::new(PEERS_MAX),
        }))
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The name of a token at one service. The token itself is not kept.
    pub fn token(&self, service: impl Hash, token: &[u8]) -> Key {
        self.0.holders.key(&(service, token))
    }

    /// Whether the token was good the last time that it came.
    pub fn is_known(&self, token: Key) -> bool {
        self.0.holders.find(token).is_some()
    }

    /// The token was good. From now on it has a bucket of its own.
    pub fn welcome(&self, token: Key) {
        let now = self.now();
        self.0.holders.slot(token, now);
    }

    /// The token was wrong, whatever it was before.
    pub fn failed(&self, token: Key, peer: IpAddr) {
        self.0.holders.forget(token);
        let key = self.0.peers.key(&("failure", network(peer)));
        let rate = self.0.settings.failures;
        // Nobody is refused here: the next one is.
        let _ = self.0.peers.take(key, rate, self.now());
    }

    /// Whether wrong tokens came so often from there that unknown ones are not even looked at.
    pub fn check_failures(&self, peer: IpAddr) -> Result<(), Spent> {
        let key = self.0.peers.key(&("failure", network(peer)));
        let rate = self.0.settings.failures;
        self.0.peers.check(key, rate, self.now())
    }

    /// One guess at what lets somebody in and has no bucket of its own, because it does so only once.
    pub fn take_guess(&self, peer: IpAddr) -> Result<(), Spent> {
        let key = self.0.peers.key(&("failure", network(peer)));
        let rate = self.0.settings.failures;
        self.0.peers.take(key, rate, self.now()).map(drop)
    }

    /// One request with a token that is known.
    pub fn take_token(&self, token: Key) -> Result<Left, Spent> {
        let rate = self.0.settings.token;
        self.0.holders.take(token, rate, self.now())
    }

    /// One request of nobody in particular.
    pub fn take_peer(&self, peer: IpAddr) -> Result<Left, Spent> {
        let key = self.0.peers.key(&("request", network(peer)));
        let rate = self.0.settings.peer;
        self.0.peers.take(key, rate, self.now())
    }

    /// One request of a person.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`]
    pub fn take_person(&self, person: PersonId) -> Result<()> {
        let key = self.0.holders.key(&("person", person));
        let rate = self.0.settings.person;
        let taken = self.0.holders.take(key, rate, self.now());
        taken.map(drop).map_err(|_| {
            Error::over_limit(format!(
                "you send more than the {} requests a second that one person may, with all of your tokens together; \
                 wait a moment",
                rate.per_second
            ))
        })
    }

    /// Microseconds since 1970.
    fn now(&self) -> u64 {
        let now = self.0.clock.now().duration_since(UNIX_EPOCH);
        micros(now.unwrap_or_default())
    }
}

/// The part of an address that one customer of a network provider cannot change at will.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Places in a set; a key can be in any place of its set and nowhere else. Two lines of the cache.
const WAYS: usize = 8;

/// Buckets of many keys in places that were all there from the start.
///
/// Threads meet only at single places, and there without a lock. Where two of them bring new keys into one set at the
/// same moment, one of the keys may lose a request that it had taken, which is no harm.
struct Table {
    slots: Box<[Slot]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Slot {
    /// 0: nobody's.
    key: AtomicU64,
    /// In microseconds since 1970.
    full_at: AtomicU64,
}

impl Table {
    fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two().max(WAYS);
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            hasher: RandomState::new(),
        }
    }

    fn key(&self, name: &impl Hash) -> Key {
        Key(self.hasher.hash_one(name).max(1))
    }

    fn take(&self, key: Key, rate: Rate, now: u64) -> Result<Left, Spent> {
        let Some(bucket) = Bucket::of(rate) else {
            return Ok(UNBOUNDED);
        };
        let slot = self.slot(key, now);
        let mut full_at = slot.full_at.load(Ordering::Relaxed);
        loop {
            let outcome = bucket.debt(full_at, now);
            let new = match outcome {
                Ok(debt) => now.saturating_add(debt),
                Err(_) => bucket.latest(full_at, now),
            };
            let swapped = slot.full_at.compare_exchange_weak(
                full_at,
                new,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return outcome.map(|debt| bucket.left(debt)),
                Err(other) => full_at = other,
            }
        }
    }

    /// Whether one more could be taken.
    fn check(&self, key: Key, rate: Rate, now: u64) -> Result<(), Spent> {
        match (Bucket::of(rate), self.find(key)) {
            (Some(bucket), Some(slot)) => {
                let full_at = slot.full_at.load(Ordering::Relaxed);
                let latest = bucket.latest(full_at, now);
                if latest != full_at {
                    // Whoever changed it meanwhile did the same.
                    let _ = slot.full_at.compare_exchange(
                        full_at,
                        latest,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                }
                bucket.debt(latest, now).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn set(&self, key: Key) -> &[Slot] {
        let sets = self.slots.len() / WAYS;
        // The number of sets is a power of two, so the low bits choose one.
        let set = usize::try_from(key.0 % sets as u64).unwrap_or(0);
        &self.slots[set * WAYS..][..WAYS]
    }

    fn find(&self, key: Key) -> Option<&Slot> {
        let mut set = self.set(key).iter();
        set.find(|slot| slot.key.load(Ordering::Acquire) == key.0)
    }

    /// The place of a key, which is made for it when it has none.
    fn slot(&self, key: Key, now: u64) -> &Slot {
        loop {
            if let Some(slot) = self.find(key) {
                return slot;
            }
            let debt = |slot: &&Slot| {
                let is_taken = slot.key.load(Ordering::Relaxed) != 0;
                let full_at = slot.full_at.load(Ordering::Relaxed);
                (full_at.saturating_sub(now), is_taken)
            };
            let slots = self.set(key).iter();
            let victim = slots.min_by_key(debt).expect("a set has places");
            let before = victim.key.load(Ordering::Relaxed);
            victim.full_at.store(0, Ordering::Relaxed);
            let swapped =
                victim
                    .key
                    .compare_exchange(before, key.0, Ordering::Release, Ordering::Relaxed);
            if swapped.is_ok() {
                return victim;
            }
        }
    }

    fn forget(&self, key: Key) {
        if let Some(slot) = self.find(key) {
            slot.full_at.store(0, Ordering::Relaxed);
            // Somebody else may have taken the place meanwhile, and keeps it.
            let _ = slot
                .key
                .compare_exchange(key.0, 0, Ordering::Release, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// A rate in microseconds.
#[derive(Clone, Copy)]
struct Bucket {
    /// What one request takes.
    one: u64,
    /// What all that fit take.
    span: u64,
}

const UNBOUNDED: Left = Left {
    requests: u32::MAX,
    full_in: Duration::ZERO,
};

impl Bucket {
    fn of(rate: Rate) -> Option<Self> {
        let one = 1_000_000_u64.checked_div(rate.per_second.into())?.max(1);
        Some(Self {
            one,
            span: one * u64::from(rate.burst.max(1)),
        })
    }

    /// When the bucket is full at the latest: nobody owes more than all of it. It must be written down, or a clock
    /// that was set back would have to come to where it was before anything flows again.
    fn latest(&self, full_at: u64, now: u64) -> u64 {
        full_at.min(now.saturating_add(self.span))
    }

    /// The debt with one request more.
    fn debt(&self, full_at: u64, now: u64) -> Result<u64, Spent> {
        let debt = self.latest(full_at, now).saturating_sub(now) + self.one;
        match debt.checked_sub(self.span) {
            None | Some(0) => Ok(debt),
            Some(over) => Err(Spent {
                retry_after: Duration::from_micros(over),
            }),
        }
    }

    fn left(&self, debt: u64) -> Left {
        let requests = (self.span - debt) / self.one;
        Left {
            requests: u32::try_from(requests).unwrap_or(u32::MAX),
            full_in: Duration::from_micros(debt),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn rates() -> (Rates, Clock) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_400_000_000));
        (Rates::new(Settings::default(), clock.clone()), clock)
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many requests in a row pass.
    fn passing(most: u32, mut take: impl FnMut() -> bool) -> u32 {
        (0..most).take_while(|_| take()).count() as u32
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let (rates, clock) = rates();
        let Rate { burst, per_second } = rates.settings().token;
        let token = rates.token("platform", b"a");
        let all = |rates: &Rates| passing(10_000, || rates.take_token(token).is_ok());
        assert_eq!(all(&rates), burst);
        let refused = rates.take_token(token).unwrap_err();
        let one = Duration::from_secs(1) / per_second;
        assert_eq!(refused.retry_after, one);
        clock.advance(one);
        assert_eq!(all(&rates), 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(all(&rates), per_second);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(all(&rates), burst);
    }

    #[test]
    fn what_is_left_is_told() {
        let (rates, _) = rates();
        let token = rates.token("platform", b"a");
        let left = rates.take_token(token).unwrap();
        assert_eq!(left.requests, rates.settings().token.burst - 1);
        assert_eq!(left.full_in, Duration::from_millis(10));
    }

    /// Ten scripts that run the classic command line without a pause between two of its starts, for an hour.
    #[test]
    fn the_pace_of_the_classic_command_line_never_meets_a_limit() {
        let (rates, clock) = rates();
        let token = rates.token("platform", b"a");
        let person = PersonId::random();
        // A start of Ruby takes a third of a second, and each start asks twice: for the token, and what was wanted.
        for _ in 0..3600 * 3 {
            for _ in 0..2 * 10 {
                rates.take_token(token).unwrap();
                rates.take_person(person).unwrap();
            }
            clock.advance(Duration::from_millis(333));
        }
    }

    #[test]
    fn a_tight_loop_is_stopped_and_nobody_else_is() {
        let (rates, clock) = rates();
        let [looping, other] = [b"a", b"b"].map(|token| rates.token("platform", token));
        let mut refused = 0;
        // Two thousand a second for ten seconds.
        for round in 0..20_000 {
            refused += u32::from(rates.take_token(looping).is_err());
            if round % 100 == 0 {
                rates.take_token(other).unwrap();
            }
            clock.advance(Duration::from_micros(500));
        }
        let Rate { burst, per_second } = rates.settings().token;
        // The last moment of the ten seconds is after the last request.
        assert_eq!(20_000 - refused, burst + 10 * per_second - 1);
    }

    #[test]
    fn all_tokens_of_a_person_share_what_the_person_may() {
        let (rates, _) = rates();
        let [one, other] = [PersonId::random(), PersonId::random()];
        let passed = passing(100_000, || rates.take_person(one).is_ok());
        assert_eq!(passed, rates.settings().person.burst);
        rates.take_person(other).unwrap();
    }

    #[test]
    fn one_customer_is_one_peer_however_many_addresses_they_have() {
        let (rates, _) = rates();
        let burst = rates.settings().peer.burst;
        let passed = (0..10 * burst)
            .filter(|number| {
                let address = format!("2001:db8:1:2:{:x}::{:x}", number >> 16, number & 0xffff);
                rates.take_peer(peer(&address)).is_ok()
            })
            .count();
        assert_eq!(passed as u32, burst);
        rates.take_peer(peer("2001:db8:1:3::1")).unwrap();
        // An address of the old kind is the same in either dress.
        passing(10 * burst, || rates.take_peer(peer("192.0.2.1")).is_ok());
        rates.take_peer(peer("::ffff:192.0.2.1")).unwrap_err();
        rates.take_peer(peer("::ffff:192.0.2.2")).unwrap();
    }

    #[test]
    fn a_flood_of_wrong_tokens_closes_the_door_to_unknown_ones_alone() {
        let (rates, clock) = rates();
        let here = peer("192.0.2.1");
        let good = rates.token("eds", b"good");
        rates.welcome(good);
        let wrong = |number: u32| rates.token("eds", &number.to_le_bytes());
        let heard = (0..10_000)
            .take_while(|_| rates.check_failures(here).is_ok())
            .inspect(|number| rates.failed(wrong(*number), here))
            .count();
        assert_eq!(heard as u32, rates.settings().failures.burst);
        assert!(rates.is_known(good));
        assert!(!rates.is_known(wrong(1)));
        rates.check_failures(peer("192.0.2.2")).unwrap();
        clock.advance(Duration::from_millis(10));
        rates.check_failures(here).unwrap();
    }

    #[test]
    fn a_good_token_that_was_revoked_is_unknown_again() {
        let (rates, _) = rates();
        let token = rates.token("platform", b"a");
        rates.welcome(token);
        assert!(rates.is_known(token));
        assert!(!rates.is_known(rates.token("eds", b"a")));
        rates.failed(token, peer("192.0.2.1"));
        assert!(!rates.is_known(token));
    }

    #[test]
    fn a_million_names_take_no_memory_and_free_nobody_of_their_debt() {
        let (rates, _) = rates();
        let spender = rates.token("platform", b"spender");
        passing(10_000, || rates.take_token(spender).is_ok());
        let here = peer("192.0.2.1");
        passing(10_000, || rates.take_peer(here).is_ok());
        for number in 0..1_000_000_u32 {
            let token = rates.token("platform", &number.to_le_bytes());
            rates.take_token(token).unwrap();
            let address = IpAddr::from((0x0a00_0000 | number).to_be_bytes());
            rates.take_peer(address).unwrap();
        }
        assert_eq!(rates.0.holders.slots.len(), HOLDERS_MAX);
        assert_eq!(rates.0.peers.slots.len(), PEERS_MAX);
        rates.take_token(spender).unwrap_err();
        rates.take_peer(here).unwrap_err();
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out_for_longer_than_a_bucket_takes() {
        let table = Table::new(8);
        let key = table.key(&"a");
        let rate = Rate {
            burst: 10,
            per_second: 10,
        };
        while table.take(key, rate, 1_000_000_000_000).is_ok() {}
        let before = 1_000_000;
        let refused = table.take(key, rate, before).unwrap_err();
        assert!(refused.retry_after <= Duration::from_millis(100));
        table.check(key, rate, before).unwrap_err();
        let later = before + 100_000;
        table.check(key, rate, later).unwrap();
        table.take(key, rate, later).unwrap();
        table.take(key, rate, later).unwrap_err();
    }

    #[test]
    fn no_rate_is_no_bound() {
        let settings = Settings {
            token: Rate {
                burst: 0,
                per_second: 0,
            },
            ..Settings::default()
        };
        let rates = Rates::new(settings, Clock::system());
        let token = rates.token("platform", b"a");
        assert_eq!(
            passing(100_000, || rates.take_token(token).is_ok()),
            100_000
        );
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let (rates, _) = rates();
        let token = rates.token("platform", b"a");
        rates.welcome(token);
        let taken: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| passing(10_000, || rates.take_token(token).is_ok())))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, rates.settings().token.burst);
    }
}
