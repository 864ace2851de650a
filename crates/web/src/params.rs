//! The query of a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;

/// The parameters in a request's query, decoded, in their order.
///
/// Any query can be read: a lone `?`, a parameter without a value and a bare JSON text all occur (`eds.md` §2.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query. `+` means a space, except from the Qt library, which leaves a literal `+` as it is and
    /// names itself `Enginio:` in its `User-Agent`.
    pub fn decode(query: &str, headers: &HeaderMap) -> Self {
        let plus_is_literal = headers
            .get(USER_AGENT)
            .is_some_and(|agent| memchr::memmem::find(agent.as_bytes(), b"Enginio:").is_some());
        let pairs = |query: &str| {
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect()
        };
        Self(if plus_is_literal && query.contains('+') {
            pairs(&query.replace('+', "%2B"))
        } else {
            pairs(query)
        })
    }

    /// All names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first value of `name`, which may be empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of `name` unless it is empty: clients send `q=` for "not given".
    pub fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether `name` occurs, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether an upgrade with these is for the streams of EDS (`eds.md` §12) and not for a gateway (`mws.md` §6).
    pub fn is_ticket(&self) -> bool {
        self.has("ticket") && !self.has("token")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::decode(
            parts.uri.query().unwrap_or_default(),
            &parts.headers,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(query: &str) -> Params {
        Params::decode(query, &HeaderMap::new())
    }

    #[test]
    fn values_are_form_decoded() {
        let params = decode("q=%7B%22a%22%3A1%7D&name=two+words&name=second&empty=&bare");
        assert_eq!(params.get("q"), Some(r#"{"a":1}"#));
        assert_eq!(params.get("name"), Some("two words"));
        assert_eq!(
            (params.get("empty"), params.given("empty")),
            (Some(""), None)
        );
        assert!(params.has("bare") && !params.has("other"));
        assert_eq!(params.iter().count(), 5);
    }

    #[test]
    fn the_qt_library_means_a_plus_when_it_sends_one() {
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            "Qt:5.2.1 Enginio:1.0.5 Language:C++".parse().unwrap(),
        );
        let params = Params::decode("q=a+b%20c", &headers);
        assert_eq!(params.get("q"), Some("a+b c"));
    }

    #[test]
    fn any_query_can_be_read() {
        for query in ["", "&&", "=", "%", "%zz=%", r#"{"a":1}"#, "\u{e4}=%ff"] {
            let _ = decode(query);
        }
    }
}
