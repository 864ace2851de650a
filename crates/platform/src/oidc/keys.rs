//! The keys by which a provider signs (RFC 7517), and what one of them says about a signature (RFC 7518).
//!
//! Signatures are checked by `ring`. Of the algorithms in the standard those with a secret that both sides hold, and
//! "none", do not exist here: nobody but the provider can make a signature that passes.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// Keys beyond these are not looked at: a provider has two or three.
const KEYS_MAX: usize = 32;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Checks a signature by an RSA key of at least 2048 bits.
    fn rsa(self) -> Option<&'static signature::RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// A provider's public keys.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The one algorithm that the key is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// What the keys say of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// No key can have made it; the provider may have new ones.
    NoKey,
}

/// A key as JSON has it; members of other kinds of key are absent.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// Reads a set of keys. Those that are for something else, or of a kind that is unknown here, are left out.
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let set: JwkSet = serde_json::from_slice(json)?;
        let keys = set.keys.into_iter().take(KEYS_MAX);
        Ok(Self(keys.filter_map(Key::read).collect()))
    }

    /// Whether `signature` over `message` was made by one of these keys: by the one with this id, where there is an
    /// id.
    pub(super) fn check(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Verdict {
        let fitting = self.0.iter().filter(|key| {
            let is_meant = id.is_none() || key.id.as_deref() == id;
            let is_for = key.algorithm.as_deref().map(Algorithm::named);
            is_meant && is_for.is_none_or(|is_for| is_for == Some(algorithm))
        });
        let verdicts = fitting.filter_map(|key| key.check(algorithm, message, signature));
        verdicts.fold(Verdict::NoKey, |so_far, good| {
            match good || so_far == Verdict::Good {
                true => Verdict::Good,
                false => Verdict::Bad,
            }
        })
    }
}

impl Key {
    fn read(json: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let part = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: without_zeros(&part(&jwk.n)?),
                e: without_zeros(&part(&jwk.e)?),
            },
            ("EC", Some("P-256")) => Material::P256(point(&part(&jwk.x)?, &part(&jwk.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&part(&jwk.x)?, &part(&jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(part(&jwk.x)?),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid,
            algorithm: jwk.alg,
            material,
        })
    }

    /// `None`: a key of this kind makes no such signatures.
    fn check(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            let key = UnparsedPublicKey::new(algorithm, key);
            key.verify(message, signature).is_ok()
        };
        Some(match (&self.material, algorithm) {
            (Material::Rsa { n, e }, _) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(algorithm.rsa()?, message, signature).is_ok()
            }
            (Material::P256(point), Algorithm::Es256) => {
                by(&signature::ECDSA_P256_SHA256_FIXED, point)
            }
            (Material::P384(point), Algorithm::Es384) => {
                by(&signature::ECDSA_P384_SHA384_FIXED, point)
            }
            (Material::Ed25519(point), Algorithm::EdDsa) => by(&signature::ED25519, point),
            _ => return None,
        })
    }
}

/// Some providers write the sign of a number that has none.
fn without_zeros(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

/// Both coordinates in one, each in its full length.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    const UNCOMPRESSED: u8 = 4;
    (x.len() == length && y.len() == length).then(|| [&[UNCOMPRESSED], x, y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, signed messages and signatures of RFC 7515, appendices A.2 and A.3, and of RFC 8037, appendix A.4.
    const RS256: (&str, &str, &str) = (
        concat!(
            r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP"#,
            "CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LO",
            "L-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw",
            "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            r#"","e":"AQAB"}"#,
        ),
        concat!(
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlL",
            "mNvbS9pc19yb290Ijp0cnVlfQ",
        ),
        concat!(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F",
            "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB",
            "MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeY",
            "I2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
    );
    const ES256: (&str, &str, &str) = (
        concat!(
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m"#,
            r#"36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        ),
        concat!(
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlL",
            "mNvbS9pc19yb290Ijp0cnVlfQ",
        ),
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    const ED25519: (&str, &str, &str) = (
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );

    fn keys(list: &[&str]) -> Keys {
        Keys::read(format!(r#"{{"keys":[{}]}}"#, list.join(",")).as_bytes()).unwrap()
    }

    fn check(keys: &Keys, algorithm: Algorithm, sample: (&str, &str, &str)) -> Verdict {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(sample.2).unwrap();
        keys.check(algorithm, None, sample.1.as_bytes(), &signature)
    }

    #[test]
    fn the_signatures_of_the_standards_are_good() {
        for (algorithm, sample) in [
            (Algorithm::Rs256, RS256),
            (Algorithm::Es256, ES256),
            (Algorithm::EdDsa, ED25519),
        ] {
            let keys = keys(&[sample.0]);
            assert_eq!(check(&keys, algorithm, sample), Verdict::Good);
            let other = (sample.0, "eyJhbGciOiJSUzI1NiJ9.e30", sample.2);
            assert_eq!(check(&keys, algorithm, other), Verdict::Bad);
            let cut = (sample.0, sample.1, "AAAA");
            assert_eq!(check(&keys, algorithm, cut), Verdict::Bad);
        }
    }

    #[test]
    fn a_key_says_nothing_about_what_it_is_not_for() {
        let all = keys(&[ES256.0, ED25519.0]);
        assert_eq!(check(&all, Algorithm::Rs256, RS256), Verdict::NoKey);
        assert_eq!(check(&all, Algorithm::Es384, ES256), Verdict::NoKey);
        let with = |member: &str| RS256.0.replacen('{', &format!("{{{member},"), 1);
        for (member, verdict) in [
            (r#""alg":"RS256","use":"sig""#, Verdict::Good),
            (r#""alg":"RS512""#, Verdict::NoKey),
            (r#""alg":"HS256""#, Verdict::NoKey),
            (r#""use":"enc""#, Verdict::NoKey),
        ] {
            let keys = keys(&[&with(member)]);
            assert_eq!(check(&keys, Algorithm::Rs256, RS256), verdict, "{member}");
        }
        // One good key among bad ones is enough, wherever it stands.
        let bad = ED25519.0.replace("11qY", "22qY");
        assert_eq!(
            check(&keys(&[&bad, ED25519.0, &bad]), Algorithm::EdDsa, ED25519),
            Verdict::Good
        );
    }

    #[test]
    fn an_id_leads_to_its_key_alone() {
        let named = |id: &str| ED25519.0.replacen('{', &format!(r#"{{"kid":"{id}","#), 1);
        let keys = keys(&[&named("a"), ED25519.0]);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(ED25519.2).unwrap();
        let check = |id| keys.check(Algorithm::EdDsa, Some(id), ED25519.1.as_bytes(), &signature);
        assert_eq!(check("a"), Verdict::Good);
        assert_eq!(check("b"), Verdict::NoKey);
    }

    #[test]
    fn algorithms_that_anybody_could_sign_with_do_not_exist() {
        for name in [
            "none", "None", "NONE", "HS256", "HS512", "ES256K", "rs256", "",
        ] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_key_is_left_out_and_what_is_no_set_refused() {
        let odd = [
            "1",
            "{}",
            r#"{"kty":"oct","k":"AAAA"}"#,
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            RS256.0,
        ];
        assert_eq!(keys(&odd).0.len(), 1);
        assert!(Keys::read(b"[]").is_err());
        assert!(Keys::read(b"").is_err());
        // A short modulus is not accepted, whatever it signed.
        let short = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
        assert_eq!(
            check(&keys(&[short]), Algorithm::Rs256, RS256),
            Verdict::Bad
        );
    }
}
