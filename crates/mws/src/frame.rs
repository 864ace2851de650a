//! RFC 6455 frames, without any I/O: bytes in, events out.
//!
//! What the server sends is framed once into shared [`Bytes`] and never fragmented: some clients abort on
//! continuation frames (`eds.md` §12.3). What clients send carries no meaning here (`mws.md` §6), so the
//! decoder checks their messages and keeps none of their bytes; who wants to know what they say has it told to a
//! sink. Only the payload of a control frame is held, and only until the frame is complete. An idle decoder owns no
//! heap memory.

use bytes::Bytes;

use crate::deflate::compressed_bytes_max;
use crate::dress::Kind;
use crate::utf8::Utf8;

/// The largest payload of a ping, pong or close frame.
const CONTROL_MAX: usize = 125;

/// What is unmasked at once.
const PIECE_BYTES: usize = 1024;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The bit of a frame whose message is compressed (RFC 7692 §6).
const COMPRESSED: u8 = 0x40;

/// A text message, ready to be sent to any number of sockets.
pub(crate) fn text(payload: &str) -> Bytes {
    encode(TEXT, payload.as_bytes())
}

/// A message of this kind. The payload of a text is UTF-8.
pub(crate) fn message(kind: Kind, payload: &[u8]) -> Bytes {
    debug_assert!(kind == Kind::Binary || std::str::from_utf8(payload).is_ok());
    encode(opcode_of(kind), payload)
}

/// A message of this kind whose payload is compressed.
pub(crate) fn compressed(kind: Kind, payload: &[u8]) -> Bytes {
    encode(opcode_of(kind) | COMPRESSED, payload)
}

fn opcode_of(kind: Kind) -> u8 {
    match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    }
}

/// A ping. Its payload must not be empty: one old client stalls on empty frames (`eds.md` §12.3).
pub(crate) fn ping(payload: &str) -> Bytes {
    debug_assert!((1..=CONTROL_MAX).contains(&payload.len()));
    encode(PING, payload.as_bytes())
}

/// The answer to a ping: its own payload.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= CONTROL_MAX);
    encode(PONG, payload)
}

/// A close frame; it always has a status.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    debug_assert!(2 + reason.len() <= CONTROL_MAX);
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    encode(CLOSE, &payload)
}

/// The status and the reason of one of our close frames.
pub(crate) fn parting(frame: &[u8]) -> Option<(u16, &str)> {
    let [_, _, high, low, reason @ ..] = frame else {
        return None;
    };
    let reason = std::str::from_utf8(reason).ok()?;
    Some((u16::from_be_bytes([*high, *low]), reason))
}

fn encode(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.push(FIN | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.into()
}

/// How long the frame is that begins `bytes`; it must be one of ours, with its whole head.
pub(crate) fn length(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let eight = bytes[2..10].try_into().expect("a slice of eight");
            let payload = usize::try_from(u64::from_be_bytes(eight));
            10 + payload.expect("it was in memory when it was framed")
        }
        short => 2 + usize::from(short),
    }
}

/// What one of our uncompressed message frames says.
pub(crate) fn kind_of(frame: &[u8]) -> Kind {
    match frame[0] & 0x0F {
        BINARY => Kind::Binary,
        _ => Kind::Text,
    }
}

/// The payload of one of our frames, without a copy.
pub(crate) fn payload_of(frame: &Bytes) -> Bytes {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    frame.slice(head..)
}

/// What a client's bytes amounted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole text or binary message, which nobody reads.
    Message,
    Ping(Vec<u8>),
    Pong,
    /// The client's last frame, with its status when it gave one.
    Close(Option<u16>),
}

/// The client broke the protocol; `code` is the status to close with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: u16,
    pub reason: &'static str,
}

fn protocol(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}

pub(crate) const NOT_TEXT: Violation = Violation {
    code: 1007,
    reason: "text is not UTF-8",
};

pub(crate) const TOO_BIG: Violation = Violation {
    code: 1009,
    reason: "message too big",
};

