//! The table for RFC 6455: every row is read whole, byte by byte, and cut in two at every place.

use super::*;

const MAX: u32 = 64 * 1024;

/// A client frame with a mask that differs in every byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(MASKED | short as u8),
        medium @ 126..=0xFFFF => {
            bytes.push(MASKED | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(MASKED | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

type Row<T> = (&'static str, Vec<Vec<u8>>, T);

type Outcome = Result<Vec<Event>, (Vec<Event>, u16)>;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(MAX);
    let mut events = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return Err((events, violation.code)),
            }
        }
        assert!(piece.is_empty());
    }
    Ok(events)
}

/// Decodes however the bytes are cut, and demands one outcome.
fn decode_every_way(bytes: &[u8]) -> Outcome {
    let whole = decode([bytes]);
    assert_eq!(decode(bytes.chunks(1)), whole, "byte by byte");
    for at in 0..bytes.len().min(300) {
        let (left, right) = bytes.split_at(at);
        assert_eq!(decode([left, right]), whole, "cut at {at}");
    }
    whole
}

fn joined(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

#[test]
fn frames_that_obey() {
    use Event::{Close, Message, Ping, Pong};
    let rows: &[Row<Vec<Event>>] = &[
        ("nothing", vec![], vec![]),
        ("text", vec![frame(0x81, b"Hello")], vec![Message]),
        ("empty text", vec![frame(0x81, b"")], vec![Message]),
        (
            "binary need not be text",
            vec![frame(0x82, &[0xFF, 0xC0])],
            vec![Message],
        ),
        ("125 bytes", vec![frame(0x81, &[b'a'; 125])], vec![Message]),
        ("126 bytes", vec![frame(0x81, &[b'a'; 126])], vec![Message]),
        (
            "65535 bytes",
            vec![frame(0x81, &[b'a'; 65_535])],
            vec![Message],
        ),
        (
            "65536 bytes",
            vec![frame(0x81, &[b'a'; 65_536])],
            vec![Message],
        ),
        (
            "two in a row",
            vec![frame(0x81, b"a"), frame(0x82, b"b")],
            vec![Message, Message],
        ),
        (
            "three fragments, the last one empty",
            vec![frame(0x01, b"He"), frame(0x00, b"llo"), frame(0x80, b"")],
            vec![Message],
        ),
        (
            "a character across fragments",
            vec![
                frame(0x01, &[0xF0, 0x9F]),
                frame(0x00, &[0x8E]),
                frame(0x80, &[0x88]),
            ],
            vec![Message],
        ),
        (
            "ping and pong between fragments",
            vec![
                frame(0x01, b"He"),
                frame(0x89, b"Ping."),
                frame(0x8A, b""),
                frame(0x80, b"llo"),
            ],
            vec![Ping(b"Ping.".to_vec()), Pong, Message],
        ),
        ("empty ping", vec![frame(0x89, b"")], vec![Ping(vec![])]),
        (
            "longest ping",
            vec![frame(0x89, &[7; 125])],
            vec![Ping(vec![7; 125])],
        ),
        (
            "close without status",
            vec![frame(0x88, b"")],
            vec![Close(None)],
        ),
        (
            "close with status",
            vec![frame(0x88, &[0x03, 0xE9])],
            vec![Close(Some(1001))],
        ),
        (
            "close with status and reason",
            vec![frame(0x88, b"\x0F\xA0bye \xC3\xA9")],
            vec![Close(Some(4000))],
        ),
        (
            "nothing counts after a close",
            vec![
                frame(0x88, &[0x03, 0xE8]),
                frame(0x81, b"late"),
                vec![0xFF; 40],
            ],
            vec![Close(Some(1000))],
        ),
        (
            "a close between fragments",
            vec![frame(0x01, b"He"), frame(0x88, &[0x03, 0xE8])],
            vec![Close(Some(1000))],
        ),
        (
            "a frame that has not all come",
            vec![frame(0x81, b"Hello")[..8].to_vec()],
            vec![],
        ),
    ];
    for (name, frames, expected) in rows {
        assert_eq!(
            decode_every_way(&joined(frames)),
            Ok(expected.clone()),
            "{name}"
        );
    }
}

#[test]
fn frames_that_break_a_rule() {
    let unmasked = vec![0x81, 0x01, b'a'];
    let long_form = |length: u16| {
        let mut bytes = vec![0x81, MASKED | 126];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let longest_form = |length: u64| {
        let mut bytes = vec![0x82, MASKED | 127];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let rows: &[Row<u16>] = &[
        ("unmasked", vec![unmasked], 1002),
        ("first reserved bit", vec![frame(0xC1, b"")], 1002),
        ("second reserved bit", vec![frame(0xA1, b"")], 1002),
        ("third reserved bit", vec![frame(0x91, b"")], 1002),
        ("reserved bit on a ping", vec![frame(0xC9, b"")], 1002),
        ("data kind 3", vec![frame(0x83, b"")], 1002),
        ("data kind 7", vec![frame(0x87, b"")], 1002),
        ("control kind 11", vec![frame(0x8B, b"")], 1002),
        ("control kind 15", vec![frame(0x8F, b"")], 1002),
        ("fragmented ping", vec![frame(0x09, b"")], 1002),
        ("fragmented close", vec![frame(0x08, b"")], 1002),
        ("ping of 126 bytes", vec![frame(0x89, &[0; 126])], 1002),
        ("close of 126 bytes", vec![frame(0x88, &[0; 126])], 1002),
        ("continuation of nothing", vec![frame(0x80, b"")], 1002),
        (
            "continuation after the end",
            vec![frame(0x81, b"a"), frame(0x00, b"b")],
            1002,
        ),
        (
            "a text within a text",
            vec![frame(0x01, b"a"), frame(0x81, b"b")],
            1002,
        ),
        (
            "a binary within a text",
            vec![frame(0x01, b"a"), frame(0x02, b"b")],
            1002,
        ),
        ("125 bytes in the 16-bit form", vec![long_form(125)], 1002),
        (
            "65535 bytes in the 64-bit form",
            vec![longest_form(65_535)],
            1002,
        ),
        (
            "64-bit length with its top bit",
            vec![longest_form(1 << 63)],
            1002,
        ),
        (
            "one byte above the limit",
            vec![frame(0x82, &[0; MAX as usize + 1])],
            1009,
        ),
        (
            "a length near the end of 64 bits",
            vec![longest_form((1 << 63) - 1)],
            1009,
        ),
        (
            "above the limit in fragments",
            vec![frame(0x02, &[0; MAX as usize]), frame(0x80, b"x")],
            1009,
        ),
        ("not UTF-8", vec![frame(0x81, &[0xFF])], 1007),
        ("an overlong form", vec![frame(0x81, &[0xC0, 0xAF])], 1007),
        ("a surrogate", vec![frame(0x81, &[0xED, 0xA0, 0x80])], 1007),
        (
            "beyond U+10FFFF",
            vec![frame(0x81, &[0xF4, 0x90, 0x80, 0x80])],
            1007,
        ),
        (
            "a text that ends within a character",
            vec![frame(0x81, &[0xE2, 0x82])],
            1007,
        ),
        (
            "a broken character across fragments",
            vec![frame(0x01, &[0xE2]), frame(0x80, b"a")],
            1007,
        ),
        ("half a close status", vec![frame(0x88, &[0x03])], 1002),
        (
            "a close reason that is no text",
            vec![frame(0x88, &[0x03, 0xE8, 0xFF])],
            1007,
        ),
    ];
    for (name, frames, code) in rows {
        assert_eq!(
            decode_every_way(&joined(frames)),
            Err((vec![], *code))
                .map_err(|(_, code): (Vec<Event>, u16)| (events_before(frames), code)),
            "{name}"
        );
    }
}

/// Whole messages that the row holds before it breaks.
fn events_before(frames: &[Vec<u8>]) -> Vec<Event> {
    frames[..frames.len() - 1]
        .iter()
        .filter(|frame| frame[0] & FIN != 0)
        .map(|_| Event::Message)
        .collect()
}

#[test]
fn a_violation_is_seen_as_soon_as_its_first_bytes_are() {
    for head in [[0xC1, 0x80], [0x81, 0x05], [0x89, 0xFE]] {
        let outcome = decode([head.as_slice()]);
        assert_eq!(outcome, Err((vec![], 1002)), "{head:02x?}");
    }
    let bad_text = frame(0x81, &[b'a', 0xFF, b'b', b'c']);
    assert_eq!(decode([&bad_text[..8]]), Err((vec![], 1007)));
}

#[test]
fn only_statuses_that_may_travel_are_taken() {
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
    ] {
        let bytes = frame(0x88, &u16::to_be_bytes(code));
        assert_eq!(decode([&bytes[..]]), Ok(vec![Event::Close(Some(code))]));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let bytes = frame(0x88, &u16::to_be_bytes(code));
        assert_eq!(decode([&bytes[..]]), Err((vec![], 1002)), "{code}");
    }
}

#[test]
fn server_frames_are_unmasked_whole_and_minimal() {
    assert_eq!(&text("Hello")[..], b"\x81\x05Hello");
    assert_eq!(&text("")[..], b"\x81\x00");
    assert_eq!(&ping("17")[..], b"\x89\x0217");
    assert_eq!(&pong(b"Ping.")[..], b"\x8A\x05Ping.");
    assert_eq!(&close(1000, "")[..], b"\x88\x02\x03\xE8");
    assert_eq!(&close(1001, "bye")[..], b"\x88\x05\x03\xE9bye");
    for (length, head) in [
        (125, &[0x81, 125][..]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 0xFF, 0xFF]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let frame = text(&"a".repeat(length));
        assert_eq!(&frame[..head.len()], head);
        assert_eq!(frame.len(), head.len() + length);
    }
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
}

#[test]
fn frames_know_their_length() {
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let framed = super::text(&"x".repeat(size));
        assert_eq!(length(&framed), framed.len());
    }
}
