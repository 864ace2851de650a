//! WebSocket frames: the decoder neither panics nor grows, and what it reads does not depend on how the bytes are cut.
//!
//! What it reads is also held to a second reader, which sees all bytes at once and is written down as the RFC says it.
//! Each input is read twice: by a decoder that knows of no compression, and by one that takes compressed messages as
//! they are, for others to open.

use pilvi_mws::frame::{Decoder, Event, Violation};

use crate::{Random, memory, pieces};

/// Small, so that inputs reach it.
const MESSAGE_MAX: u32 = 300;

/// What cannot be compressed becomes a little larger.
const COMPRESSED_MAX: u32 = MESSAGE_MAX + MESSAGE_MAX / 64 + 64;

/// A decoder may hold one control frame, in a vector that grew to it, and one copy of it on its way out.
const HELD_MAX: usize = 512;

/// The promises about any client's bytes.
pub fn check(input: &[u8]) {
    for compression in [false, true] {
        let expected = read_by_the_book(input, compression);
        for pieces in pieces::cuts(input) {
            let found = decode(&pieces, compression);
            assert_eq!(found, expected, "cut into {} pieces", pieces.len());
            let peak = memory::peak_of(|| drop_events(&pieces, compression));
            assert!(peak <= HELD_MAX, "the decoder held {peak} bytes");
        }
    }
}

fn decoder(compression: bool) -> Decoder {
    let decoder = Decoder::new(MESSAGE_MAX);
    match compression {
        true => decoder.with_compression(),
        false => decoder,
    }
}

type Outcome = (Vec<Event>, Option<u16>);

fn decode(pieces: &[&[u8]], compression: bool) -> Outcome {
    let mut decoder = decoder(compression);
    let mut events = Vec::new();
    let mut violated = None;
    for &piece in pieces {
        let mut rest = piece;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(Violation { code, reason }) => {
                    assert!(violated.is_none(), "a broken stream is broken once");
                    // Status and reason must fit a close frame.
                    assert!(reason.len() <= 123);
                    violated = Some(code);
                }
            }
        }
        assert!(rest.is_empty(), "all of a piece is read");
    }
    (events, violated)
}

/// As a socket does it: what has been read is forgotten.
fn drop_events(pieces: &[&[u8]], compression: bool) {
    let mut decoder = decoder(compression);
    for &piece in pieces {
        let mut rest = piece;
        while !matches!(decoder.next(&mut rest), Ok(None)) {}
    }
}

/// RFC 6455, §5 and §7.4, over bytes that are all there. What ends in the middle counts only as far as it breaks a
/// rule already.
fn read_by_the_book(mut input: &[u8], compression: bool) -> Outcome {
    let mut events = Vec::new();
    let mut message = None;
    loop {
        match read_frame(&mut input, &mut message, compression) {
            Ok(None) => return (events, None),
            Ok(Some(None)) => {}
            Ok(Some(Some(event))) => {
                let last = matches!(event, Event::Close(_));
                events.push(event);
                if last {
                    return (events, None);
                }
            }
            Err(code) => return (events, Some(code)),
        }
    }
}

/// A message that has begun.
struct Message {
    text: bool,
    compressed: bool,
    bytes: Vec<u8>,
}

