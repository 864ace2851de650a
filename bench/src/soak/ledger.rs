//! Numbered messages, and what a socket makes of the numbers.
//!
//! A channel is everything that a socket hears in one order: what is said to all, and what is said to its tag. Each
//! channel counts its messages without a gap, so a socket that has heard a number knows which one comes next.

use std::ops::AddAssign;

use crate::ws::stamp::Epoch;

/// What a message says behind its stamp: the channel's letter and the number.
pub(crate) fn message(epoch: Epoch, channel: Channel, number: u64, length: usize) -> String {
    let stamp = epoch.message();
    let stamp = stamp.split('.').next().unwrap_or_default();
    format!(
        "{:.<length$}",
        format!("{stamp} {} {number} ", channel.letter())
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// To all sockets.
    Everyone,
    /// To those of one tag.
    Tag,
    /// To the gateway's app, which sends it back.
    App,
}

impl Channel {
    fn letter(self) -> char {
        match self {
            Self::Everyone => 'e',
            Self::Tag => 't',
            Self::App => 'a',
        }
    }
}

/// The channel and the number of a message; `None` for what nobody here has said.
pub(crate) fn read(message: &[u8]) -> Option<(Channel, u64)> {
    let text = std::str::from_utf8(message).ok()?;
    let mut words = text.split(' ').skip(1);
    let channel = match words.next()? {
        "e" => Channel::Everyone,
        "t" => Channel::Tag,
        "a" => Channel::App,
        _ => return None,
    };
    Some((channel, words.next()?.parse().ok()?))
}

/// How many messages arrived, and how many did not as they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) heard: u64,
    pub(crate) lost: u64,
    /// Twice, or after one with a higher number.
    pub(crate) again: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.heard += other.heard;
        self.lost += other.lost;
        self.again += other.again;
    }
}

/// One channel as one socket hears it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ear {
    /// The number that must come next. Before the first one: the lowest that must not be missed.
    next: u64,
    has_heard: bool,
}

impl Ear {
    /// For a socket that was open before number `next` was said. It may hear what was said shortly before, too.
    pub(crate) fn from(next: u64) -> Self {
        Self {
            next,
            has_heard: false,
        }
    }

    pub(crate) fn hear(&mut self, number: u64) -> Tally {
        let mut tally = Tally {
            heard: 1,
            ..Tally::default()
        };
        if number < self.next && self.has_heard {
            tally.again = 1;
            return tally;
        }
        tally.lost = number.saturating_sub(self.next);
        self.next = number + 1;
        self.has_heard = true;
        tally
    }

    /// How many have not been heard of those up to `last`.
    pub(crate) fn misses(&self, last: u64) -> u64 {
        (last + 1).saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(first: u64, numbers: &[u64]) -> (Tally, Ear) {
        let mut ear = Ear::from(first);
        let mut tally = Tally::default();
        for number in numbers {
            tally += ear.hear(*number);
        }
        (tally, ear)
    }

    #[test]
    fn a_message_says_its_channel_and_number_and_when_it_was_sent() {
        let epoch = Epoch::now();
        for channel in [Channel::Everyone, Channel::Tag, Channel::App] {
            let text = message(epoch, channel, 17, 128);
            assert_eq!(text.len(), 128);
            assert_eq!(read(text.as_bytes()), Some((channel, 17)));
            assert!(
                epoch
                    .age(text.as_bytes(), std::time::Instant::now())
                    .is_some()
            );
        }
        for other in ["", "1 e", "1 x 2 ", "1 e two ", "1 e -2 "] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn gaps_and_repetitions_are_counted() {
        let table = [
            (&[5, 6, 7][..], 0, 0),
            (&[3, 4, 5, 6], 0, 0),
            (&[6, 7], 1, 0),
            (&[5, 8, 9], 2, 0),
            (&[5, 6, 6, 7], 0, 1),
            (&[5, 7, 6, 8], 1, 1),
        ];
        for (numbers, lost, again) in table {
            let expected = Tally {
                heard: numbers.len() as u64,
                lost,
                again,
            };
            assert_eq!(heard(5, numbers).0, expected, "{numbers:?}");
        }
    }

    #[test]
    fn who_has_heard_nothing_misses_what_was_said_since_it_came() {
        assert_eq!(heard(5, &[]).1.misses(4), 0);
        assert_eq!(heard(5, &[]).1.misses(7), 3);
        assert_eq!(heard(5, &[4]).1.misses(7), 3);
        assert_eq!(heard(5, &[5, 6, 7]).1.misses(7), 0);
    }
}
