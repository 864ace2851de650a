//! The name of a message, which is also its place in the order of its gateway.

use std::fmt;
use std::num::NonZeroU128;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use pilvi_base::secret::random_bytes;

/// How many bits of a stamp count within one millisecond. A burst that needs more borrows from the next one.
const COUNTER_BITS: u32 = 16;

/// A UUID of version 7 (RFC 9562, 5.7): the time in milliseconds, a counter, and who gave it. Written, and compared as
/// text, they are in the order in which they were given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MessageId(NonZeroU128);

/// Gives ids, each greater than all before, also when the clock is set back.
#[derive(Debug)]
pub(crate) struct MessageIds {
    /// The time and the counter of the latest one.
    latest: AtomicU64,
    /// So that two servers never give the same one.
    giver: u64,
}

impl MessageIds {
    pub(crate) fn new() -> Self {
        Self {
            latest: AtomicU64::new(0),
            giver: u64::from_ne_bytes(random_bytes()),
        }
    }

    pub(crate) fn next(&self, now: SystemTime) -> MessageId {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let earliest = millis << COUNTER_BITS;
        let after = |latest: u64| earliest.max(latest + 1);
        let given = self
            .latest
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| {
                Some(after(latest))
            });
        let (Ok(latest) | Err(latest)) = given;
        MessageId::new(after(latest), self.giver)
    }
}

impl MessageId {
    /// 48 bits of time, the version, 12 bits of the counter, the variant, its other 4 bits, and 58 of the giver.
    fn new(stamp: u64, giver: u64) -> Self {
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        let stamp = u128::from(stamp);
        let time = (stamp >> COUNTER_BITS) << 80;
        let upper = ((stamp >> 4) & 0xFFF) << 64;
        let lower = (stamp & 0xF) << 58;
        let giver = u128::from(giver >> 6);
        let id = NonZeroU128::MIN | (time | VERSION | upper | VARIANT | lower | giver);
        Self(id)
    }

    /// Reads the one spelling; anything else names no message.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut id: u128 = 0;
        let mut places = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'-' if matches!(place, 8 | 13 | 18 | 23) => continue,
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            id = id << 4 | u128::from(digit);
            places += 1;
        }
        let whole = text.len() == 36 && places == 32;
        let id = NonZeroU128::new(id).filter(|_| whole)?;
        Some(Self(id))
    }

    /// When it was given, in milliseconds since 1970.
    pub(crate) fn millis(self) -> u64 {
        let millis = self.0.get() >> 80;
        u64::try_from(millis).expect("48 bits fit")
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.get();
        let part = |shift: u32, digits: u32| (id >> shift) & ((1 << (4 * digits)) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn ids_grow_within_a_millisecond_beyond_its_counter_and_when_the_clock_goes_back() {
        let ids = MessageIds::new();
        let mut latest = ids.next(at(5_000));
        for now in (0..70_000).map(|_| 5_000).chain([4_000, 1, 5_001, 9_000]) {
            let next = ids.next(at(now));
            assert!(next > latest && next.to_string() > latest.to_string());
            latest = next;
        }
        assert_eq!(latest.millis(), 9_000);
    }

    #[test]
    fn threads_never_get_the_same_one() {
        let ids = MessageIds::new();
        let mut given: Vec<MessageId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5_000).map(|_| ids.next(at(1))).collect::<Vec<_>>()))
                .collect();
            let given = threads.into_iter().map(|thread| thread.join().unwrap());
            given.flatten().collect()
        });
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 20_000);
    }

    #[test]
    fn an_id_is_written_as_a_uuid_of_version_7_and_has_one_spelling() {
        let id = MessageId::new(0x0123_4567_89AB << 16 | 0xCDEF, u64::MAX);
        let text = "01234567-89ab-7cde-bfff-ffffffffffff";
        assert_eq!(id.to_string(), text);
        assert_eq!(MessageId::parse(text), Some(id));
        assert_eq!(id.millis(), 0x0123_4567_89AB);
        for wrong in [
            "",
            "01234567-89AB-7cde-bfff-ffffffffffff",
            "0123456789ab7cdebfffffffffffffff",
            "01234567-89ab-7cde-bfff-fffffffffff",
            "01234567-89ab-7cde-bfff-ffffffffffff0",
            "012345678-9ab-7cde-bfff-ffffffffffff",
            "01234567-89ab-7cde-bfff--fffffffffff",
            "00000000-0000-0000-0000-000000000000",
            "ä1234567-89ab-7cde-bfff-fffffffffff",
        ] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
    }
}
