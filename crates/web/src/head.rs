//! The head filter: what a request head must be like before hyper sees it. No I/O.
//!
//! hyper refuses raw quotes, braces and blanks in a target, which old clients send, and it answers its own
//! refusals without a body, which old clients take for a broken network. So a head is first read here: lines and
//! headers are checked strictly, the target is percent-encoded, and the head is written again in one canonical
//! form. A head that is refused becomes a harmless one that carries a [`Fault`], so that the refusal leaves
//! through the same door as every other reply, in the words of the service it was meant for.

mod fault;
mod target;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub use fault::Fault;
pub(crate) use fault::{HALF_SENT, TOO_SLOW};
use fault::{HEAD_TOO_LARGE, NOT_HTTP, TARGET_TOO_LONG, TOO_MANY_HEADERS, fault, malformed};
use target::Target;

use crate::Limits;
use crate::apps::Apps;

/// Headers that only the filter sets. A client's own are dropped.
const RESERVED_PREFIX: &[u8] = b"x-pilvi-";

/// One less than hyper's own bound, because the host of a whole URI becomes a header.
const HEADERS_MAX: usize = 99;

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; none when there is no body.
    Length(u64),
    Chunked,
}

/// A head that may go on.
#[derive(Debug)]
pub enum Head {
    /// For hyper.
    Request {
        canonical: BytesMut,
        framing: Framing,
    },
    /// For whoever takes WebSockets.
    Upgrade(UpgradeHead),
    /// For the same, by a client that wants an event stream in a socket's place.
    EventStream(UpgradeHead),
    /// For the router in front of apps, which reads it again: it stays where it is.
    App,
}

/// The head of a request for a WebSocket, or for an event stream in its place.
#[derive(Debug)]
pub struct UpgradeHead {
    /// Path and query, percent-encoded where needed.
    pub target: String,
    pub headers: HeaderMap,
}

/// Finds heads in a stream of bytes.
#[derive(Debug)]
pub struct HeadFilter {
    head_max_bytes: usize,
    target_max_bytes: usize,
    /// How far the buffer is known to hold no end of a head.
    searched: usize,
    /// Whose heads are not looked at any closer.
    apps: Option<Apps>,
    /// The next head has been there and has come back.
    came_back: bool,
}

