//! The head of a request.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use httparse::{Header, Status};

use super::fields::{Field, Listed, content_length, words};
use super::{HEADERS_MAX, write_field};
use crate::framing::Framing;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With a sentence that says what is wrong.
    Malformed(&'static str),
    TooManyHeaders,
    /// HTTP of a version that is none of ours.
    Version,
    /// A `Transfer-Encoding` that nobody here reads.
    Coding,
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// A parsed head, still in the bytes it came in.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// How many bytes it took.
    pub len: usize,
    pub method: &'b str,
    /// Origin form, or `*`.
    pub target: &'b str,
    /// The host that the request is for, with the port if there is one.
    pub host: &'b [u8],
    pub asked: Asked,
    headers: &'h [Header<'b>],
    fields: [Field; HEADERS_MAX],
    listed: Listed<'b>,
    /// What the protocol is to be changed to.
    upgrade: Option<&'b [u8]>,
    trailers: bool,
    request_id: Option<&'b [u8]>,
}

/// What a request is, apart from its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub version: Version,
    pub framing: Framing,
    /// The client would like to go on with this connection.
    pub keep_alive: bool,
    pub is_head: bool,
    /// Asking twice does no harm (RFC 9110 §9.2.2).
    pub repeatable: bool,
    pub upgrades: bool,
    /// A person looks at the answer.
    pub wants_html: bool,
}

impl Asked {
    /// Nothing comes behind the head. After anything else a connection to an app serves nobody any more: neither the
    /// response nor the acknowledged bytes say that the app has read the body, and one that has not takes what is left
    /// of it for the beginning of the next request.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.framing == Framing::Length(0)
    }
}

/// What a request gets on its way.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The client's address.
    pub peer: &'a str,
    pub proto: &'a str,
    pub port: &'a str,
    /// For a request that brings none.
    pub request_id: &'a str,
}

/// Room for the headers of one head.
pub(super) type Slots<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

impl<'h, 'b> RequestHead<'h, 'b> {
    /// Reads a head off the front of `buffer`. `None` when it is not there as a whole.
    pub fn parse(buffer: &'b [u8], slots: &'h mut Slots<'b>) -> Result<Option<Self>, Fault> {
        let mut request = httparse::Request::new(&mut []);
        let len = match request.parse_with_uninit_headers(buffer, slots) {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) => return Ok(None),
            Err(error) => return Err(fault(error)),
        };
        let malformed = Fault::Malformed("The request line is not well formed.");
        let method = request.method.ok_or(malformed)?;
        let target = request.path.ok_or(malformed)?;
        let headers: &'h [Header<'b>] = request.headers;
        let version = match request.version {
            Some(1) => Version::Http11,
            Some(0) => Version::Http10,
            _ => return Err(Fault::Version),
        };
        if method == "CONNECT" {
            return Err(Fault::Connect);
        }
        let (origin_form, authority) = split_target(target).ok_or(Fault::Malformed(
            "The request target is neither a path nor the address of a site.",
        ))?;
        let mut facts = Facts::default();
        for (header, field) in headers.iter().zip(&mut facts.fields) {
            *field = Field::of(header.name);
        }
        for (at, header) in headers.iter().enumerate() {
            facts.take(facts.fields[at], header.value)?;
        }
        let asked = facts.asked(method, version)?;
        Ok(Some(Self {
            len,
            method,
            target: origin_form,
            host: authority.or(facts.host).unwrap_or_default(),
            asked,
            headers,
            upgrade: facts.upgrade.filter(|_| asked.upgrades),
            fields: facts.fields,
            listed: facts.listed,
            trailers: facts.trailers,
            request_id: facts.request_id,
        }))
    }

    /// Whether the request brings an id of its own.
    pub fn has_request_id(&self) -> bool {
        self.request_id.is_some()
    }

    /// The id that this request goes by.
    pub fn request_id<'r>(&self, forwarding: &Forwarding<'r>) -> &'r str
    where
        'b: 'r,
    {
        let own = self.request_id.and_then(|id| std::str::from_utf8(id).ok());
        own.unwrap_or(forwarding.request_id)
    }

    /// Appends the head that the app gets.
    pub fn write(&self, out: &mut BytesMut, forwarding: &Forwarding<'_>) {
        out.reserve(self.len + 256);
        out.extend_from_slice(self.method.as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_field(out, b"Host", self.host);
        for (header, field) in self.headers.iter().zip(&self.fields) {
            let passes = matches!(field, Field::Other | Field::Accept | Field::Expect);
            if passes && !self.listed.has(header.name) {
                write_field(out, header.name.as_bytes(), header.value);
            }
        }
        match self.asked.framing {
            // A length of 0 is told apart from none by some apps, so it stays what it was.
            Framing::Length(length)
                if self.fields[..self.headers.len()].contains(&Field::ContentLength) =>
            {
                write_length(out, length);
            }
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        self.write_hop(out);
        self.write_forwarding(out, forwarding);
        out.extend_from_slice(b"\r\n");
    }

    fn write_hop(&self, out: &mut BytesMut) {
        match (self.upgrade, self.trailers) {
            (Some(upgrade), _) => {
                out.extend_from_slice(b"Connection: Upgrade\r\n");
                write_field(out, b"Upgrade", upgrade);
            }
            (None, true) => out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n"),
            (None, false) => {}
        }
    }

    fn write_forwarding(&self, out: &mut BytesMut, forwarding: &Forwarding<'_>) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        for (header, field) in self.headers.iter().zip(&self.fields) {
            if *field == Field::ForwardedFor && !header.value.is_empty() {
                out.extend_from_slice(header.value);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(forwarding.peer.as_bytes());
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(forwarding.proto.as_bytes());
        out.extend_from_slice(b"\r\nX-Forwarded-Port: ");
        out.extend_from_slice(forwarding.port.as_bytes());
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        let id = self.request_id.unwrap_or(forwarding.request_id.as_bytes());
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn write_length(out: &mut BytesMut, length: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    write_field(out, b"Content-Length", &digits[at..]);
}

/// The path of a target, and the host of one that is a whole address, which outranks `Host` (RFC 9112 §3.2.2).
fn split_target(target: &str) -> Option<(&str, Option<&[u8]>)> {
    // A fragment stays with the client; a reader who meets one may cut it off or not.
    if target.contains('#') {
        return None;
    }
    if target.starts_with('/') || target == "*" {
        return Some((target, None));
    }
    let scheme_end = target.find("://").filter(|&end| {
        target[..end].eq_ignore_ascii_case("http") || target[..end].eq_ignore_ascii_case("https")
    })?;
    let rest = &target[scheme_end + 3..];
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let path = match path {
        "" => "/",
        path if path.starts_with('/') => path,
        _ => return None,
    };
    (!host.is_empty()).then_some((path, Some(host.as_bytes())))
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyHeaders,
        httparse::Error::Version => Fault::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            Fault::Malformed("A header line is not well formed.")
        }
        _ => Fault::Malformed("The request line is not well formed."),
    }
}

/// What the headers say about the message itself.
struct Facts<'a> {
    fields: [Field; HEADERS_MAX],
    length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: Option<&'a [u8]>,
    trailers: bool,
    request_id: Option<&'a [u8]>,
    wants_html: bool,
    listed: Listed<'a>,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self {
            fields: [Field::Other; HEADERS_MAX],
            length: None,
            chunked: false,
            host: None,
            close: false,
            keep_alive: false,
            connection_upgrade: false,
            upgrade: None,
            trailers: false,
            request_id: None,
            wants_html: false,
            listed: Listed::default(),
        }
    }
}

