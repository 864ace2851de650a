//! Messages that carry the moment at which they were sent.

use std::time::{Duration, Instant};

/// The usual size of a message, as in the published comparisons.
pub(crate) const MESSAGE_BYTES: usize = 128;
/// Nanoseconds in decimal digits, so that the message is a text for everybody.
const DIGITS: usize = 20;
/// Where a message stands in the text of an object that carries it.
const MEMBER: &[u8] = br#""stamp":""#;

/// The zero of all stamps of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// A message of the usual size, sent now.
    pub(crate) fn message(self) -> String {
        self.message_of(MESSAGE_BYTES)
    }

    /// A message of so many bytes, sent now.
    pub(crate) fn message_of(self, bytes: usize) -> String {
        let nanos = self.0.elapsed().as_nanos();
        format!("{nanos:0DIGITS$}{:.<1$}", "", bytes.saturating_sub(DIGITS))
    }

    /// How long ago the message was sent that an object has as its member `stamp`; `None` when it has none.
    pub(crate) fn age_within(self, object: &[u8], now: Instant) -> Option<Duration> {
        let place = memchr::memmem::find(object, MEMBER)?;
        self.age(&object[place + MEMBER.len()..], now)
    }

    /// How long ago a message was sent; `None` when it carries no stamp.
    pub(crate) fn age(self, message: &[u8], now: Instant) -> Option<Duration> {
        let digits = std::str::from_utf8(message.get(..DIGITS)?).ok()?;
        let sent = Duration::from_nanos(digits.parse().ok()?);
        now.duration_since(self.0).checked_sub(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_tells_its_age() {
        let epoch = Epoch::now();
        let message = epoch.message();
        assert_eq!(message.len(), MESSAGE_BYTES);
        assert_eq!(epoch.message_of(1024).len(), 1024);
        let later = Instant::now() + Duration::from_secs(3);
        let age = epoch.age(message.as_bytes(), later).unwrap();
        assert!(age >= Duration::from_secs(3) && age < Duration::from_secs(60));
    }

    #[test]
    fn a_message_is_found_in_an_object() {
        let epoch = Epoch::now();
        let object = format!(r#"{{"data":{{"a":1,"stamp":"{}"}}}}"#, epoch.message());
        let later = Instant::now() + Duration::from_secs(3);
        assert!(epoch.age_within(object.as_bytes(), later).unwrap() >= Duration::from_secs(3));
        assert_eq!(epoch.age_within(b"{\"stamp\":null}", later), None);
    }

    #[test]
    fn other_messages_have_no_age() {
        let epoch = Epoch::now();
        assert_eq!(epoch.age(b"hello", Instant::now()), None);
        assert_eq!(
            epoch.age(b"no digits in this at all!", Instant::now()),
            None
        );
    }
}