impl HeadFilter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            head_max_bytes: limits.head_max_bytes,
            target_max_bytes: limits.target_max_bytes,
            searched: 0,
            apps: None,
            came_back: false,
        }
    }

    /// Leaves heads that are for an app where they are.
    pub(crate) fn except(self, apps: Option<Apps>) -> Self {
        Self { apps, ..self }
    }

    /// Takes the next head whoever it is for: it has been with the apps, and they have said that it is not theirs.
    /// Should the two ever differ about a host, a head still does not go back and forth.
    pub(crate) fn keep_next(&mut self) {
        self.came_back = true;
    }

    /// Takes the next head off the front of `buffer`, once it is complete or known to be wrong.
    ///
    /// After a fault the rest of the stream means nothing.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<Result<Head, Fault>> {
        self.skip_empty_lines(buffer);
        let first = *buffer.first()?;
        if !is_token_byte(first) {
            return Some(Err(NOT_HTTP));
        }
        let Some(end) = find_end(buffer, self.searched) else {
            // The last three bytes may belong to an end that is still incomplete.
            self.searched = buffer.len().saturating_sub(3);
            return self.overflow(buffer).map(Err);
        };
        self.searched = 0;
        let came_back = std::mem::take(&mut self.came_back);
        if end > self.head_max_bytes {
            return Some(Err(self.overflow(buffer).unwrap_or(HEAD_TOO_LARGE)));
        }
        let parsed = self.parse(&buffer[..end], came_back);
        if !matches!(parsed, Ok(Head::App) | Err(_)) {
            buffer.advance(end);
        }
        Some(parsed)
    }

    /// Empty lines before a request are tolerated, as RFC 9112 §2.2 asks.
    fn skip_empty_lines(&mut self, buffer: &mut BytesMut) {
        let empty = buffer
            .iter()
            .take_while(|&&byte| byte == b'\r' || byte == b'\n')
            .count();
        buffer.advance(empty);
        self.searched = self.searched.saturating_sub(empty);
    }

    /// What is too large about a head whose end has not come within the bounds.
    fn overflow(&self, buffer: &[u8]) -> Option<Fault> {
        let line_max = self.line_max_bytes();
        let line = memchr::memchr(b'\n', &buffer[..buffer.len().min(line_max)]);
        if line.is_none() && buffer.len() >= line_max {
            return Some(TARGET_TOO_LONG);
        }
        (buffer.len() > self.head_max_bytes).then_some(HEAD_TOO_LARGE)
    }

    /// The request line with its end: the target, and room for a method, a version and blanks.
    fn line_max_bytes(&self) -> usize {
        self.target_max_bytes + 64
    }

    fn parse(&self, head: &[u8], came_back: bool) -> Result<Head, Fault> {
        let (line, rest) = split_line(head);
        // Whether a head passes must not depend on how much of it came at once.
        if head.len() - rest.len() > self.line_max_bytes() {
            return Err(TARGET_TOO_LONG);
        }
        let line = RequestLine::parse(line)?;
        if line.target.len() > self.target_max_bytes {
            return Err(TARGET_TOO_LONG);
        }
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let headers = match httparse::parse_headers(rest, &mut slots) {
            Ok(httparse::Status::Complete((_, headers))) => headers,
            Ok(httparse::Status::Partial) => return Err(malformed("the headers are cut off")),
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_MANY_HEADERS),
            Err(_) => return Err(malformed("a header line is not well formed")),
        };
        let facts = Facts::of(headers, line.version)?;
        let Target { origin_form, host } = Target::of(line.target)?;
        if host.is_none() && facts.host.is_none() && line.version == Version::Http11 {
            return Err(malformed("the request has no Host header"));
        }
        if !came_back && self.is_for_app(host.or(facts.host)) {
            return Ok(Head::App);
        }
        if facts.upgrades_to_web_socket && line.method == b"GET" && line.version == Version::Http11
        {
            if facts.framing != Framing::Length(0) {
                return Err(malformed("a web socket upgrade has no body"));
            }
            return upgrade_head(origin_form, headers).map(Head::Upgrade);
        }
        if facts.accepts_event_stream && line.method == b"GET" && carries_token(&origin_form) {
            if facts.framing != Framing::Length(0) {
                return Err(malformed("a request for an event stream has no body"));
            }
            return upgrade_head(origin_form, headers).map(Head::EventStream);
        }
        let canonical = write_head(&line, &origin_form, host, headers);
        Ok(Head::Request {
            canonical,
            framing: facts.framing,
        })
    }

    fn is_for_app(&self, host: Option<&[u8]>) -> bool {
        let host = host.and_then(|host| std::str::from_utf8(host).ok());
        match (&self.apps, host) {
            (Some(apps), Some(host)) => apps.own(host),
            _ => false,
        }
    }
}

/// The end of the head in `buffer`: past its first empty line. Lines may end in a bare LF, as those of the
/// simplest clients do.
fn find_end(buffer: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &buffer[from..]).find_map(|found| {
        let after = from + found + 1;
        match &buffer[after..] {
            [b'\n', ..] => Some(after + 1),
            [b'\r', b'\n', ..] => Some(after + 2),
            _ => None,
        }
    })
}

/// The first line without its line end, and what follows it.
fn split_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).map_or(head.len(), |found| found + 1);
    let (line, rest) = head.split_at(end);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    /// The method ends at the first blank and the version begins after the last one, so that blanks inside the
    /// target are part of it.
    fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let method_end = memchr::memchr(b' ', line).ok_or(NOT_HTTP)?;
        let target_end = memchr::memrchr(b' ', line).ok_or(NOT_HTTP)?;
        let method = &line[..method_end];
        let version = &line[target_end + 1..];
        if !method.iter().copied().all(is_token_byte) {
            return Err(NOT_HTTP);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            other if other.starts_with(b"HTTP/") => {
                return Err(fault(
                    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                    "this server speaks HTTP/1.1, HTTP/1.0 and, over TLS, HTTP/2",
                ));
            }
            _ => return Err(malformed("the request line names no HTTP version")),
        };
        let target = line
            .get(method_end + 1..target_end)
            .map(<[u8]>::trim_ascii)
            .filter(|target| !target.is_empty())
            .ok_or(malformed("the request line has no target"))?;
        if target.iter().any(|byte| matches!(byte, 0 | b'\r')) {
            return Err(malformed("the request target holds a NUL or a CR"));
        }
        if method == b"CONNECT" {
            return Err(fault(
                StatusCode::METHOD_NOT_ALLOWED,
                "this server is no proxy",
            ));
        }
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What the headers say about the message itself.
struct Facts<'a> {
    framing: Framing,
    host: Option<&'a [u8]>,
    upgrades_to_web_socket: bool,
    accepts_event_stream: bool,
}

