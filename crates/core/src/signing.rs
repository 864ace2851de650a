//! How a request of ours proves that it comes from here: the signature of the Standard Webhooks specification.
//!
//! The sender and the receiver share a secret, which is shown once, when it is made. When a new one is made the old one
//! signs along for a while, so that receivers can change over without losing anything.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pilvi_base::secret::{hmac_sha256, random_bytes};
use pilvi_base::{Keyring, Secret};
use pilvi_model::{Error, Result, Timestamp};
use serde_json::{Value, json};

/// How secrets are written, as the specification has it; base64 follows.
const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;
/// What somebody else made may not be shorter.
const GIVEN_BYTES_MIN: usize = 24;
/// The newest secret and those that sign along; the oldest goes when there would be more.
const SECRETS_MAX: usize = 3;
/// For how many hours the old secret signs along.
const OVERLAP_HOURS_DEFAULT: u64 = 24;
pub const OVERLAP_HOURS_MAX: u64 = 168;
const HOUR_MILLIS: u64 = 60 * 60 * 1000;

/// The secrets that somebody signs with, newest first.
#[derive(Clone, Debug, Default)]
pub struct Signing(Vec<Shared>);

/// A secret that sender and receiver have.
#[derive(Clone, Debug)]
struct Shared {
    secret: Secret,
    /// The moment in milliseconds after which it does not sign any more; the newest has none.
    until: Option<u64>,
}

/// A secret that was just made, for the one reply that shows it.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub secret: Secret,
    /// How long the one before signs along.
    pub previous_until: Option<Timestamp>,
}

impl Signing {
    /// With a secret that nobody has yet.
    pub fn fresh() -> Self {
        Self(vec![Shared::fresh()])
    }

    /// With a secret that both sides were given. `None`: it is not `whsec_` and at least 24 bytes in base64, as the
    /// specification has it.
    pub fn given(secret: Secret) -> Option<Self> {
        let is_one = key(&secret).is_some_and(|key| key.len() >= GIVEN_BYTES_MIN);
        is_one.then(|| {
            Self(vec![Shared {
                secret,
                until: None,
            }])
        })
    }

    pub fn newest(&self) -> Option<&Secret> {
        self.0.first().map(|shared| &shared.secret)
    }

    /// Puts a new secret before the others; the newest of those signs along for so many hours.
    pub fn rotate(&mut self, now: Timestamp, overlap_hours: u64) -> Fresh {
        let until = now.as_millis() + overlap_hours * HOUR_MILLIS;
        self.0.retain(|shared| shared.signs_at(now));
        for shared in &mut self.0 {
            shared.until = Some(shared.until.unwrap_or(until).min(until));
        }
        self.0.retain(|shared| shared.signs_at(now));
        let previous_until = self.0.first().and_then(|previous| previous.until);
        self.0.insert(0, Shared::fresh());
        self.0.truncate(SECRETS_MAX);
        Fresh {
            secret: self.0[0].secret.clone(),
            previous_until: previous_until.map(Timestamp::from_millis),
        }
    }

    /// The value of the header `webhook-signature`: one signature for each secret. `None`: there is no secret.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
        let mut message = format!("{id}.{}.", seconds(at)).into_bytes();
        message.extend_from_slice(body);
        let signatures = self.0.iter().filter(|shared| shared.signs_at(at));
        let signatures: Vec<String> = signatures
            .filter_map(|shared| {
                let key = key(&shared.secret)?;
                Some(format!(
                    "v1,{}",
                    STANDARD.encode(hmac_sha256(&key, &message))
                ))
            })
            .collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }

    /// Seals them for whoever `context` names.
    pub fn seal(&self, keyring: &Keyring, context: &str) -> Vec<u8> {
        let shared: Vec<Value> = self
            .0
            .iter()
            .map(|shared| json!({"secret": shared.secret.expose(), "until": shared.until}))
            .collect();
        let plain = Value::Array(shared).to_string();
        keyring.seal(context, plain.as_bytes())
    }

    /// Opens what [`Signing::seal`] made with the same context. `None`: somebody who does not sign.
    ///
    /// # Errors
    /// When it was sealed for somebody else, or with a key that is not in the ring.
    pub fn unseal(keyring: &Keyring, context: &str, sealed: Option<&[u8]>) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Stored {
            secret: String,
            until: Option<u64>,
        }
        let Some(sealed) = sealed else {
            return Ok(Self::default());
        };
        let plain = keyring
            .open_sealed(context, sealed)
            .map_err(Error::internal)?;
        let stored: Vec<Stored> = serde_json::from_slice(&plain).map_err(Error::internal)?;
        let shared = stored.into_iter().map(|stored| Shared {
            secret: Secret::new(stored.secret),
            until: stored.until,
        });
        Ok(Self(shared.collect()))
    }
}

