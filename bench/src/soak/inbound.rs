//! Frames from the server with their payloads, however they are cut. Unlike the reader of the benchmarks it keeps what
//! came in pieces, because here every message is looked at.

use anyhow::{Result, bail};

use crate::ws::frames::{CLOSE, PING, PONG, TEXT};

/// Messages here are no longer.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// A whole frame of this kind.
const FINAL: u8 = 0x80;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close,
}

/// What has come of a frame that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    begun: Vec<u8>,
}

impl Inbound {
    pub(crate) fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<()> {
        if self.begun.is_empty() {
            let read = read_all(bytes, found)?;
            self.begun.extend_from_slice(&bytes[read..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(bytes);
        let read = read_all(&whole, found)?;
        if read < whole.len() {
            whole.drain(..read);
            self.begun = whole;
        }
        Ok(())
    }
}

/// Reads the whole frames, and says how many bytes they are.
fn read_all(bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<usize> {
    let mut read = 0;
    while let Some((opcode, payload, length)) = first(&bytes[read..])? {
        read += length;
        match opcode {
            TEXT => found(Frame::Text(payload)),
            PING => found(Frame::Ping(payload)),
            CLOSE => found(Frame::Close),
            PONG => {}
            _ => bail!("a frame of kind {opcode} was not expected"),
        }
    }
    Ok(read)
}

/// The first frame, if it is whole: its kind, its payload, and its length with the head.
fn first(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let [kind, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if kind & 0xf0 != FINAL {
        bail!("a frame begins with {kind:#x}");
    }
    let (payload, head) = match (second, rest) {
        (0..=125, _) => (usize::from(*second), 2),
        (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
        (126, _) => return Ok(None),
        _ => bail!("a frame is masked or has more than {PAYLOAD_BYTES_MAX} bytes"),
    };
    let length = head + payload;
    let whole = bytes.get(head..length);
    Ok(whole.map(|payload| (kind & 0x0f, payload, length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frames::write_text;

    #[test]
    fn any_cut_finds_the_same_frames() {
        let mut bytes = vec![FINAL | PING, 2, b'h', b'i'];
        write_text(&[b'x'; 300], &mut bytes);
        write_text(b"", &mut bytes);
        bytes.extend([FINAL | PONG, 0, FINAL | CLOSE, 2, 3, 0xe8]);
        for cut in 0..=bytes.len() {
            let mut inbound = Inbound::default();
            let mut seen = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                let mut add = |frame: Frame<'_>| seen.push(format!("{frame:?}"));
                inbound.feed(piece, &mut add).unwrap();
            }
            assert!(inbound.begun.is_empty());
            let expected = [
                format!("{:?}", Frame::Ping(b"hi")),
                format!("{:?}", Frame::Text(&[b'x'; 300])),
                format!("{:?}", Frame::Text(b"")),
                format!("{:?}", Frame::Close),
            ];
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        for wrong in [
            &[0x81, 0x80][..],
            &[0x01, 0],
            &[0xc1, 0],
            &[0x83, 0],
            &[0x81, 127],
        ] {
            let fed = Inbound::default().feed(wrong, &mut |_| {});
            assert!(fed.is_err(), "{wrong:?}");
        }
    }
}
