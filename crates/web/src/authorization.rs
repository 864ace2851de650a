//! The `Authorization` header.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use pilvi_base::Secret;

/// How strictly the word `Bearer` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Only `Bearer`.
    Exact,
    /// Also `BEARER` and `bearer`, as the Android client sends it (`eds.md` §2.1).
    AnyCase,
}

/// The bearer token of a request. `None` when there is no such header, when it names another scheme, and when
/// its token is empty: a command line tool sends a bare `Bearer` after a failed login (`platform.md` §3).
pub fn bearer(headers: &HeaderMap, scheme: Scheme) -> Option<Secret> {
    let (word, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let named = match scheme {
        Scheme::Exact => word == "Bearer",
        Scheme::AnyCase => word.eq_ignore_ascii_case("bearer"),
    };
    let token = token.trim();
    (named && !token.is_empty()).then(|| Secret::new(token))
}

/// Whether the caller tried to say who it is, well or badly.
pub fn has_authorization(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, scheme: Scheme) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        bearer(&headers, scheme).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_scheme_is_read_as_strictly_as_asked() {
        for (header, exact, any) in [
            ("Bearer abc", Some("abc"), Some("abc")),
            ("BEARER abc", None, Some("abc")),
            ("Bearer  abc ", Some("abc"), Some("abc")),
            ("Bearer", None, None),
            ("Bearer ", None, None),
            ("Basic abc", None, None),
            ("abc", None, None),
        ] {
            assert_eq!(token(header, Scheme::Exact).as_deref(), exact, "{header}");
            assert_eq!(token(header, Scheme::AnyCase).as_deref(), any, "{header}");
        }
        assert!(bearer(&HeaderMap::new(), Scheme::AnyCase).is_none());
        assert!(!has_authorization(&HeaderMap::new()));
    }
}
