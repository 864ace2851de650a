//! The target in a request line, in the one form that routers know.

use super::fault::{Fault, TARGET_TOO_LONG, malformed};

/// The longest target that the `http` crate can hold, after percent-encoding.
const ENCODED_TARGET_MAX: usize = 65_000;

/// A target in the one form that routers know.
pub(super) struct Target<'a> {
    /// A path that starts with a slash, and a query.
    pub(super) origin_form: String,
    /// The host, when the client wrote a whole URI; it outranks the header (RFC 9112 §3.2.2).
    pub(super) host: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    pub(super) fn of(target: &'a [u8]) -> Result<Self, Fault> {
        let (host, path) = match target {
            b"*" => (None, b"/".as_slice()),
            [b'/', ..] => (None, target),
            _ => {
                let (host, path) = split_whole_uri(target)
                    .ok_or(malformed("the request target is neither a path nor a URI"))?;
                (Some(host), path)
            }
        };
        let mut origin_form = String::with_capacity(path.len() + 8);
        if !path.starts_with(b"/") {
            origin_form.push('/');
        }
        percent_encode(path, &mut origin_form);
        if origin_form.len() > ENCODED_TARGET_MAX {
            return Err(TARGET_TOO_LONG);
        }
        Ok(Self { origin_form, host })
    }
}

/// Host and path of `http://host/path`.
fn split_whole_uri(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(rest)
    })?;
    let host_end = after_scheme
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(after_scheme.len());
    let (host, path) = after_scheme.split_at(host_end);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    (!host.is_empty() && host.iter().all(plain)).then_some((host, path))
}

/// Writes a target so that every URI parser takes it; what is encoded already stays as it is.
pub(super) fn percent_encode(target: &[u8], into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in target {
        if is_target_byte(byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The bytes that may stand in a target by themselves (RFC 3986). `#` may not: no client means a fragment by it,
/// but some mean the character.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte)
}
