//! What a head must be like, and what becomes of it on the way through. No I/O.
//!
//! A request goes on with its method, target, `Host` and headers as they were, except that
//! * headers about one connection are dropped (`Connection` and what it lists, `Keep-Alive`, `TE`, …);
//! * the client's address is appended to `X-Forwarded-For`;
//! * `X-Forwarded-Proto` and `X-Forwarded-Port` say how the client reached us, whatever it wrote there itself;
//! * `X-Request-Id` is kept when it is one (1 to 64 letters, digits and hyphens), and made otherwise;
//! * names with an underscore that an app could take for one of these, or for a length, are dropped.
//!
//! What two readers could understand differently is refused: two lengths, a length with a coding, a coding other than
//! `chunked`, folded lines, two hosts.

mod fields;
mod request;
mod response;

pub use request::{Asked, Fault, Forwarding, RequestHead, Version};
pub use response::{Misfit, ResponseHead, To};

/// More headers than anybody sends.
pub const HEADERS_MAX: usize = 100;

/// Appends one header line.
fn write_field(out: &mut bytes::BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
