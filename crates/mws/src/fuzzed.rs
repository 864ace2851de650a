//! What `fuzz` is given of the parsers that nobody else outside calls.

use bytes::Bytes;
use http::HeaderMap;

use crate::deflate::{self, Arrived, Window};
use crate::dress::{Kind, Payload};
use crate::frame::{self, Violation};

/// The extensions that are agreed upon after such an offer, as the answer says it.
pub fn agree(headers: &HeaderMap) -> Option<String> {
    crate::extension::agree(headers).map(|agreed| agreed.answer)
}

/// What a compressed message says, of at most so many bytes.
///
/// # Errors
/// When it is not compressed as it claims, says more, or is no text though it should be one.
pub fn open(text: bool, compressed: &[u8], bytes_max: usize) -> Result<Bytes, Violation> {
    let arrived = Arrived {
        kind: kind(text),
        compressed: true,
        bytes: Bytes::copy_from_slice(compressed),
    };
    Ok(arrived.open(bytes_max)?.bytes)
}

/// A message compressed, without the head of its frame; `None` when that makes it no smaller. `narrow`: for peers with
/// the smallest window.
pub fn compress(bytes: &[u8], narrow: bool) -> Option<Bytes> {
    let payload = Payload {
        kind: kind(false),
        bytes: Bytes::copy_from_slice(bytes),
    };
    let window = match narrow {
        true => Window::Narrow,
        false => Window::Whole,
    };
    Some(frame::payload_of(&deflate::frame(&payload, window)?))
}

fn kind(text: bool) -> Kind {
    match text {
        true => Kind::Text,
        false => Kind::Binary,
    }
}