impl<'a> Facts<'a> {
    fn of(headers: &[httparse::Header<'a>], version: Version) -> Result<Self, Fault> {
        let mut length = None;
        let mut chunked = false;
        let mut host = None;
        let (mut upgrade, mut connection_upgrade) = (false, false);
        let mut accepts_event_stream = false;
        for header in headers {
            let value = header.value;
            if header.name.eq_ignore_ascii_case("content-length") {
                if length.replace(content_length(value)?).is_some() {
                    return Err(malformed("the request has two Content-Length headers"));
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") || version == Version::Http10
                {
                    return Err(fault(
                        StatusCode::NOT_IMPLEMENTED,
                        "the only Transfer-Encoding this server knows is chunked",
                    ));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("host") {
                if host.replace(value).is_some() {
                    return Err(malformed("the request has two Host headers"));
                }
            } else if header.name.eq_ignore_ascii_case("upgrade") {
                upgrade |= has_token(value, "websocket");
            } else if header.name.eq_ignore_ascii_case("connection") {
                connection_upgrade |= has_token(value, "upgrade");
            } else if header.name.eq_ignore_ascii_case("accept") {
                accepts_event_stream |= names_event_stream(value);
            }
        }
        let framing = match (length, chunked) {
            (Some(_), true) => {
                return Err(malformed(
                    "the request has both a Content-Length and a Transfer-Encoding",
                ));
            }
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Self {
            framing,
            host,
            upgrades_to_web_socket: upgrade && connection_upgrade,
            accepts_event_stream,
        })
    }
}

/// Digits only: no sign, no list, no blank.
fn content_length(value: &[u8]) -> Result<u64, Fault> {
    let unreadable = malformed("the Content-Length is not a number");
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(unreadable)
}

fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether an `Accept` names the type of event streams. A client that takes just anything does not ask for one.
pub(crate) fn names_event_stream(accept: &[u8]) -> bool {
    accept.split(|&byte| byte == b',').any(|range| {
        let kind = range.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// Whether a target is a socket's one-time URI: its query names a `token`, and no `ticket`, which is how EDS's own
/// event streams are opened.
pub(crate) fn carries_token(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let names = |name| {
        let mut pairs = query.split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    names("token") && !names("ticket")
}

/// Headers that must not go further: ours, which nobody else may set, and those about upgrades, which hyper is
/// not asked to do.
fn is_dropped(name: &str) -> bool {
    let reserved = name
        .as_bytes()
        .get(..RESERVED_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX));
    reserved || name.eq_ignore_ascii_case("upgrade") || name.eq_ignore_ascii_case("http2-settings")
}

fn write_head(
    line: &RequestLine<'_>,
    target: &str,
    host: Option<&[u8]>,
    headers: &[httparse::Header<'_>],
) -> BytesMut {
    let size: usize = headers
        .iter()
        .map(|h| h.name.len() + h.value.len() + 4)
        .sum();
    let mut out = BytesMut::with_capacity(line.method.len() + target.len() + size + 64);
    out.extend_from_slice(line.method);
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(match line.version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    });
    if let Some(host) = host {
        write_header(&mut out, b"Host", host);
    }
    for header in headers {
        let outranked = host.is_some() && header.name.eq_ignore_ascii_case("host");
        if !outranked && !is_dropped(header.name) {
            write_header(&mut out, header.name.as_bytes(), header.value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn write_header(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn upgrade_head(target: String, headers: &[httparse::Header<'_>]) -> Result<UpgradeHead, Fault> {
    let unreadable = malformed("a header line is not well formed");
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("upgrade") || !is_dropped(header.name))
    {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| unreadable)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| unreadable)?;
        map.append(name, value);
    }
    Ok(UpgradeHead {
        target,
        headers: map,
    })
}

#[cfg(test)]
mod tests;
