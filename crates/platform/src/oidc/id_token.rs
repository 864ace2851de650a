//! What a provider says about somebody: an ID token, and the rules by which it is believed (OpenID Connect Core,
//! §3.1.3.7).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use pilvi_base::secret::sha256;
use pilvi_model::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Algorithm, Keys, Verdict};

/// Clocks differ by a minute and are right otherwise.
const SKEW: Duration = Duration::from_secs(60);
/// A token is made for one sign-in, just now.
const AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// The standard's bound.
const SUBJECT_BYTES_MAX: usize = 255;

/// What must be true of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
    pub(super) access_token: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// Why a token is not believed, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not in the form of an ID token")]
    Form,
    #[error("it is signed in a way that is not accepted")]
    Algorithm,
    #[error("no key of the provider fits its signature")]
    NoKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it comes from another issuer")]
    Issuer,
    #[error("it is made for somebody else than this server")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not of this moment; the clocks may differ")]
    Time,
    #[error("it belongs to another sign-in")]
    Nonce,
    #[error("it says nobody's name")]
    Subject,
    #[error("it does not belong to the access token that came with it")]
    AccessToken,
}

impl Fault {
    /// Whether new keys of the provider may change the verdict.
    pub(super) fn is_about_keys(self) -> bool {
        matches!(self, Self::NoKey | Self::Signature)
    }
}

/// What a believed token, or the provider's page about its bearer, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) subject: String,
    pub(super) email: Option<String>,
    pub(super) email_verified: bool,
    pub(super) name: Option<String>,
    pub(super) username: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that one must understand: none is.
    crit: Option<Value>,
}

/// Believes a token, or says why not.
pub(super) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Fault> {
    let claims = open(token, keys)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(Fault::Issuer);
    }
    check_audience(&claims, expected.client)?;
    check_times(&claims, expected.now)?;
    // As digests: how long the comparison takes says nothing.
    let nonce = text("nonce").ok_or(Fault::Nonce)?;
    if sha256(nonce.as_bytes()) != sha256(expected.nonce.as_bytes()) {
        return Err(Fault::Nonce);
    }
    if let (Some(hash), Some(access_token)) = (text("at_hash"), expected.access_token) {
        check_access_token(token, hash, access_token)?;
    }
    read(&claims).ok_or(Fault::Subject)
}

/// The claims about somebody out of a JSON object. `None`: it does not say about whom.
pub(super) fn read(claims: &Map<String, Value>) -> Option<Claims> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let subject = text("sub").filter(|subject| {
        !subject.is_empty()
            && subject.len() <= SUBJECT_BYTES_MAX
            && !subject.contains(char::is_control)
    })?;
    // Some providers write the flag as a text.
    let email_verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    Some(Claims {
        subject,
        email: text("email"),
        email_verified,
        name: text("name"),
        username: text("preferred_username"),
    })
}

/// The claims of a token that one of the keys has signed.
fn open(token: &str, keys: &Keys) -> Result<Map<String, Value>, Fault> {
    let (message, signature) = token.rsplit_once('.').ok_or(Fault::Form)?;
    let (head, claims) = message.split_once('.').ok_or(Fault::Form)?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Form);
    let signature = decode(signature)?;
    let head = read_head(head)?;
    let algorithm = Algorithm::named(&head.alg).ok_or(Fault::Algorithm)?;
    match keys.check(
        algorithm,
        head.kid.as_deref(),
        message.as_bytes(),
        &signature,
    ) {
        Verdict::Good => serde_json::from_slice(&decode(claims)?).map_err(|_| Fault::Form),
        Verdict::Bad => Err(Fault::Signature),
        Verdict::NoKey => Err(Fault::NoKey),
    }
}

fn read_head(part: &str) -> Result<Head, Fault> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Fault::Form)?;
    let head: Head = serde_json::from_slice(&json).map_err(|_| Fault::Form)?;
    match head.crit {
        Some(_) => Err(Fault::Algorithm),
        None => Ok(head),
    }
}

/// A token may be for several, and then says which of them asked for it.
fn check_audience(claims: &Map<String, Value>, client: &str) -> Result<(), Fault> {
    let (is_among, others) = match claims.get("aud") {
        Some(Value::String(one)) => (one == client, false),
        Some(Value::Array(several)) => (
            several.iter().any(|one| one == client),
            several.iter().any(|one| one != client),
        ),
        _ => (false, false),
    };
    let asked = claims.get("azp");
    let by_us = asked.is_some_and(|party| party == client);
    match is_among && (by_us || (asked.is_none() && !others)) {
        true => Ok(()),
        false => Err(Fault::Audience),
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Fault> {
    let now = now.as_millis() / 1000;
    // Fractions of a second are allowed, and of no interest.
    let second = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the cast saturates, and a moment in the far past or future is refused"
            )]
            Some(second) if second.is_finite() => Ok(Some(second as u64)),
            _ => Err(Fault::Form),
        },
    };
    let (expires, issued) = match (second("exp")?, second("iat")?) {
        (Some(expires), Some(issued)) => (expires, issued),
        _ => return Err(Fault::Form),
    };
    let skew = SKEW.as_secs();
    if expires.saturating_add(skew) <= now {
        return Err(Fault::Expired);
    }
    let too_early = |moment: u64| moment > now.saturating_add(skew);
    let is_old = issued.saturating_add(AGE_MAX.as_secs() + skew) < now;
    if too_early(issued) || is_old || second("nbf")?.is_some_and(too_early) {
        return Err(Fault::Time);
    }
    Ok(())
}

