//! The name of a socket, which is also the token that opens it.

use std::fmt;

use pilvi_base::secret::{hex, random_bytes};

/// 32 random bytes, written as 64 lower-case hex characters (`mws.md` §6).
///
/// Until it is redeemed whoever knows it may open the socket, so `Debug` shows only its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketId([u8; 32]);

impl SocketId {
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the one spelling; anything else names no socket.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SocketId::random();
        let text = id.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(SocketId::parse(&text), Some(id));
        for wrong in ["", "*", &text[1..], &"G".repeat(64), &"A".repeat(64)] {
            assert_eq!(SocketId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_log_line_cannot_open_a_socket() {
        let id = SocketId::random();
        assert!(!format!("{id:?}").contains(&id.to_string()));
    }
}
