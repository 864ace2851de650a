//! Sections 12 and 13: compression, RFC 7692.
//!
//! What is particular is here, in bytes that stand in the RFC or are put together by hand, so that no library for
//! compression has its say. The many messages of both sections are compressed and read by Python's zlib, in
//! `python/deflate.py`.

use std::time::Duration;

use pilvi_e2e::http::Request;
use pilvi_e2e::python;
use pilvi_e2e::socket::{BINARY, CLOSE, FIN, PONG, Socket, TEXT};
use serde_json::json;

use crate::bench::{Bench, CONTINUATION, Heard, Over, Then, expect, frame, ping, said, text_back};

/// The bit of a compressed message.
const RSV1: u8 = 0x40;
const COMPRESSED_TEXT: u8 = FIN | RSV1 | TEXT;
const COMPRESSED_BINARY: u8 = FIN | RSV1 | BINARY;

/// `Hello`, compressed (RFC 7692 §7.2.3.1), and in other forms (§7.2.3.3 to §7.2.3.5).
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
const HELLO_STORED: [u8; 11] = [
    0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00,
];
const HELLO_AS_LAST_BLOCK: [u8; 8] = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
const HELLO_IN_TWO_BLOCKS: [u8; 13] = [
    0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00,
];

/// How long Python may take for its messages, in a full run too.
const DONE_WITHIN: Duration = Duration::from_secs(600);
/// How many messages each of its cases sends, unless somebody asks for more.
const MESSAGES: &str = "6";

/// What an offer is answered with.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[track_caller]
fn compressing(bench: &Bench) -> Socket {
    let (socket, agreed) = bench.connect_offering("permessage-deflate");
    assert_eq!(agreed.as_deref(), Some(ANSWER));
    socket
}

/// A text of so many letters `a`, compressed by hand: one block of fixed codes, in which a letter is followed by copies
/// of 258 letters before it.
fn letters(count: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block; fixed codes.
    bits.put(&[0, 1, 0]);
    let (copies, single) = ((count - 1) / 258, 1 + (count - 1) % 258);
    for _ in 0..single {
        // 0x30 + 0x61: codes of eight bits go from their highest.
        bits.put_high_first(0x91, 8);
    }
    for _ in 0..copies {
        // A length of 258, at a distance of 1.
        bits.put_high_first(0xC5, 8);
        bits.put_high_first(0, 5);
    }
    bits.put_high_first(0, 7);
    // An empty stored block, of which the last four bytes are left out.
    bits.put(&[0, 0, 0]);
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    filled: usize,
}

impl Bits {
    fn put(&mut self, bits: &[u8]) {
        for bit in bits {
            if self.filled == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= bit << self.filled;
            self.filled = (self.filled + 1) % 8;
        }
    }

    fn put_high_first(&mut self, code: u16, width: u32) {
        for place in (0..width).rev() {
            self.put(&[u8::from(code >> place & 1 == 1)]);
        }
    }
}

#[test]
fn what_is_asked_for_is_granted_where_it_can_be() {
    let bench = Bench::start(true);
    let with = |more: &str| Some(format!("{ANSWER}{more}"));
    for (offer, expected) in [
        ("permessage-deflate", with("")),
        ("permessage-deflate; client_max_window_bits", with("")),
        ("permessage-deflate; client_max_window_bits=10", with("")),
        ("permessage-deflate; server_no_context_takeover", with("")),
        ("permessage-deflate; client_no_context_takeover", with("")),
        (
            "permessage-deflate;server_max_window_bits=15",
            with("; server_max_window_bits=15"),
        ),
        ("x-webkit-deflate-frame, permessage-deflate", with("")),
        (
            "permessage-deflate; server_max_window_bits=\"15\"",
            with("; server_max_window_bits=15"),
        ),
        // The first has a parameter that nobody knows; the second is good.
        ("permessage-deflate; unknown, permessage-deflate", with("")),
        (
            "permessage-deflate; server_max_window_bits=7, permessage-deflate",
            with(""),
        ),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=010", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; client_max_window_bits=99", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            None,
        ),
        ("x-webkit-deflate-frame", None),
        ("permessage-deflates", None),
    ] {
        let (socket, agreed) = bench.connect_offering(offer);
        assert_eq!(agreed, expected, "{offer}");
        socket.close();
    }
    // RFC 7692 §7.1.2.1: a server that agrees to a window says so, or declines.
    for bits in 8..=15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let (socket, agreed) = bench.connect_offering(&offer);
        if let Some(agreed) = &agreed {
            let granted = agreed
                .split("; ")
                .find_map(|part| part.strip_prefix("server_max_window_bits="));
            let granted: u8 = granted.and_then(|bits| bits.parse().ok()).unwrap_or(15);
            assert!((8..=bits).contains(&granted), "{offer}: {agreed}");
        } else {
            assert_eq!(
                bits, 8,
                "zlib cannot make the smallest window, but this: {offer}"
            );
        }
        socket.close();
    }
    bench.stop();
}

