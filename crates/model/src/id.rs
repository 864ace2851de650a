//! A type for each id, in the shapes the protocols give them.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Timestamp};

/// 24 lower-case hex characters: what objects, backends and gateways are called (`eds.md` §4.1, `mws.md` §1).
///
/// Ids made by one [`IdMaker`] ascend, so their order is the order of creation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 12]);

/// An EDS backend is named like an object.
pub type BackendId = ObjectId;
/// An MWS gateway is named like an object.
pub type GatewayId = ObjectId;
/// A webhook of an EDS backend.
pub type WebhookId = ObjectId;

impl ObjectId {
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    /// Accepts exactly 24 lower-case hex characters: one id has one spelling.
    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::not_found("an id is 24 lower-case hex characters");
        let digits: &[u8; 24] = text.as_bytes().try_into().map_err(|_| malformed())?;
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])
                .zip(nibble(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(malformed)?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every request writes some; formatting byte by byte costs ten times as much.
        let mut digits = [0; 24];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex_pair(byte));
        }
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

fn hex_pair(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|nibble| DIGITS[usize::from(nibble)])
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes ascending [`ObjectId`]s: seconds, five bytes that are this process's own, a counter.
#[derive(Debug)]
pub struct IdMaker {
    process: [u8; 5],
    counter: AtomicU32,
}

impl IdMaker {
    /// `seed` is random; it keeps the ids of two processes apart.
    pub fn new(seed: [u8; 5]) -> Self {
        Self {
            process: seed,
            counter: AtomicU32::new(0),
        }
    }

    pub fn next(&self, now: Timestamp) -> ObjectId {
        let seconds = u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX);
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..9].copy_from_slice(&self.process);
        bytes[9..].copy_from_slice(&count.to_be_bytes()[1..]);
        ObjectId(bytes)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(uuid::Uuid);

        impl $name {
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let parsed = uuid::Uuid::try_parse(text).ok().filter(|uuid| uuid.to_string() == text);
                parsed.map(Self).ok_or_else(|| Error::not_found(concat!("there is no such ", $what)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// An account, which clients call a cloud (`platform.md` §5.1).
    AccountId, "account"
}
uuid_id! {
    /// A person with a login: a developer or operator, never a user of an app.
    PersonId, "person"
}

/// 32 lower-case hex characters that follow a request from the door into logs, messages and deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let digits = bytes.into_iter().flat_map(hex_pair);
        Self(digits.map(char::from).collect())
    }

    /// A caller's own id, when it is one that may be stored and echoed: 1 to 64 letters, digits and hyphens.
    pub fn from_caller(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len());
        (fits
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        .then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id: ObjectId = "51cdbc08989e975ec300772a".parse().unwrap();
        assert_eq!(id.to_string(), "51cdbc08989e975ec300772a");
        for wrong in [
            "",
            "INVALID_ID",
            "51cdbc08989e975ec300772",
            "51CDBC08989E975EC300772A",
            "51cdbc08989e975ec300772aa",
        ] {
            assert!(wrong.parse::<ObjectId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_ascend() {
        let ids = IdMaker::new([1; 5]);
        let now = Timestamp::from_millis(1_000_000);
        let (first, second) = (ids.next(now), ids.next(now));
        let later = ids.next(Timestamp::from_millis(1_002_000));
        assert!(first < second && second < later);
        assert!(first.to_string() < second.to_string());
    }

    #[test]
    fn a_callers_request_id_is_kept_only_when_harmless() {
        assert!(RequestId::from_caller("a671f67b4f41c20b53988a6057b32539").is_some());
        for wrong in ["", "a b", "x\r\ny", "é", &"a".repeat(65)] {
            assert!(RequestId::from_caller(wrong).is_none(), "{wrong}");
        }
    }
}
