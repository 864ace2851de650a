//! Frames from the server with their payloads, however they are cut. Unlike the reader of the benchmarks it keeps what
//! came in pieces, because here every message is looked at.

use anyhow::{Result, bail};
use flate2::{Decompress, FlushDecompress};

use crate::ws::frames::{CLOSE, PING, PONG, TEXT};

/// Messages here are no longer.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// A whole frame of this kind.
const FINAL: u8 = 0x80;
/// A text with the bit RSV1.
const DEFLATED_TEXT: u8 = 0x40 | TEXT;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    /// A text that is still compressed (RFC 7692).
    Deflated(&'a [u8]),
    Ping(&'a [u8]),
    Close,
}

/// How a socket hears what is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    #[default]
    Plain,
    /// Compressed, where that makes a message smaller.
    Deflated,
    EventStream,
}

/// What has come of something that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    way: Way,
    begun: Vec<u8>,
}

impl Inbound {
    pub(crate) fn of(way: Way) -> Self {
        Self {
            way,
            begun: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<()> {
        if self.begun.is_empty() {
            let read = self.read_all(bytes, found)?;
            self.begun.extend_from_slice(&bytes[read..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(bytes);
        let read = self.read_all(&whole, found)?;
        if read < whole.len() {
            whole.drain(..read);
            self.begun = whole;
        }
        Ok(())
    }

    fn read_all(&self, bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<usize> {
        match self.way {
            Way::Plain | Way::Deflated => read_frames(bytes, found),
            Way::EventStream => read_events(bytes, found),
        }
    }
}

/// Makes compressed messages readable; one for all sockets, as no message refers to another.
pub(crate) struct Inflater {
    machine: Decompress,
    text: Vec<u8>,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self {
            machine: Decompress::new(false),
            text: Vec::with_capacity(PAYLOAD_BYTES_MAX),
        }
    }

    pub(crate) fn text(&mut self, deflated: &[u8]) -> Result<&[u8]> {
        /// What a sender leaves out at the end (RFC 7692, 7.2.1).
        const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
        self.machine.reset(false);
        self.text.clear();
        for part in [deflated, &TAIL] {
            let before = self.machine.total_in();
            self.machine
                .decompress_vec(part, &mut self.text, FlushDecompress::Sync)?;
            if self.machine.total_in() - before != part.len() as u64 {
                bail!("a compressed message does not end, or is too long");
            }
        }
        Ok(&self.text)
    }
}

/// Reads the whole blocks of an event stream, and says how many bytes they are.
fn read_events(bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<usize> {
    let mut read = 0;
    while let Some(length) = memchr::memmem::find(&bytes[read..], b"\n\n") {
        let block = &bytes[read..read + length];
        read += length + 2;
        if block.starts_with(b"event: close") {
            found(Frame::Close);
            continue;
        }
        let lines = block.split(|byte| *byte == b'\n');
        // What is said here is one line; a block without is a comment.
        for data in lines.filter_map(|line| line.strip_prefix(b"data: ")) {
            found(Frame::Text(data));
        }
    }
    if bytes.len() - read > PAYLOAD_BYTES_MAX {
        bail!("an event has more than {PAYLOAD_BYTES_MAX} bytes");
    }
    Ok(read)
}

/// Reads the whole frames, and says how many bytes they are.
fn read_frames(bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) -> Result<usize> {
    let mut read = 0;
    while let Some((opcode, payload, length)) = first(&bytes[read..])? {
        read += length;
        match opcode {
            DEFLATED_TEXT => found(Frame::Deflated(payload)),
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
    if kind & 0xf0 != FINAL && *kind != FINAL | DEFLATED_TEXT {
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
    Ok(whole.map(|payload| (kind & !FINAL, payload, length)))
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
    fn events_are_read_however_they_are_cut() {
        let bytes = b"id: 1\ndata: hi\n\n:\n\ndata: \n\nevent: close\ndata: {\"code\":1001}\n\n";
        for cut in 0..=bytes.len() {
            let mut inbound = Inbound::of(Way::EventStream);
            let mut seen = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                let mut add = |frame: Frame<'_>| seen.push(format!("{frame:?}"));
                inbound.feed(piece, &mut add).unwrap();
            }
            let expected = [Frame::Text(b"hi"), Frame::Text(b""), Frame::Close];
            let expected = expected.map(|frame| format!("{frame:?}"));
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn compressed_texts_are_made_readable_each_for_itself() {
        let mut inflater = Inflater::new();
        // RFC 7692, 7.2.3.1, and an empty one (7.2.3.6).
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for _ in 0..2 {
            assert_eq!(inflater.text(&hello).unwrap(), b"Hello");
            assert_eq!(inflater.text(&[0]).unwrap(), b"");
        }
        assert!(inflater.text(&[0xff; 9]).is_err());
        let mut seen = Vec::new();
        let frame = [&[0xc1, 7][..], &hello].concat();
        let mut add = |frame: Frame<'_>| seen.push(format!("{frame:?}"));
        Inbound::of(Way::Deflated).feed(&frame, &mut add).unwrap();
        assert_eq!(seen, [format!("{:?}", Frame::Deflated(&hello))]);
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        for wrong in [
            &[0x81, 0x80][..],
            &[0x01, 0],
            &[0xc2, 0],
            &[0xa1, 0],
            &[0x83, 0],
            &[0x81, 127],
        ] {
            let fed = Inbound::default().feed(wrong, &mut |_| {});
            assert!(fed.is_err(), "{wrong:?}");
        }
    }
}