#[test]
fn every_form_of_a_compressed_message_is_read() {
    let bench = Bench::start(true);
    let (first, second) = HELLO.split_at(3);
    let in_frames = [frame(RSV1 | TEXT, first), frame(FIN | CONTINUATION, second)];
    let each_byte: Vec<u8> = HELLO
        .iter()
        .enumerate()
        .flat_map(|(place, byte)| match place {
            0 => frame(RSV1 | TEXT, &[*byte]),
            6 => frame(FIN | CONTINUATION, &[*byte]),
            _ => frame(CONTINUATION, &[*byte]),
        })
        .collect();
    let between = [in_frames[0].clone(), ping(b"now"), in_frames[1].clone()].concat();
    let empty_last = [frame(RSV1 | TEXT, &HELLO), frame(FIN | CONTINUATION, b"")].concat();
    let said_again = [
        frame(COMPRESSED_TEXT, &HELLO),
        frame(COMPRESSED_TEXT, &HELLO),
    ]
    .concat();
    let hello = || text_back(b"Hello");
    let big = vec![b'a'; 1 << 20];
    for (name, input, hears) in [
        (
            "in one frame",
            frame(COMPRESSED_TEXT, &HELLO),
            vec![hello()],
        ),
        ("in two frames", in_frames.concat(), vec![hello()]),
        ("a frame for each byte", each_byte, vec![hello()]),
        ("an empty last frame", empty_last, vec![hello()]),
        (
            "a ping between",
            between,
            vec![Heard::Pong(b"now".to_vec()), hello()],
        ),
        ("twice", said_again, vec![hello(), hello()]),
        (
            "stored",
            frame(COMPRESSED_TEXT, &HELLO_STORED),
            vec![hello()],
        ),
        (
            "a block that calls itself the last",
            frame(COMPRESSED_TEXT, &HELLO_AS_LAST_BLOCK),
            vec![hello()],
        ),
        (
            "two blocks",
            frame(COMPRESSED_TEXT, &HELLO_IN_TWO_BLOCKS),
            vec![hello()],
        ),
        (
            "nothing",
            frame(COMPRESSED_TEXT, &[0]),
            vec![text_back(b"")],
        ),
        (
            "binary",
            frame(COMPRESSED_BINARY, &HELLO),
            vec![Heard::Binary(b"Hello".to_vec())],
        ),
        ("not compressed at all", said(b"Hello"), vec![hello()]),
        (
            "now this, now that",
            [
                frame(COMPRESSED_TEXT, &HELLO),
                said(b"plain"),
                frame(COMPRESSED_TEXT, &HELLO),
            ]
            .concat(),
            vec![hello(), text_back(b"plain"), hello()],
        ),
    ] {
        let mut socket = compressing(&bench);
        socket.write(&input);
        expect(socket, name, &hears, Then::StaysOpen);
        let mut socket = compressing(&bench);
        for byte in &input {
            socket.write(&[*byte]);
        }
        expect(socket, name, &hears, Then::StaysOpen);
    }
    // As large as may be, and much smaller on its way there.
    let mut socket = compressing(&bench);
    let small = letters(big.len());
    assert!(small.len() < 8 << 10);
    socket.write(&frame(COMPRESSED_TEXT, &small));
    let (first, payload) = socket.extended_frame();
    assert_eq!(
        first, COMPRESSED_TEXT,
        "it is worth compressing on its way back too"
    );
    assert!(payload.len() < 8 << 10, "{} bytes", payload.len());
    socket.close();
    bench.stop();
}

