//! The head of a response.

use std::time::Duration;

use bytes::BytesMut;
use httparse::{Header, ParserConfig, Status};

use super::fields::{Field, Listed, content_length, words};
use super::request::{Slots, Version, write_length};
use super::{Asked, write_field};
use crate::framing::Framing;

/// A response that is none: it cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

/// A parsed head, still in the bytes it came in.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// How many bytes it took.
    pub len: usize,
    pub status: u16,
    pub framing: Framing,
    /// The app would like to go on with this connection.
    keep_alive: bool,
    /// How long the app says that it keeps a resting connection.
    keeps_for: Option<Duration>,
    reason: &'b str,
    headers: &'h [Header<'b>],
    listed: Listed<'b>,
    upgrade: Option<&'b [u8]>,
    has_length: bool,
}

/// How a response goes on to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    pub version: Version,
    /// The connection stays open.
    pub keep_alive: bool,
    /// Whether the body is sent in chunks.
    pub chunked: bool,
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Reads a head off the front of `buffer`. `None` when it is not there as a whole.
    pub fn parse(
        buffer: &'b [u8],
        slots: &'h mut Slots<'b>,
        asked: &Asked,
    ) -> Result<Option<Self>, Misfit> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            buffer,
            slots,
        );
        let len = match parsed {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Misfit),
        };
        let status = response.code.filter(|code| (100..=999).contains(code));
        let status = status.ok_or(Misfit)?;
        let http11 = response.version == Some(1);
        let headers: &'h [Header<'b>] = response.headers;
        let facts = Facts::of(headers)?;
        if facts.chunked && !http11 {
            return Err(Misfit);
        }
        let bodiless = asked.is_head || matches!(status, 100..=199 | 204 | 304);
        Ok(Some(Self {
            len,
            status,
            framing: match (bodiless, facts.chunked, facts.length) {
                (true, ..) => Framing::Length(0),
                (false, true, Some(_)) => return Err(Misfit),
                (false, true, None) => Framing::Chunked,
                (false, false, Some(length)) => Framing::Length(length),
                (false, false, None) => Framing::UntilClose,
            },
            keep_alive: !facts.close && (http11 || facts.keep_alive),
            keeps_for: facts.keeps_for,
            reason: response.reason.unwrap_or_default(),
            headers,
            listed: facts.listed,
            upgrade: facts.upgrade,
            has_length: facts.length.is_some(),
        }))
    }

    /// How long the connection may rest after this response, given that ours may rest for `most`. `None` when it is
    /// of no use any more.
    pub fn rests(&self, most: Duration) -> Option<Duration> {
        // The last second belongs to requests that cross with the app's closing.
        let own = self
            .keeps_for
            .map(|keeps| keeps.saturating_sub(Duration::from_secs(1)));
        let rests = own.map_or(most, |own| own.min(most));
        let usable = self.keep_alive && self.framing != Framing::UntilClose && !rests.is_zero();
        usable.then_some(rests)
    }

    /// Whether this is not the response itself, which follows.
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// The headers that go on, without those about the connection and the framing.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().filter_map(|header| {
            let ends_here = match Field::of(header.name) {
                Field::Connection
                | Field::ContentLength
                | Field::KeepAlive
                | Field::TransferEncoding
                | Field::Upgrade => true,
                Field::Dropped => header.name.eq_ignore_ascii_case("proxy-connection"),
                _ => false,
            };
            (!ends_here && !self.listed.has(header.name)).then_some((header.name, header.value))
        })
    }

    /// The length that the head announces, also where no body follows.
    pub fn announced(&self) -> Option<u64> {
        if !self.has_length || matches!(self.status, 100..=199 | 204) {
            return None;
        }
        let mut lengths = self
            .headers
            .iter()
            .filter(|header| Field::of(header.name) == Field::ContentLength);
        lengths
            .next()
            .and_then(|header| content_length(header.value))
    }

    /// Appends the head that the client gets.
    pub fn write(&self, out: &mut BytesMut, to: To) {
        out.reserve(self.len + 64);
        self.write_line(out);
        for (name, value) in self.fields() {
            write_field(out, name.as_bytes(), value);
        }
        if to.chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if let Some(length) = self.announced() {
            write_length(out, length);
        }
        if self.status == 101 {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            if let Some(upgrade) = self.upgrade {
                write_field(out, b"Upgrade", upgrade);
            }
        } else if !self.is_interim() {
            match (to.keep_alive, to.version) {
                (true, Version::Http11) => {}
                (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
                (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_line(&self, out: &mut BytesMut) {
        let digit = |divisor: u16| b'0' + (self.status / divisor % 10) as u8;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// What the headers say about the message itself.
#[derive(Default)]
struct Facts<'a> {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    keeps_for: Option<Duration>,
    upgrade: Option<&'a [u8]>,
    listed: Listed<'a>,
}

impl<'a> Facts<'a> {
    fn of(headers: &[Header<'a>]) -> Result<Self, Misfit> {
        let mut facts = Self::default();
        for header in headers {
            let value = header.value;
            match Field::of(header.name) {
                Field::ContentLength => {
                    let length = content_length(value).ok_or(Misfit)?;
                    // The same length twice is one length.
                    if facts
                        .length
                        .replace(length)
                        .is_some_and(|other| other != length)
                    {
                        return Err(Misfit);
                    }
                }
                Field::TransferEncoding => {
                    if facts.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Misfit);
                    }
                    facts.chunked = true;
                }
                Field::Connection => {
                    for word in words(value) {
                        facts.take_option(word)?;
                    }
                }
                Field::KeepAlive => facts.keeps_for = keeps_for(value),
                Field::Upgrade => facts.upgrade = Some(value),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn take_option(&mut self, word: &'a [u8]) -> Result<(), Misfit> {
        if word.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if word.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if !word.eq_ignore_ascii_case(b"upgrade") && !self.listed.add(word) {
            return Err(Misfit);
        }
        Ok(())
    }
}

/// `timeout=5` of `Keep-Alive: timeout=5, max=100`.
fn keeps_for(value: &[u8]) -> Option<Duration> {
    words(value).find_map(|word| {
        let (name, seconds) = word.split_at_checked(8)?;
        let seconds = name
            .eq_ignore_ascii_case(b"timeout=")
            .then(|| content_length(seconds))??;
        Some(Duration::from_secs(seconds))
    })
}