/// Is told what a client says, in pieces, while it arrives.
pub(crate) trait Sink {
    /// Nobody listens, so what need not be checked need not be read.
    const IGNORES: bool = false;

    /// A message begins. When it is compressed, so are its pieces, and nobody has looked into them.
    fn begin(&mut self, kind: Kind, compressed: bool);

    /// The next piece of the message. What was told of a text can be the beginning of one, but may end within a
    /// character.
    fn take(&mut self, bytes: &[u8]);

    /// The message is complete and obeys the rules as far as they were looked at.
    fn end(&mut self);

    /// The client says goodbye, with a status and a reason that nobody has looked at yet.
    fn part(&mut self, _payload: &[u8]) {}

    /// Whether no further message is wanted for now.
    fn is_full(&self) -> bool {
        false
    }
}

/// Nobody listens.
impl Sink for () {
    const IGNORES: bool = true;

    fn begin(&mut self, _: Kind, _: bool) {}

    fn take(&mut self, _: &[u8]) {}

    fn end(&mut self) {}
}

/// Reads client frames, however the bytes are cut.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: u32,
    /// Messages may be compressed.
    compression: bool,
    step: Step,
    /// The data message that has begun and not ended; control frames may come between its frames.
    message: Option<Message>,
}

#[derive(Debug)]
enum Step {
    /// Collecting a frame's head: 2 bytes, then the length, then the mask.
    Head {
        bytes: [u8; 14],
        filled: u8,
    },
    Data(Payload),
    Control {
        opcode: u8,
        payload: Payload,
        collected: Vec<u8>,
    },
    /// A close frame was read, or a rule was broken: nothing more is understood.
    Closed,
}

const NEXT_HEAD: Step = Step::Head {
    bytes: [0; 14],
    filled: 0,
};

/// Where a frame's payload stands.
#[derive(Clone, Copy, Debug)]
struct Payload {
    remaining: u32,
    mask: [u8; 4],
    /// Which byte of the mask comes next.
    turn: u8,
    /// Whether this is the last frame of its message.
    fin: bool,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    /// The text so far; `None` for a binary message, and for a compressed one, which is not looked into here.
    text: Option<Utf8>,
    size: u32,
    compressed: bool,
}

impl Decoder {
    /// A decoder that takes messages of at most so many bytes.
    pub fn new(message_bytes_max: u32) -> Self {
        Self {
            message_bytes_max,
            compression: false,
            step: NEXT_HEAD,
            message: None,
        }
    }

    /// One that takes compressed messages, too (RFC 7692 §6). The bound then holds for what they are compressed to;
    /// who opens them has to see to it that they do not say more.
    #[must_use]
    pub fn with_compression(mut self) -> Self {
        self.compression = true;
        self
    }