/// `Ok(None)`: the input ends before the frame does. `Ok(Some(None))`: a frame that completes nothing.
fn read_frame(
    input: &mut &[u8],
    message: &mut Option<Message>,
    compression: bool,
) -> Result<Option<Option<Event>>, u16> {
    let &[first, second, ref rest @ ..] = *input else {
        return Ok(None);
    };
    let (fin, opcode, short) = (first & 0x80 != 0, first & 0x0F, second & 0x7F);
    let control = opcode >= 8;
    let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
    // Only the first frame of a message says that it is compressed (RFC 7692 §6.1).
    let compressed = compression && first & 0x70 == 0x40 && matches!(opcode, 1 | 2);
    if (first & 0x70 != 0 && !compressed)
        || second & 0x80 == 0
        || !known
        || (control && (!fin || short > 125))
    {
        return Err(1002);
    }
    let size = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((head, payload)) = rest.split_at_checked(size + 4) else {
        return Ok(None);
    };
    let (length, mask) = head.split_at(size);
    let length = match size {
        0 => u64::from(short),
        _ => length
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    };
    let shortest = match size {
        0 => 0,
        2 => 126,
        _ => 1 << 16,
    };
    if length < shortest || length >> 63 != 0 {
        return Err(1002);
    }
    if !control {
        match (&message, opcode) {
            (Some(_), 1 | 2) | (None, 0) => return Err(1002),
            _ => {}
        }
        let so_far = message.as_ref().map_or(0, |message| message.bytes.len());
        let is_compressed = message
            .as_ref()
            .map_or(compressed, |message| message.compressed);
        let most = if is_compressed {
            COMPRESSED_MAX
        } else {
            MESSAGE_MAX
        };
        if (so_far as u64).saturating_add(length) > u64::from(most) {
            return Err(1009);
        }
    }
    let here = payload
        .len()
        .min(usize::try_from(length).unwrap_or(usize::MAX));
    let (payload, after) = payload.split_at(here);
    let complete = here as u64 == length;
    let plain: Vec<u8> = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    *input = after;
    if control {
        return if complete {
            control_event(opcode, &plain).map(|event| Some(Some(event)))
        } else {
            Ok(None)
        };
    }
    let message_so_far = message.get_or_insert_with(|| Message {
        text: opcode == 1,
        compressed,
        bytes: Vec::new(),
    });
    message_so_far.bytes.extend(plain);
    let ends = complete && fin;
    let fault = std::str::from_utf8(&message_so_far.bytes).err();
    if message_so_far.text
        && !message_so_far.compressed
        && fault.is_some_and(|fault| ends || fault.error_len().is_some())
    {
        return Err(1007);
    }
    if !complete {
        return Ok(None);
    }
    if ends {
        *message = None;
    }
    Ok(Some(ends.then_some(Event::Message)))
}

fn control_event(opcode: u8, payload: &[u8]) -> Result<Event, u16> {
    match (opcode, payload) {
        (9, _) => Ok(Event::Ping(payload.to_vec())),
        (10, _) => Ok(Event::Pong),
        (_, []) => Ok(Event::Close(None)),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_travel = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            match (may_travel, std::str::from_utf8(reason)) {
                (false, _) => Err(1002),
                (true, Err(_)) => Err(1007),
                (true, Ok(_)) => Ok(Event::Close(Some(code))),
            }
        }
        _ => Err(1002),
    }
}

const TEXTS: [&[u8]; 8] = [
    b"",
    b"Hello",
    "h\u{e9}llo".as_bytes(),
    "\u{20ac}\u{1f388}".as_bytes(),
    b"\xed\xa0\x80",
    b"\xf0\x9f\x8e",
    b"\x88\x80",
    b"\xff",
];

/// A few frames of a client, most of which keep the rules.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(6) {
        let opcode = *random.pick(&[0, 0, 1, 1, 1, 2, 8, 9, 9, 10, 3, 15]);
        let mut first = opcode;
        if opcode >= 8 || !random.one_in(3) {
            first |= 0x80;
        }
        if random.one_in(30) {
            first ^= *random.pick(&[0x80, 0x40, 0x20, 0x10]);
        }
        frame(random, first, &mut bytes);
    }
    if random.one_in(4) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

fn frame(random: &mut Random, first: u8, into: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if first & 0x0F == 8 && !random.one_in(5) {
        payload.extend(
            random
                .pick(&[1000_u16, 1001, 1004, 1005, 1015, 999, 3000, 4999, 5000])
                .to_be_bytes(),
        );
    }
    for _ in 0..random.below(4) {
        payload.extend_from_slice(random.pick::<&[u8]>(&TEXTS));
    }
    if random.one_in(6) {
        payload.resize(
            *random.pick(&[124, 125, 126, 127, 299, 300, 301, 70_000]),
            b'x',
        );
    }
    let length = payload.len();
    into.push(first);
    let shortest = usize::from(length > 125) + usize::from(length > 0xFFFF);
    let spelling = if random.one_in(20) {
        random.below(3)
    } else {
        shortest
    };
    let masked = if random.one_in(40) { 0 } else { 0x80 };
    match spelling {
        0 => into.push(masked | (length as u8 & 0x7F)),
        1 => {
            into.push(masked | 126);
            into.extend((length as u16).to_be_bytes());
        }
        _ => {
            into.push(masked | 127);
            let top = if random.one_in(5) { 1 << 63 } else { 0 };
            into.extend((length as u64 | top).to_be_bytes());
        }
    }
    let mask = random.number().to_be_bytes();
    let mask = if random.one_in(4) {
        [0; 4]
    } else {
        [mask[0], mask[1], mask[2], mask[3]]
    };
    into.extend(mask);
    into.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
}