impl<'a> Facts<'a> {
    fn take(&mut self, field: Field, value: &'a [u8]) -> Result<(), Fault> {
        match field {
            Field::ContentLength => {
                let length = content_length(value)
                    .ok_or(Fault::Malformed("The Content-Length is not a number."))?;
                if self.length.replace(length).is_some() {
                    return Err(Fault::Malformed(
                        "The request has two Content-Length headers.",
                    ));
                }
            }
            Field::TransferEncoding => {
                if self.chunked {
                    return Err(Fault::Malformed(
                        "The request has two Transfer-Encoding headers.",
                    ));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Coding);
                }
                self.chunked = true;
            }
            Field::Host => {
                let another = self.host.replace(value);
                if another.is_some() {
                    return Err(Fault::Malformed("The request has two Host headers."));
                }
            }
            Field::Connection => {
                for word in words(value) {
                    self.take_option(word)?;
                }
            }
            Field::Upgrade => self.upgrade = Some(value),
            Field::Te => {
                self.trailers |= words(value).any(|word| word.eq_ignore_ascii_case(b"trailers"));
            }
            Field::RequestId => self.request_id = Some(value).filter(|id| is_request_id(id)),
            Field::Accept => {
                self.wants_html |= memchr::memmem::find(value, b"text/html").is_some();
            }
            _ => {}
        }
        Ok(())
    }

    /// One word of `Connection`.
    fn take_option(&mut self, word: &'a [u8]) -> Result<(), Fault> {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        if is("close") {
            self.close = true;
        } else if is("keep-alive") {
            self.keep_alive = true;
        } else if is("upgrade") {
            self.connection_upgrade = true;
        } else if !is_end_to_end(word) && !self.listed.add(word) {
            return Err(Fault::Malformed("The Connection header lists too much."));
        }
        Ok(())
    }

    fn asked(&self, method: &str, version: Version) -> Result<Asked, Fault> {
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => {
                return Err(Fault::Malformed(
                    "The request has both a Content-Length and a Transfer-Encoding.",
                ));
            }
            (None, true) if version == Version::Http10 => {
                return Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding."));
            }
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        // What changes to HTTP/2 would be requests that nobody looks at any more.
        let wish = self.upgrade.filter(|value| {
            !value.is_empty() && !words(value).any(|word| word.eq_ignore_ascii_case(b"h2c"))
        });
        Ok(Asked {
            version,
            framing,
            keep_alive: match version {
                Version::Http11 => !self.close,
                Version::Http10 => self.keep_alive && !self.close,
            },
            is_head: method == "HEAD",
            repeatable: matches!(
                method,
                "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"
            ),
            upgrades: version == Version::Http11
                && self.connection_upgrade
                && wish.is_some()
                && framing == Framing::Length(0),
            wants_html: self.wants_html,
        })
    }
}

/// Headers that a client cannot have removed by listing them in `Connection`: an app that misses them would see
/// another request than the one that was checked.
fn is_end_to_end(word: &[u8]) -> bool {
    const NAMES: [&str; 9] = [
        "accept",
        "authorization",
        "cache-control",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "origin",
    ];
    NAMES
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn is_request_id(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    (1..=64).contains(&id.len()) && id.iter().all(allowed)
}
