//! Addresses of services: `http://host:port/v1`, in parts.

use std::fmt;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All that a path segment needs escaped, and a little more.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a service is, with the beginning that all its paths share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) secure: bool,
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with a slash and ends without one; may be empty.
    prefix: String,
}

impl Base {
    /// Reads an address. What is wrong with it is said without repeating it: it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.trim().parse().map_err(|_| "it is no address")?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it begins neither with http:// nor with https://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name or a password, which do not belong there");
        }
        if uri.query().is_some() {
            return Err("it has a query");
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err("it names no host");
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The same service's paths below `prefix`.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        self.prefix.push_str(prefix);
        self
    }

    /// The full path of a resource.
    pub(crate) fn path(&self, resource: &str) -> String {
        format!("{}/{resource}", self.prefix)
    }

    /// What the header `Host` says.
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let usual = if self.secure { 443 } else { 80 };
        match self.port {
            port if port == usual => host,
            port => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// A text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_written_again() {
        for (text, again) in [
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
            ("https://api.example.org/v1/", "https://api.example.org/v1"),
            (
                "https://api.example.org:443/v1",
                "https://api.example.org/v1",
            ),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Base::parse(text).unwrap().to_string(), again);
        }
        let base = Base::parse("http://[::1]:8080/v1").unwrap();
        assert_eq!((&*base.host, base.port), ("::1", 8080));
        assert_eq!(base.path("user"), "/v1/user");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_address() {
        for text in [
            "",
            "ftp://host/v1",
            "host:8080",
            "https://anna:hunter2@host/v1",
            "http://host/v1?x=1",
            "http://[::1",
        ] {
            let why = Base::parse(text).unwrap_err();
            assert!(!why.contains("hunter2"));
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("../a b/ü?"), "..%2Fa%20b%2F%C3%BC%3F");
        assert_eq!(segment("www.example.com"), "www.example.com");
    }
}
