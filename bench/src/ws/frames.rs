//! Frames as bytes (RFC 6455 §5.2): written by the bare server, read by the swarm.
//!
//! The reader keeps a few bytes of state for each socket and never copies a payload that arrives in one piece, because
//! the load generator has to keep up with a server that spends two microseconds on a delivery.

use anyhow::{Result, bail};

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const CONTROL_PAYLOAD_MAX: usize = 125;

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole message has passed. Its payload, if it came in one frame and in one piece.
    Message(Option<&'a [u8]>),
    /// To be answered with a pong that carries the same payload.
    Ping(Vec<u8>),
    /// The server ends the connection.
    Close,
}

/// Reads the frames that a server sends, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The head as far as it has come; a server's head has at most 10 bytes.
    head: [u8; 10],
    head_length: u8,
    /// Of the payload, once the head is complete.
    left: u64,
    in_payload: bool,
    /// The payload of a control frame that came in pieces.
    control: Vec<u8>,
}

impl Reader {
    /// Takes the next bytes from the connection.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<()> {
        loop {
            if !self.in_payload {
                bytes = self.take_head(bytes)?;
                if !self.in_payload {
                    return Ok(());
                }
            }
            let whole = self.left;
            let here = usize::try_from(whole).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at(here);
            self.left -= here as u64;
            bytes = rest;
            self.take_payload(payload, found);
            if self.in_payload {
                return Ok(());
            }
        }
    }

    /// Completes the head if the bytes suffice, and returns what follows it.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let mut rest = bytes;
        while let [next, behind @ ..] = rest {
            self.head[usize::from(self.head_length)] = *next;
            self.head_length += 1;
            rest = behind;
            if self.head_length >= 2 && usize::from(self.head_length) == self.head_needed()? {
                self.left = self.payload_length();
                self.in_payload = true;
                return Ok(rest);
            }
        }
        Ok(rest)
    }

    fn head_needed(&self) -> Result<usize> {
        if self.head[1] & MASKED != 0 {
            bail!("a server must not mask its frames");
        }
        let control = self.opcode() >= CLOSE;
        Ok(match self.head[1] {
            126 | 127 if control => bail!("a control frame is too long"),
            126 => 4,
            127 => 10,
            _ => 2,
        })
    }

    fn payload_length(&self) -> u64 {
        match self.head[1] {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        }
    }

    fn opcode(&self) -> u8 {
        self.head[0] & OPCODE
    }

    fn take_payload(&mut self, payload: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let opcode = self.opcode();
        if opcode >= CLOSE {
            self.control.extend_from_slice(payload);
        }
        if self.left > 0 {
            return;
        }
        match opcode {
            CLOSE => found(Found::Close),
            PING => found(Found::Ping(std::mem::take(&mut self.control))),
            PONG => {}
            _ if self.head[0] & FINAL == 0 => {}
            _ => {
                let in_one_piece = opcode != 0 && payload.len() as u64 == self.payload_length();
                found(Found::Message(in_one_piece.then_some(payload)));
            }
        }
        self.control = Vec::new();
        self.head_length = 0;
        self.in_payload = false;
    }
}

/// Appends a text message as a server sends it.
pub(crate) fn write_text(message: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | TEXT);
    match u16::try_from(message.len()) {
        Ok(length) if length < 126 => out.extend(u8::try_from(length)),
        Ok(length) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend((message.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(message);
}

/// A text message as a client sends it: masked with zeroes, too.
pub(crate) fn client_text(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 8);
    write_text(message, &mut frame);
    let head_length = frame.len() - message.len();
    frame[1] |= MASKED;
    frame.splice(head_length..head_length, [0; 4]);
    frame
}

/// The answer to a ping, as a client sends it: masked, here with zeroes, which leave the payload as it is.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_MAX)];
    let length = u8::try_from(payload.len()).expect("it was cut to 125");
    let mut frame = vec![FINAL | PONG, MASKED | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        messages: usize,
        payloads: Vec<Vec<u8>>,
        pings: Vec<Vec<u8>>,
        closes: usize,
    }

    fn read(pieces: &[&[u8]]) -> Seen {
        let mut seen = Seen::default();
        let mut reader = Reader::default();
        for piece in pieces {
            reader
                .feed(piece, &mut |found| match found {
                    Found::Message(payload) => {
                        seen.messages += 1;
                        seen.payloads.extend(payload.map(<[u8]>::to_vec));
                    }
                    Found::Ping(payload) => seen.pings.push(payload),
                    Found::Close => seen.closes += 1,
                })
                .unwrap();
        }
        seen
    }

    fn text(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_text(message, &mut out);
        out
    }

    #[test]
    fn messages_of_every_length_class_are_read_back() {
        let lengths = [0, 1, 125, 126, 128, 65_535, 65_536];
        let messages = lengths.map(|length| vec![b'x'; length]);
        let joined: Vec<u8> = messages.iter().flat_map(|message| text(message)).collect();
        let seen = read(&[&joined]);
        assert_eq!(seen.messages, lengths.len());
        assert_eq!(seen.payloads, messages);
    }

    #[test]
    fn any_cut_finds_the_same_messages() {
        let mut bytes = text(&[b'a'; 128]);
        bytes.extend([FINAL | PING, 2, b'h', b'i']);
        bytes.extend(text(b"short"));
        bytes.extend([FINAL | CLOSE, 0]);
        for cut in 0..=bytes.len() {
            let seen = read(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!((seen.messages, seen.closes), (2, 1), "cut at {cut}");
            assert_eq!(seen.pings, [b"hi"], "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single).messages, 2);
    }

    #[test]
    fn a_fragmented_message_counts_once() {
        let bytes = [TEXT, 1, b'a', 0, 1, b'b', FINAL, 1, b'c'];
        let seen = read(&[&bytes]);
        assert_eq!(seen.messages, 1);
        assert!(seen.payloads.is_empty(), "it did not come in one piece");
    }

    #[test]
    fn a_masked_frame_is_refused() {
        let mut reader = Reader::default();
        assert!(reader.feed(&[FINAL | TEXT, MASKED], &mut |_| {}).is_err());
    }

    #[test]
    fn a_client_masks_what_it_says() {
        assert_eq!(client_text(b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        let long = client_text(&[b'x'; 200]);
        assert_eq!(long[..9], [0x81, 0x80 | 126, 0, 200, 0, 0, 0, 0, b'x']);
    }

    #[test]
    fn a_pong_carries_the_payload_of_its_ping() {
        assert_eq!(pong(b"hi"), [0x8a, 0x82, 0, 0, 0, 0, b'h', b'i']);
    }
}