/// The left half of the access token's digest, by the hash that the token is signed with.
fn check_access_token(token: &str, hash: &str, access_token: &str) -> Result<(), Fault> {
    use ring::digest::{SHA256, SHA384, SHA512, digest};
    let head = token.split('.').next().unwrap_or_default();
    let algorithm = match Algorithm::named(&read_head(head)?.alg).ok_or(Fault::Algorithm)? {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::EdDsa => &SHA512,
    };
    let digest = digest(algorithm, access_token.as_bytes());
    let digest = digest.as_ref();
    match BASE64_URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2]) == hash {
        true => Ok(()),
        false => Err(Fault::AccessToken),
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    /// A provider's key pair, by which everything in here is signed.
    struct Signer(Ed25519KeyPair);

    impl Signer {
        fn new(seed: u8) -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
        }

        fn keys(&self) -> Keys {
            let x = BASE64_URL_SAFE_NO_PAD.encode(self.0.public_key());
            let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k"});
            Keys::read(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
        }

        fn sign(&self, head: &Value, claims: &Value) -> String {
            let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!("{}.{}", part(head), part(claims));
            let signature = self.0.sign(message.as_bytes());
            format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn head() -> Value {
        json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.org", "aud": "pilvi", "sub": "anna", "nonce": "n-1",
            "iat": NOW, "exp": NOW + 300, "email": "anna@example.org", "email_verified": true,
        })
    }

    fn expected() -> Expected<'static> {
        Expected {
            issuer: "https://id.example.org",
            client: "pilvi",
            nonce: "n-1",
            access_token: None,
            now: Timestamp::from_millis(NOW * 1000),
        }
    }

    fn verdict(head: &Value, claims: &Value) -> Result<Claims, Fault> {
        let signer = Signer::new(1);
        verify(&signer.sign(head, claims), &signer.keys(), &expected())
    }

    /// The verdict when some claims are others, or absent where null.
    fn with(changes: &Value) -> Result<Claims, Fault> {
        let mut all = claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => all.as_object_mut().unwrap().remove(name),
                value => all
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        verdict(&head(), &all)
    }

    #[test]
    fn a_good_token_says_who_somebody_is() {
        let claims = with(&json!({"name": "Anna", "preferred_username": "anna_k"})).unwrap();
        assert_eq!(
            claims,
            Claims {
                subject: "anna".to_owned(),
                email: Some("anna@example.org".to_owned()),
                email_verified: true,
                name: Some("Anna".to_owned()),
                username: Some("anna_k".to_owned()),
            }
        );
    }

    #[test]
    fn a_token_that_was_not_made_for_this_is_not_believed() {
        let rows = [
            (json!({"iss": "https://id.example.org/"}), Fault::Issuer),
            (json!({"iss": "https://ID.example.org"}), Fault::Issuer),
            (json!({"iss": null}), Fault::Issuer),
            (json!({"iss": ["https://id.example.org"]}), Fault::Issuer),
            (json!({"aud": "other"}), Fault::Audience),
            (json!({"aud": ["other"]}), Fault::Audience),
            (json!({"aud": []}), Fault::Audience),
            (json!({"aud": null}), Fault::Audience),
            (json!({"aud": ["pilvi", "other"]}), Fault::Audience),
            (
                json!({"aud": ["pilvi", "other"], "azp": "other"}),
                Fault::Audience,
            ),
            (json!({"azp": "other"}), Fault::Audience),
            (json!({"nonce": "n-2"}), Fault::Nonce),
            (json!({"nonce": null}), Fault::Nonce),
            (json!({"nonce": 1}), Fault::Nonce),
            (json!({"exp": NOW - 60}), Fault::Expired),
            (json!({"exp": -1}), Fault::Expired),
            (json!({"exp": null}), Fault::Form),
            (json!({"exp": "soon"}), Fault::Form),
            (json!({"iat": null}), Fault::Form),
            (json!({"iat": NOW + 61}), Fault::Time),
            (json!({"iat": NOW - 961}), Fault::Time),
            (json!({"nbf": NOW + 61}), Fault::Time),
            (json!({"sub": null}), Fault::Subject),
            (json!({"sub": ""}), Fault::Subject),
            (json!({"sub": 7}), Fault::Subject),
            (json!({"sub": "a".repeat(256)}), Fault::Subject),
            (json!({"sub": "a\u{0}"}), Fault::Subject),
        ];
        for (changes, fault) in rows {
            assert_eq!(with(&changes), Err(fault), "{changes}");
        }
    }

    #[test]
    fn clocks_may_differ_a_little_and_audiences_be_lists() {
        for changes in [
            json!({"exp": NOW - 59}),
            json!({"exp": NOW + 1, "iat": 1.5 + NOW as f64}),
            json!({"iat": NOW + 60, "nbf": NOW + 60}),
            json!({"iat": NOW - 960}),
            json!({"aud": ["pilvi"]}),
            json!({"aud": ["other", "pilvi"], "azp": "pilvi"}),
        ] {
            assert!(with(&changes).is_ok(), "{changes}");
        }
    }

    #[test]
    fn only_a_flag_that_says_yes_verifies_an_address() {
        for (flag, verified) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!("yes"), false),
            (json!(1), false),
            (Value::Null, false),
        ] {
            let claims = with(&json!({"email_verified": flag})).unwrap();
            assert_eq!(claims.email_verified, verified, "{flag}");
        }
    }

    #[test]
    fn a_signature_is_the_providers_own() {
        let (signer, stranger) = (Signer::new(1), Signer::new(2));
        let check = |token: &str| verify(token, &signer.keys(), &expected());
        let good = signer.sign(&head(), &claims());
        assert!(check(&good).is_ok());
        assert_eq!(
            check(&stranger.sign(&head(), &claims())),
            Err(Fault::Signature)
        );
        let rotated = signer.sign(&json!({"alg": "EdDSA", "kid": "new"}), &claims());
        assert_eq!(check(&rotated), Err(Fault::NoKey));

        // Claims of one token under the signature of another.
        let (_, signature) = good.rsplit_once('.').unwrap();
        let other = signer.sign(&head(), &json!({"sub": "root"}));
        let (message, _) = other.rsplit_once('.').unwrap();
        assert_eq!(
            check(&format!("{message}.{signature}")),
            Err(Fault::Signature)
        );

        // No signature, or one by what everybody knows.
        let public = BASE64_URL_SAFE_NO_PAD.encode(signer.0.public_key());
        for algorithm in ["none", "None", "HS256", "RS1", ""] {
            let head = json!({"alg": algorithm, "kid": "k"});
            let unsigned = signer.sign(&head, &claims());
            let (message, _) = unsigned.rsplit_once('.').unwrap();
            for signature in ["", &public] {
                let token = format!("{message}.{signature}");
                assert_eq!(check(&token), Err(Fault::Algorithm), "{algorithm}");
            }
        }
        // An algorithm that the key is not made for.
        for algorithm in ["RS256", "ES256"] {
            let head = json!({"alg": algorithm, "kid": "k"});
            assert_eq!(check(&signer.sign(&head, &claims())), Err(Fault::NoKey));
        }
        let extended = json!({"alg": "EdDSA", "crit": ["b64"], "b64": false});
        assert_eq!(
            check(&signer.sign(&extended, &claims())),
            Err(Fault::Algorithm)
        );
    }

    #[test]
    fn a_token_that_is_changed_anywhere_is_not_believed() {
        let signer = Signer::new(1);
        let (keys, good) = (signer.keys(), signer.sign(&head(), &claims()));
        assert!(verify(&good, &keys, &expected()).is_ok());
        for at in 0..good.len() {
            for letter in ["A", "_", ".", "=", "\u{e9}", ""] {
                let changed = format!("{}{letter}{}", &good[..at], &good[at + 1..]);
                let is_believed = verify(&changed, &keys, &expected()).is_ok();
                assert_eq!(is_believed, changed == good, "{changed}");
            }
            assert!(verify(&good[..at], &keys, &expected()).is_err());
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let keys = Signer::new(1).keys();
        for text in ["", ".", "..", "a.b.c", "e30.e30.", "....", "é.é.é"] {
            assert_eq!(verify(text, &keys, &expected()), Err(Fault::Form), "{text}");
        }
        let no_object = verdict(&head(), &json!([1]));
        assert_eq!(no_object, Err(Fault::Form));
    }

    #[test]
    fn an_access_token_that_was_swapped_is_noticed() {
        let signer = Signer::new(1);
        let digest = ring::digest::digest(&ring::digest::SHA512, b"at-1");
        let mut claims = claims();
        claims["at_hash"] = BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..32]).into();
        let token = signer.sign(&head(), &claims);
        let check = |access_token| {
            let expected = Expected {
                access_token: Some(access_token),
                ..expected()
            };
            verify(&token, &signer.keys(), &expected)
        };
        assert!(check("at-1").is_ok());
        assert_eq!(check("at-2"), Err(Fault::AccessToken));
    }
}