#[test]
fn what_is_not_compressed_rightly_ends_the_connection() {
    let bench = Bench::start(true);
    for (name, input, code) in [
        ("a bomb", frame(COMPRESSED_BINARY, &letters(64 << 20)), 1009),
        (
            "one byte more than may be",
            frame(COMPRESSED_TEXT, &letters((1 << 20) + 1)),
            1009,
        ),
        (
            "a block of no known kind",
            frame(COMPRESSED_TEXT, &[0x06, 0xFF, 0xFF]),
            1007,
        ),
        (
            "a copy of what was never said",
            frame(COMPRESSED_TEXT, &[0x02, 0x08, 0x00, 0x00]),
            1007,
        ),
        (
            "a stored block of the wrong length",
            frame(COMPRESSED_TEXT, &[0x00, 0x05, 0x00, 0x00, 0x00, 0x48]),
            1007,
        ),
        ("what breaks off", frame(COMPRESSED_TEXT, &HELLO[..3]), 1007),
        (
            "text that is none",
            frame(
                COMPRESSED_TEXT,
                &[0x00, 0x02, 0x00, 0xFD, 0xFF, 0xC3, 0x28, 0x00],
            ),
            1007,
        ),
        ("a compressed ping", frame(FIN | RSV1 | 0x9, &HELLO), 1002),
        (
            "a compressed close",
            frame(FIN | RSV1 | CLOSE, &HELLO),
            1002,
        ),
        (
            "a second frame with the bit",
            [
                frame(RSV1 | TEXT, &HELLO[..3]),
                frame(FIN | RSV1 | CONTINUATION, &HELLO[3..]),
            ]
            .concat(),
            1002,
        ),
        (
            "another bit beside it",
            frame(COMPRESSED_TEXT | 0x20, &HELLO),
            1002,
        ),
    ] {
        let mut socket = compressing(&bench);
        // The server may hang up before all of it is taken.
        socket.try_write(&input);
        expect(socket, name, &[], Then::Closes(code));
    }
    // Where nothing was agreed upon, the bit has no meaning.
    for socket in [
        bench.connect(Over::Tcp),
        bench.connect_offering("permessage-deflates").0,
    ] {
        let mut socket = socket;
        socket.write(&frame(COMPRESSED_TEXT, &HELLO));
        expect(socket, "not agreed upon", &[], Then::Closes(1002));
    }
    bench.stop();
}

/// Where nobody hears what clients say, nobody takes the trouble to read it either.
#[test]
fn a_gateway_without_an_app_drops_what_is_compressed() {
    let bench = Bench::start(true);
    let gateway = bench.gateway();
    let quiet = json!({"compression": true, "events": null});
    let put = Request::put(gateway.path("configuration")).json(&quiet);
    gateway.send_as_admin(put).must_be(200);
    let mut socket = compressing(&bench);
    socket.write(&frame(COMPRESSED_TEXT, &HELLO));
    socket.write(&frame(COMPRESSED_TEXT, &[0x06, 0xFF, 0xFF]));
    socket.write(&ping(b"still there?"));
    assert_eq!(socket.frame(), (PONG, b"still there?".to_vec()));
    socket.close();
    bench.server().log();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is a door: whoever runs it may ask for more"
)]
fn more_messages() -> Option<String> {
    std::env::var("PILVI_DEFLATE_MESSAGES").ok()
}

/// The sections themselves: messages of every size and kind, in every agreement on windows, by a library that is held
/// to its own limits by zlib.
#[test]
fn messages_compressed_by_zlib_come_back() {
    if !python::is_ready() {
        return;
    }
    let count = more_messages().unwrap_or_else(|| MESSAGES.to_owned());
    let bench = Bench::start(true);
    for (over, base) in [
        (Over::Tcp, format!("http://{}", bench.server().http)),
        (Over::Tls, format!("https://{}", bench.server().https())),
    ] {
        let variables = [
            ("ADDRESS", base.as_str()),
            ("CA", bench.server().ca()),
            ("GATEWAY_ID", &bench.gateway().id),
            ("COUNT", &count),
        ];
        let done = python::start("deflate.py", &variables).result(DONE_WITHIN);
        assert!(
            done["messages"].as_u64() > Some(1000),
            "{done} over {over:?}"
        );
    }
    bench.stop();
}