    /// Reads from the front of `input` up to the next event. `None`: all of it was read.
    ///
    /// After a close frame or a violation the rest of the input is skipped.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        self.read(input, &mut ())
    }

    /// The same, and `sink` is told what messages say.
    pub(crate) fn read(
        &mut self,
        input: &mut &[u8],
        sink: &mut impl Sink,
    ) -> Result<Option<Event>, Violation> {
        let event = self.advance(input, sink);
        match event {
            Err(_) | Ok(Some(Event::Close(_))) => {
                self.step = Step::Closed;
                *input = &[];
            }
            Ok(Some(Event::Message)) => sink.end(),
            Ok(_) => {}
        }
        event
    }

    fn advance<S: Sink>(
        &mut self,
        input: &mut &[u8],
        sink: &mut S,
    ) -> Result<Option<Event>, Violation> {
        loop {
            let event = match &mut self.step {
                Step::Closed => {
                    *input = &[];
                    return Ok(None);
                }
                Step::Head { bytes, filled } => {
                    let Some((byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    bytes[usize::from(*filled)] = *byte;
                    *filled += 1;
                    if usize::from(*filled) < head_size(bytes, *filled, self.compression)? {
                        continue;
                    }
                    let head = *bytes;
                    self.step = self.begin(&head, sink)?;
                    self.finish_if_complete()?
                }
                Step::Data(payload) => {
                    let message = self
                        .message
                        .as_mut()
                        .expect("a data frame belongs to a message");
                    let Some(bytes) = payload.take(input) else {
                        return Ok(None);
                    };
                    if S::IGNORES && message.text.is_none() {
                        payload.skip(bytes);
                    } else {
                        payload.unmask(bytes, |plain| message.tell(plain, sink))?;
                    }
                    self.finish_if_complete()?
                }
                Step::Control {
                    opcode,
                    payload,
                    collected,
                } => {
                    let Some(bytes) = payload.take(input) else {
                        return Ok(None);
                    };
                    payload.unmask(bytes, |plain| {
                        collected.extend_from_slice(plain);
                        Ok(())
                    })?;
                    if *opcode == CLOSE && payload.remaining == 0 {
                        sink.part(collected);
                    }
                    self.finish_if_complete()?
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// What follows a complete head that obeys the rules of a single frame.
    fn begin(&mut self, head: &[u8; 14], sink: &mut impl Sink) -> Result<Step, Violation> {
        let opcode = head[0] & 0x0F;
        let (length, mask) = length_and_mask(head)?;
        if opcode >= CLOSE {
            let payload = Payload::new(u32::from(head[1] & !MASKED), mask, true);
            return Ok(Step::Control {
                opcode,
                payload,
                collected: Vec::new(),
            });
        }
        let message = match (self.message.take(), opcode) {
            (Some(begun), CONTINUATION) => begun,
            (Some(_), _) => return Err(protocol("a message began within another")),
            (None, CONTINUATION) => return Err(protocol("nothing to continue")),
            (None, opcode) => {
                let compressed = head[0] & COMPRESSED != 0;
                let kind = if opcode == TEXT {
                    Kind::Text
                } else {
                    Kind::Binary
                };
                sink.begin(kind, compressed);
                Message {
                    text: (kind == Kind::Text && !compressed).then(Utf8::default),
                    size: 0,
                    compressed,
                }
            }
        };
        let most = match message.compressed {
            true => compressed_bytes_max(self.message_bytes_max),
            false => self.message_bytes_max,
        };
        let size = u64::from(message.size) + length;
        let size = u32::try_from(size)
            .ok()
            .filter(|size| *size <= most)
            .ok_or(TOO_BIG)?;
        let remaining = size - message.size;
        self.message = Some(Message { size, ..message });
        Ok(Step::Data(Payload::new(
            remaining,
            mask,
            head[0] & FIN != 0,
        )))
    }

    /// Ends the current frame once its payload is complete.
    fn finish_if_complete(&mut self) -> Result<Option<Event>, Violation> {
        match &mut self.step {
            Step::Data(payload) if payload.remaining == 0 => {
                let ends_message = payload.fin;
                self.step = NEXT_HEAD;
                if !ends_message {
                    return Ok(None);
                }
                let text = self.message.take().and_then(|message| message.text);
                if text.is_some_and(|text| !text.is_complete()) {
                    return Err(NOT_TEXT);
                }
                Ok(Some(Event::Message))
            }
            Step::Control {
                opcode,
                payload,
                collected,
            } if payload.remaining == 0 => {
                let event = control_event(*opcode, std::mem::take(collected))?;
                self.step = NEXT_HEAD;
                Ok(Some(event))
            }
            _ => Ok(None),
        }
    }
}

impl Payload {
    fn new(remaining: u32, mask: [u8; 4], fin: bool) -> Self {
        Self {
            remaining,
            mask,
            turn: 0,
            fin,
        }
    }

    /// Cuts this frame's part off the front of `input`; `None` when there is no input.
    fn take<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        if input.is_empty() {
            return None;
        }
        let size = input.len().min(self.remaining as usize);
        let (ours, rest) = input.split_at(size);
        *input = rest;
        self.remaining -= u32::try_from(size).expect("no larger than what remained");
        Some(ours)
    }

    /// Takes note of bytes that nobody reads.
    fn skip(&mut self, masked: &[u8]) {
        self.turn = (self.turn + (masked.len() % 4) as u8) % 4;
    }

    /// Shows what was masked, in pieces.
    fn unmask(
        &mut self,
        masked: &[u8],
        mut show: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut plain = [0; PIECE_BYTES];
        for piece in masked.chunks(PIECE_BYTES) {
            let mut mask = self.mask;
            mask.rotate_left(usize::from(self.turn));
            let plain = &mut plain[..piece.len()];
            for (plain, masked) in plain.chunks_mut(4).zip(piece.chunks(4)) {
                for ((plain, masked), mask) in plain.iter_mut().zip(masked).zip(mask) {
                    *plain = masked ^ mask;
                }
            }
            self.skip(piece);
            show(plain)?;
        }
        Ok(())
    }
}

impl Message {
    fn tell(&mut self, plain: &[u8], sink: &mut impl Sink) -> Result<(), Violation> {
        if let Some(text) = &mut self.text
            && !text.accept_all(plain)
        {
            return Err(NOT_TEXT);
        }
        sink.take(plain);
        Ok(())
    }
}

/// How long the head will be, as far as `filled` bytes tell. The rules of the first two bytes are checked as
/// soon as these are there.
fn head_size(bytes: &[u8; 14], filled: u8, compression: bool) -> Result<usize, Violation> {
    if filled < 2 {
        return Ok(2);
    }
    let [first, second, ..] = *bytes;
    let short = second & !MASKED;
    // A message is compressed as a whole: its first frame says so, and no other frame.
    let allowed = match first & 0x0F {
        TEXT | BINARY if compression => COMPRESSED,
        _ => 0,
    };
    if first & RESERVED & !allowed != 0 {
        return Err(protocol("reserved bits are set"));
    }
    if second & MASKED == 0 {
        return Err(protocol("a client must mask"));
    }
    match first & 0x0F {
        CONTINUATION | TEXT | BINARY => {}
        CLOSE | PING | PONG if first & FIN == 0 => {
            return Err(protocol("a control frame is fragmented"));
        }
        CLOSE | PING | PONG if usize::from(short) > CONTROL_MAX => {
            return Err(protocol("a control frame is too long"));
        }
        CLOSE | PING | PONG => {}
        _ => return Err(protocol("unknown kind of frame")),
    }
    Ok(match short {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    })
}

fn length_and_mask(head: &[u8; 14]) -> Result<(u64, [u8; 4]), Violation> {
    let mask_at = |start: usize| {
        [
            head[start],
            head[start + 1],
            head[start + 2],
            head[start + 3],
        ]
    };
    let (length, least, mask) = match head[1] & !MASKED {
        126 => {
            let length = u64::from(u16::from_be_bytes([head[2], head[3]]));
            (length, 126, mask_at(4))
        }
        127 => {
            let [_, _, eight @ .., _, _, _, _] = *head;
            (u64::from_be_bytes(eight), 1 << 16, mask_at(10))
        }
        short => (u64::from(short), 0, mask_at(2)),
    };
    if length < least {
        return Err(protocol("a length is longer than it needs to be"));
    }
    if length >> 63 != 0 {
        return Err(protocol("a length has its top bit set"));
    }
    Ok((length, mask))
}

fn control_event(opcode: u8, payload: Vec<u8>) -> Result<Event, Violation> {
    match opcode {
        PING => Ok(Event::Ping(payload)),
        PONG => Ok(Event::Pong),
        _ => close_status(&payload).map(Event::Close),
    }
}

fn close_status(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(protocol("half a close status")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004, 1005, 1006 and 1015 never travel; below 3000 only what is registered may.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol("not a close status"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(NOT_TEXT),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
