//! Why a head is refused, and how the refusal travels to the door: as a harmless head in its place.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};

use super::target::percent_encode;
use super::{split_line, write_header};
use crate::Refusal;

/// The header that carries a fault to the door. A client's own is dropped with all of this prefix.
pub(super) const FAULT_HEADER: &str = "x-pilvi-fault";

/// What is kept of a refused head, so that the refusal is worded by the right service and can be read by a
/// browser's script.
const SALVAGED: [&str; 4] = ["host", "enginio-backend-id", "origin", "x-request-id"];

/// The longest value and the longest path that are kept.
const SALVAGE_MAX_BYTES: usize = 1024;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    /// One sentence for whoever debugs the client.
    pub message: &'static str,
}

pub(super) const fn fault(status: StatusCode, message: &'static str) -> Fault {
    Fault { status, message }
}

pub(super) const fn malformed(message: &'static str) -> Fault {
    fault(StatusCode::BAD_REQUEST, message)
}

pub(super) const HEAD_TOO_LARGE: Fault = fault(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request head is larger than this server takes",
);
pub(super) const TOO_MANY_HEADERS: Fault = fault(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request has more headers than this server takes",
);
pub(super) const TARGET_TOO_LONG: Fault = fault(
    StatusCode::URI_TOO_LONG,
    "the request target is longer than this server takes",
);
pub(super) const NOT_HTTP: Fault = malformed("this is not an HTTP request");

/// The client stopped in the middle of a head.
pub(crate) const HALF_SENT: Fault = malformed("the request ended before its head did");
/// The client took too long over a head.
pub(crate) const TOO_SLOW: Fault = fault(
    StatusCode::REQUEST_TIMEOUT,
    "the request head took too long to arrive",
);

impl Fault {
    /// A well-formed head in the place of a refused one, with what can be kept of it.
    pub fn as_head(&self, refused: &[u8]) -> BytesMut {
        let refused = &refused[..refused.len().min(64 << 10)];
        let (line, rest) = split_line(refused);
        let method = if line.starts_with(b"HEAD ") {
            "HEAD"
        } else {
            "GET"
        };
        let first = format!("{method} {} HTTP/1.1\r\n", salvaged_path(line));
        let mut out = BytesMut::from(first.as_str());
        let mut found = [false; SALVAGED.len()];
        for line in rest.split(|&byte| byte == b'\n') {
            if let Some((which, value)) = salvageable(line)
                && !std::mem::replace(&mut found[which], true)
            {
                write_header(&mut out, SALVAGED[which].as_bytes(), value);
            }
        }
        write_header(&mut out, b"Connection", b"close");
        let told = format!("{} {}", self.status.as_u16(), self.message);
        write_header(&mut out, FAULT_HEADER.as_bytes(), told.as_bytes());
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The refusal in a head made by [`Fault::as_head`].
    pub fn read(headers: &mut HeaderMap) -> Option<Refusal> {
        let told = headers.remove(FAULT_HEADER)?;
        let (status, message) = told.to_str().ok()?.split_once(' ')?;
        let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
        Some(Refusal::new(status, message))
    }
}

/// The path in a request line that may be no request line at all.
fn salvaged_path(line: &[u8]) -> String {
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let mut kept = String::new();
    if path.starts_with(b"/") {
        percent_encode(&path[..path.len().min(SALVAGE_MAX_BYTES)], &mut kept);
    } else {
        kept.push('/');
    }
    kept
}

/// Which of the salvaged headers a line is, and its value if that is harmless.
fn salvageable(line: &[u8]) -> Option<(usize, &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii();
    let value = line[colon + 1..].trim_ascii();
    let which = SALVAGED
        .iter()
        .position(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))?;
    let harmless =
        (1..=SALVAGE_MAX_BYTES).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    harmless.then_some((which, value))
}