impl Shared {
    fn fresh() -> Self {
        let key = random_bytes::<SECRET_BYTES>();
        Self {
            secret: Secret::new(format!("{PREFIX}{}", STANDARD.encode(key))),
            until: None,
        }
    }

    fn signs_at(&self, moment: Timestamp) -> bool {
        self.until.is_none_or(|until| moment.as_millis() < until)
    }
}

fn key(secret: &Secret) -> Option<Vec<u8>> {
    STANDARD.decode(secret.expose().strip_prefix(PREFIX)?).ok()
}

/// A moment as the header `webhook-timestamp` says it.
pub fn seconds(at: Timestamp) -> u64 {
    at.as_millis() / 1000
}

/// For how long the old secret is to sign along, as a request says it.
pub fn overlap_hours(body: &Value) -> Result<u64> {
    let fault = || {
        Error::invalid(
            "overlapHours",
            format!("must be a whole number of hours, {OVERLAP_HOURS_MAX} at most"),
        )
    };
    match body.get("overlapHours") {
        None | Some(Value::Null) => Ok(OVERLAP_HOURS_DEFAULT),
        Some(hours) => hours
            .as_u64()
            .filter(|hours| *hours <= OVERLAP_HOURS_MAX)
            .ok_or_else(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + hour * HOUR_MILLIS)
    }

    fn count(signing: &Signing, moment: Timestamp) -> usize {
        let signatures = signing.sign("id", moment, b"body").unwrap_or_default();
        signatures.split_whitespace().count()
    }

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let signing = Signing(vec![Shared {
            secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            until: None,
        }]);
        let moment = Timestamp::from_millis(1_614_265_330_999);
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signing
                .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, body)
                .unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(Signing::default().sign("id", moment, body), None);
    }

    #[test]
    fn a_secret_that_was_given_is_one() {
        let given = |text: &str| Signing::given(Secret::new(text));
        let signing = given("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(count(&signing, at(0)), 1);
        for wrong in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La",
        ] {
            assert!(given(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_old_secret_signs_along_for_as_long_as_was_asked() {
        let mut signing = Signing::fresh();
        let old = signing.newest().unwrap().clone();
        let fresh = signing.rotate(at(0), 24);
        assert_ne!(fresh.secret.expose(), old.expose());
        assert_eq!(fresh.previous_until, Some(at(24)));
        assert_eq!(count(&signing, at(23)), 2);
        assert_eq!(count(&signing, at(24)), 1);
        assert_eq!(signing.rotate(at(1), 0).previous_until, None);
        assert_eq!(count(&signing, at(1)), 1);
        for hour in 2..9 {
            signing.rotate(at(hour), 100);
        }
        assert_eq!(count(&signing, at(9)), SECRETS_MAX);
    }

    #[test]
    fn secrets_open_for_their_owner_alone() {
        let keyring = Keyring::from_bytes([7; 32]);
        let mut signing = Signing::fresh();
        signing.rotate(at(0), 1);
        let sealed = signing.seal(&keyring, "own");
        let opened = Signing::unseal(&keyring, "own", Some(&sealed)).unwrap();
        assert_eq!(
            opened.sign("x", at(0), b"y"),
            signing.sign("x", at(0), b"y")
        );
        assert!(Signing::unseal(&keyring, "other", Some(&sealed)).is_err());
        let shown = format!("{opened:?}");
        assert!(!shown.contains(PREFIX), "{shown}");
    }

    #[test]
    fn an_overlap_is_bounded() {
        assert_eq!(overlap_hours(&json!({})).unwrap(), OVERLAP_HOURS_DEFAULT);
        assert_eq!(overlap_hours(&json!({"overlapHours": 0})).unwrap(), 0);
        for wrong in [json!(-1), json!(1.5), json!("1"), json!(169)] {
            assert!(overlap_hours(&json!({"overlapHours": wrong})).is_err());
        }
    }
}
