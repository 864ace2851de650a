//! What waits in the browser while it is at a provider, and what it comes back with: sealed by this server's key, so
//! that nobody reads or makes one, and for some minutes only.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use pilvi_base::{Keyring, Secret};
use pilvi_model::{PersonId, Timestamp};
use pilvi_store::platform::NewIdentity;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How long somebody may be away to sign in, and how long to decide about linking.
const LIFE: Duration = Duration::from_secs(600);
const FLOW: &str = "single sign-on flow";
const VOUCHER: &str = "single sign-on voucher";

/// A sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) provider: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// The address that the provider sends back to, which must be repeated to it.
    pub(super) callback: String,
    pub(super) purpose: SealedPurpose,
    pub(super) started_at: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) enum SealedPurpose {
    SignIn { next: Option<String> },
    Link { person: String },
}

/// An identity that a provider has vouched for, and the person who went for it.
#[derive(Serialize, Deserialize)]
pub(super) struct Voucher {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) label: Option<String>,
    pub(super) person: String,
    started_at: u64,
}

impl Flow {
    pub(super) fn seal(&self, keyring: &Keyring) -> Secret {
        seal(keyring, FLOW, self)
    }

    /// `None`: it is none of ours, or too old.
    pub(super) fn open(keyring: &Keyring, sealed: &Secret, now: Timestamp) -> Option<Self> {
        let flow: Self = open(keyring, FLOW, sealed)?;
        is_alive(flow.started_at, now).then_some(flow)
    }
}

impl Voucher {
    pub(super) fn of(identity: NewIdentity, person: PersonId) -> Self {
        Self {
            issuer: identity.issuer,
            subject: identity.subject,
            label: identity.label,
            person: person.to_string(),
            started_at: identity.at.as_millis(),
        }
    }

    pub(super) fn identity(self, now: Timestamp) -> NewIdentity {
        NewIdentity {
            issuer: self.issuer,
            subject: self.subject,
            label: self.label,
            at: now,
        }
    }

    pub(super) fn seal(&self, keyring: &Keyring) -> Secret {
        seal(keyring, VOUCHER, self)
    }

    pub(super) fn open(keyring: &Keyring, sealed: &Secret, now: Timestamp) -> Option<Self> {
        let voucher: Self = open(keyring, VOUCHER, sealed)?;
        is_alive(voucher.started_at, now).then_some(voucher)
    }
}

impl From<super::Purpose> for SealedPurpose {
    fn from(purpose: super::Purpose) -> Self {
        match purpose {
            super::Purpose::SignIn { next } => Self::SignIn { next },
            super::Purpose::Link(person) => Self::Link {
                person: person.to_string(),
            },
        }
    }
}

impl SealedPurpose {
    /// `None`: the id of the person cannot be read, which this server never writes.
    pub(super) fn open(self) -> Option<super::Purpose> {
        Some(match self {
            Self::SignIn { next } => super::Purpose::SignIn { next },
            Self::Link { person } => super::Purpose::Link(person.parse().ok()?),
        })
    }
}

fn is_alive(started_at: u64, now: Timestamp) -> bool {
    let started = Timestamp::from_millis(started_at);
    started <= now && now < started.plus(LIFE)
}

fn seal(keyring: &Keyring, context: &str, value: &impl Serialize) -> Secret {
    let plain = serde_json::to_vec(value).expect("texts and numbers are always JSON");
    let sealed = keyring.seal(context, &plain);
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(sealed))
}

fn open<T: DeserializeOwned>(keyring: &Keyring, context: &str, sealed: &Secret) -> Option<T> {
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed.expose()).ok()?;
    let plain = keyring.open_sealed(context, &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_lives_for_ten_minutes_and_is_no_voucher() {
        let keyring = Keyring::from_bytes([7; 32]);
        let flow = Flow {
            provider: "a".to_owned(),
            state: "s".to_owned(),
            nonce: "n".to_owned(),
            verifier: "v".to_owned(),
            callback: "c".to_owned(),
            purpose: SealedPurpose::SignIn { next: None },
            started_at: 1_000_000,
        };
        let sealed = flow.seal(&keyring);
        let at = |millis| Flow::open(&keyring, &sealed, Timestamp::from_millis(millis));
        assert!(at(1_000_000).is_some());
        assert!(at(1_599_999).is_some());
        assert!(at(1_600_000).is_none());
        assert!(at(999_999).is_none());
        let now = Timestamp::from_millis(1_000_000);
        assert!(Voucher::open(&keyring, &sealed, now).is_none());
        let other = Keyring::from_bytes([8; 32]);
        assert!(Flow::open(&other, &sealed, now).is_none());
        for wrong in ["", "!", "AAAA", &sealed.expose()[1..]] {
            assert!(Flow::open(&keyring, &Secret::new(wrong), now).is_none());
        }
    }
}
