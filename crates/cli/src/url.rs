//! Addresses of services: `http://host:port/v1`, in parts.

use std::fmt;
use std::net::IpAddr;

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

    /// The same for the address of a server as people write it: without a path, that of its API is meant.
    pub(crate) fn of_server(text: &str) -> Result<Self, &'static str> {
        let base = Self::parse(text)?;
        Ok(match &*base.prefix {
            "" => base.below("/v1"),
            _ => base,
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

    /// Whether what is sent there leaves this machine at all.
    pub(crate) fn is_this_machine(&self) -> bool {
        is_local_name(&self.host)
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
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

/// Names below `localhost` all mean this machine (RFC 6761).
pub(crate) fn is_local_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
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
        for (text, meant) in [
            ("https://example.org", "https://example.org/v1"),
            ("https://example.org/", "https://example.org/v1"),
            ("https://example.org/v1/", "https://example.org/v1"),
            (
                "https://example.org/cloud/v1",
                "https://example.org/cloud/v1",
            ),
        ] {
            assert_eq!(Base::of_server(text).unwrap().to_string(), meant);
        }
        let base = Base::parse("http://[::1]:8080/v1").unwrap();
        assert_eq!((&*base.host, base.port), ("::1", 8080));
        assert_eq!(base.path("user"), "/v1/user");
    }

    #[test]
    fn names_below_localhost_are_this_machine() {
        for name in ["localhost", "api.localhost", "API.LocalHost."] {
            assert!(is_local_name(name), "{name}");
        }
        for name in ["notlocalhost", "localhost.example.org", "127.0.0.1"] {
            assert!(!is_local_name(name), "{name}");
        }
        for (url, here) in [
            ("http://127.0.0.2:8080/v1", true),
            ("http://[::1]/v1", true),
            ("http://api.localhost/v1", true),
            ("http://192.0.2.1/v1", false),
        ] {
            assert_eq!(Base::parse(url).unwrap().is_this_machine(), here, "{url}");
        }
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
