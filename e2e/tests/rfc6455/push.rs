//! A gateway that only pushes, which every gateway is at first: it reads what clients say, holds it to every rule, and
//! drops it.
//!
//! A table says what a client sends and what becomes of the connection. Each row is sent twice, in one piece and byte
//! by byte, since nothing may depend on how TCP cuts a stream.

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::{BINARY, CLOSE, FIN, PING, PONG, Socket, TEXT, client_frame as frame};
use serde_json::json;

const CONTINUATION: u8 = 0x0;

/// The first byte of whole and of unfinished frames.
const WHOLE_TEXT: u8 = FIN | TEXT;
const WHOLE_BINARY: u8 = FIN | BINARY;
const LAST: u8 = FIN | CONTINUATION;

/// What a client may send in one message, all its frames together.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Rows longer than this are sent in one piece only.
const BYTE_BY_BYTE_MAX: usize = 512;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    StaysOpen,
    /// The server says goodbye with this status.
    Closes(u16),
}

use Then::{Closes, StaysOpen};

type Row = (&'static str, Vec<u8>, Then);

/// Sends every row on a connection of its own and looks what becomes of it.
#[track_caller]
fn check(rows: &[Row]) {
    let server = Server::demo();
    let gateway = server.gateway();
    for (name, input, then) in rows {
        let mut socket = gateway.connect();
        socket.write(input);
        expect(socket, name, *then);
        if input.len() > BYTE_BY_BYTE_MAX {
            continue;
        }
        let mut socket = gateway.connect();
        // The server may hang up at a byte that settles the matter, and the rest is then no longer taken.
        let _ = input.iter().all(|byte| socket.try_write(&[*byte]));
        expect(socket, &format!("{name}, byte by byte"), *then);
    }
    server.stop();
}

#[track_caller]
fn expect(mut socket: Socket, name: &str, then: Then) {
    if then == StaysOpen {
        socket.write(&frame(FIN | PING, b"still there?"));
    }
    loop {
        let (opcode, payload) = socket.frame();
        match (opcode, then) {
            (PONG, StaysOpen) if payload == b"still there?" => return socket.close(),
            (PONG, _) => {}
            (CLOSE, Closes(status)) => {
                let code = [payload[0], payload[1]];
                assert_eq!(u16::from_be_bytes(code), status, "{name}");
                return socket.expect_end();
            }
            _ => panic!("{name}: heard a frame of kind {opcode:#x} with {payload:02x?}"),
        }
    }
}

fn close_frame(status: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&status.to_be_bytes()[..], reason].concat())
}

/// A frame whose length stands in `length` whatever it is, and whose payload is `payload`. The mask changes nothing.
fn with_length(first: u8, form: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | form], length, &[0; 4], payload].concat()
}

#[test]
fn messages_may_be_cut_into_frames() {
    check(&[
        (
            "a text in one frame",
            frame(WHOLE_TEXT, b"Hello"),
            StaysOpen,
        ),
        ("an empty text", frame(WHOLE_TEXT, b""), StaysOpen),
        (
            "a text in two frames",
            [frame(TEXT, b"Hel"), frame(LAST, b"lo")].concat(),
            StaysOpen,
        ),
        (
            "a binary message in three frames, the middle one empty",
            [
                frame(BINARY, &[0, 255]),
                frame(CONTINUATION, b""),
                frame(LAST, &[254]),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "nothing but empty frames",
            [frame(TEXT, b""), frame(LAST, b"")].concat(),
            StaysOpen,
        ),
        (
            "one message after the other",
            [
                frame(TEXT, b"a"),
                frame(LAST, b"b"),
                frame(WHOLE_BINARY, b"c"),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "a continuation of nothing",
            frame(LAST, b"lo"),
            Closes(1002),
        ),
        (
            "an unfinished continuation of nothing",
            frame(CONTINUATION, b"lo"),
            Closes(1002),
        ),
        (
            "a continuation after the last frame",
            [frame(TEXT, b"a"), frame(LAST, b"b"), frame(LAST, b"c")].concat(),
            Closes(1002),
        ),
        (
            "a text within a text",
            [frame(TEXT, b"Hel"), frame(WHOLE_TEXT, b"lo")].concat(),
            Closes(1002),
        ),
        (
            "a binary message within a text",
            [frame(TEXT, b"Hel"), frame(BINARY, b"lo")].concat(),
            Closes(1002),
        ),
    ]);
}

#[test]
fn control_frames_come_between_the_frames_of_a_message() {
    check(&[
        (
            "a ping between",
            [
                frame(TEXT, b"Hel"),
                frame(FIN | PING, b"?"),
                frame(LAST, b"lo"),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "an unasked pong between",
            [
                frame(TEXT, b"Hel"),
                frame(FIN | PONG, b"!"),
                frame(LAST, b"lo"),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "a ping between the halves of a character",
            [
                frame(TEXT, b"\xC3"),
                frame(FIN | PING, b"\xFF"),
                frame(LAST, b"\xA4"),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "a close between",
            [frame(TEXT, b"Hel"), close_frame(1000, b"")].concat(),
            Closes(1000),
        ),
        (
            "a continuation that a ping did not end",
            [
                frame(TEXT, b"Hel"),
                frame(FIN | PING, b"?"),
                frame(WHOLE_TEXT, b"lo"),
            ]
            .concat(),
            Closes(1002),
        ),
    ]);
}

#[test]
fn control_frames_are_short_and_whole() {
    check(&[
        ("an empty ping", frame(FIN | PING, b""), StaysOpen),
        (
            "a ping of 125 bytes",
            frame(FIN | PING, &[b'x'; 125]),
            StaysOpen,
        ),
        ("an unasked pong", frame(FIN | PONG, b"!"), StaysOpen),
        (
            "a ping of 126 bytes",
            frame(FIN | PING, &[b'x'; 126]),
            Closes(1002),
        ),
        (
            "a pong of 126 bytes",
            frame(FIN | PONG, &[b'x'; 126]),
            Closes(1002),
        ),
        (
            "a close of 126 bytes",
            close_frame(1000, &[b'x'; 124]),
            Closes(1002),
        ),
        (
            "a ping with a length of eight bytes",
            with_length(FIN | PING, 127, &[0, 0, 0, 0, 0, 0, 0, 1], b"x"),
            Closes(1002),
        ),
        ("an unfinished ping", frame(PING, b"?"), Closes(1002)),
        ("an unfinished pong", frame(PONG, b"!"), Closes(1002)),
        (
            "an unfinished close",
            frame(CLOSE, &1000u16.to_be_bytes()),
            Closes(1002),
        ),
    ]);
}

#[test]
fn text_is_utf8() {
    let good: [(&str, &[u8]); 6] = [
        ("letters of every length", "aä€🎈".as_bytes()),
        ("the last character", b"\xF4\x8F\xBF\xBF"),
        (
            "the characters around the surrogates",
            b"\xED\x9F\xBF\xEE\x80\x80",
        ),
        ("a byte-order mark", b"\xEF\xBB\xBF"),
        ("a NUL", b"\0"),
        ("what is no character but well formed", b"\xEF\xBF\xBF"),
    ];
    let bad: [(&str, &[u8]); 14] = [
        ("a lone continuation byte", b"\x80"),
        ("a byte that starts nothing", b"a\xFF"),
        ("a letter that breaks off", b"\xC3"),
        ("a letter that breaks off before another", b"\xC3a"),
        ("a sign of four bytes that breaks off", b"\xF0\x9F\x8E"),
        ("an overlong slash of two bytes", b"\xC0\xAF"),
        ("an overlong slash of three bytes", b"\xE0\x80\xAF"),
        ("an overlong slash of four bytes", b"\xF0\x80\x80\xAF"),
        ("an overlong NUL", b"\xC0\x80"),
        ("the largest overlong form of two bytes", b"\xC1\xBF"),
        ("a high surrogate", b"\xED\xA0\x80"),
        ("a pair of surrogates", b"\xED\xA0\xBD\xED\xB8\x80"),
        ("beyond the last character", b"\xF4\x90\x80\x80"),
        ("a sign of five bytes", b"\xF8\x88\x80\x80\x80"),
    ];
    let good = good.map(|(name, text)| (name, frame(WHOLE_TEXT, text), StaysOpen));
    let bad = bad.map(|(name, text)| (name, frame(WHOLE_TEXT, text), Closes(1007)));
    check(&good);
    check(&bad);
}

#[test]
fn text_is_utf8_across_its_frames() {
    check(&[
        (
            "a letter cut in two",
            [frame(TEXT, b"\xC3"), frame(LAST, b"\xA4")].concat(),
            StaysOpen,
        ),
        (
            "a sign of four bytes in four frames",
            [
                frame(TEXT, b"\xF0"),
                frame(CONTINUATION, b"\x9F"),
                frame(CONTINUATION, b"\x8E"),
                frame(LAST, b"\x88"),
            ]
            .concat(),
            StaysOpen,
        ),
        (
            "a letter whose second half never comes",
            [frame(TEXT, b"\xC3"), frame(LAST, b"")].concat(),
            Closes(1007),
        ),
        (
            "a letter that goes on wrongly in the next frame",
            [frame(TEXT, b"\xC3"), frame(LAST, b"a")].concat(),
            Closes(1007),
        ),
        (
            "an overlong form cut in two",
            [frame(TEXT, b"\xE0"), frame(LAST, b"\x80\xAF")].concat(),
            Closes(1007),
        ),
        (
            "a surrogate cut in two",
            [frame(TEXT, b"\xED"), frame(LAST, b"\xA0\x80")].concat(),
            Closes(1007),
        ),
        (
            "a fault in a message that has not ended",
            frame(TEXT, b"\xFF"),
            Closes(1007),
        ),
        (
            "a binary message that is no text",
            [frame(BINARY, b"\xC3"), frame(LAST, b"\xFF")].concat(),
            StaysOpen,
        ),
    ]);
}

#[test]
fn a_close_is_answered_with_its_own_status() {
    let mut rows: Vec<Row> = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ]
    .map(|status| ("a good status", close_frame(status, b""), Closes(status)))
    .to_vec();
    rows.push((
        "a close without a status",
        frame(FIN | CLOSE, b""),
        Closes(1000),
    ));
    rows.push((
        "a close with a reason",
        close_frame(1001, "gehe weg 🎈".as_bytes()),
        Closes(1001),
    ));
    rows.push((
        "a close with the longest reason",
        close_frame(4000, &[b'x'; 123]),
        Closes(4000),
    ));
    check(&rows);
}

#[test]
fn a_close_has_a_good_status() {
    let mut rows: Vec<Row> = [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ]
    .map(|status| ("a bad status", close_frame(status, b""), Closes(1002)))
    .to_vec();
    rows.push(("half a status", frame(FIN | CLOSE, b"\x03"), Closes(1002)));
    rows.push((
        "a reason that is no text",
        close_frame(1000, b"\xFF"),
        Closes(1007),
    ));
    rows.push((
        "a reason that breaks off",
        close_frame(1000, b"\xC3"),
        Closes(1007),
    ));
    check(&rows);
}

#[test]
fn what_comes_after_a_close_is_not_heard() {
    let after = |what: Vec<u8>| [close_frame(1000, b""), what].concat();
    check(&[
        (
            "a text after the close",
            after(frame(WHOLE_TEXT, b"one more thing")),
            Closes(1000),
        ),
        (
            "a ping after the close",
            after(frame(FIN | PING, b"?")),
            Closes(1000),
        ),
        (
            "a second close",
            after(close_frame(4000, b"really")),
            Closes(1000),
        ),
        (
            "nonsense after the close",
            after(vec![0xFF; 64]),
            Closes(1000),
        ),
        (
            "nonsense after a fault",
            [frame(0xC1, b""), vec![0xFF; 64]].concat(),
            Closes(1002),
        ),
    ]);
}

#[test]
fn reserved_bits_and_kinds_are_refused() {
    let mut rows: Vec<Row> = Vec::new();
    for bit in [0x40, 0x20, 0x10] {
        rows.push((
            "a reserved bit on a text",
            frame(WHOLE_TEXT | bit, b"x"),
            Closes(1002),
        ));
        rows.push((
            "a reserved bit on a ping",
            frame(FIN | PING | bit, b"x"),
            Closes(1002),
        ));
        rows.push((
            "a reserved bit on a continuation",
            [frame(TEXT, b"x"), frame(LAST | bit, b"x")].concat(),
            Closes(1002),
        ));
    }
    for kind in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        rows.push(("an unknown kind", frame(FIN | kind, b""), Closes(1002)));
    }
    check(&rows);
}

#[test]
fn a_client_masks_its_frames() {
    check(&[
        (
            "an unmasked text",
            vec![WHOLE_TEXT, 5, b'H', b'e', b'l', b'l', b'o'],
            Closes(1002),
        ),
        ("an unmasked ping", vec![FIN | PING, 0], Closes(1002)),
        (
            "an unmasked close",
            vec![FIN | CLOSE, 2, 0x03, 0xE8],
            Closes(1002),
        ),
        (
            "a mask of zeros",
            with_length(WHOLE_TEXT, 5, &[], b"Hello"),
            StaysOpen,
        ),
    ]);
}

#[test]
fn a_length_has_its_shortest_form() {
    check(&[
        (
            "126 bytes in two",
            with_length(WHOLE_TEXT, 126, &[0, 126], &[b'x'; 126]),
            StaysOpen,
        ),
        (
            "125 bytes in two",
            with_length(WHOLE_TEXT, 126, &[0, 125], &[b'x'; 125]),
            Closes(1002),
        ),
        (
            "no bytes in two",
            with_length(WHOLE_TEXT, 126, &[0, 0], b""),
            Closes(1002),
        ),
        (
            "126 bytes in eight",
            with_length(WHOLE_TEXT, 127, &126u64.to_be_bytes(), &[b'x'; 126]),
            Closes(1002),
        ),
        (
            "65535 bytes in eight",
            with_length(WHOLE_TEXT, 127, &65_535u64.to_be_bytes(), b""),
            Closes(1002),
        ),
        (
            "a length with its top bit set",
            with_length(WHOLE_TEXT, 127, &(1u64 << 63).to_be_bytes(), b""),
            Closes(1002),
        ),
    ]);
}

#[test]
fn a_message_has_a_bound() {
    let half = vec![b'x'; MESSAGE_BYTES_MAX / 2];
    check(&[
        (
            "a message at the bound",
            frame(WHOLE_TEXT, &vec![b'x'; MESSAGE_BYTES_MAX]),
            StaysOpen,
        ),
        (
            "a message at the bound in two frames",
            [frame(TEXT, &half), frame(LAST, &half)].concat(),
            StaysOpen,
        ),
        (
            "a message beyond the bound",
            frame(WHOLE_TEXT, &vec![b'x'; MESSAGE_BYTES_MAX + 1]),
            Closes(1009),
        ),
        (
            "frames that are beyond the bound together",
            [
                frame(TEXT, &half),
                frame(CONTINUATION, &half),
                frame(LAST, b"x"),
            ]
            .concat(),
            Closes(1009),
        ),
        (
            "the mere promise of four exbibytes",
            with_length(WHOLE_BINARY, 127, &(1u64 << 62).to_be_bytes(), b""),
            Closes(1009),
        ),
    ]);
}

#[test]
fn a_ping_is_answered_with_its_own_payload() {
    let server = Server::demo();
    let mut socket = server.gateway().connect();
    for payload in [&b""[..], b"Ping.", b"\0\xFF", &[b'x'; 125]] {
        socket.write(&frame(FIN | PING, payload));
        assert_eq!(socket.frame(), (PONG, payload.to_vec()));
    }
    // Within a message, the answer does not wait for its end.
    socket.write(&frame(TEXT, b"Hel"));
    socket.write(&frame(FIN | PING, b"now"));
    assert_eq!(socket.frame(), (PONG, b"now".to_vec()));
    socket.write(&frame(LAST, b"lo"));
    socket.close();
    server.stop();
}

#[test]
fn frames_right_behind_the_handshake_are_read() {
    let server = Server::demo();
    let gateway = server.gateway();
    let mut patient = Socket::open_saying(&fresh_uri(&gateway), &frame(FIN | PING, b"early"));
    assert_eq!(patient.frame(), (PONG, b"early".to_vec()));
    patient.close();
    let hasty = Socket::open_saying(&fresh_uri(&gateway), &close_frame(4000, b""));
    expect(hasty, "a close behind the handshake", Closes(4000));
    let faulty = Socket::open_saying(&fresh_uri(&gateway), &[0xFF; 16]);
    expect(faulty, "a fault behind the handshake", Closes(1002));
    server.stop();
}

#[test]
fn a_fault_of_one_socket_disturbs_no_other() {
    let server = Server::demo();
    let gateway = server.gateway();
    let mut good = gateway.connect();
    let mut bad = gateway.connect();
    bad.write(&frame(0xC1, b""));
    expect(bad, "a reserved bit", Closes(1002));
    let body = json!({"data": "all is well", "receivers": {"sockets": ["*"]}});
    gateway
        .send(&Request::post(gateway.path("messages")).json(&body))
        .must_be(201);
    assert_eq!(good.frame(), (TEXT, b"all is well".to_vec()));
    good.close();
    server.stop();
}

#[track_caller]
fn fresh_uri(gateway: &Gateway) -> String {
    let reply = gateway
        .send(&Request::get(gateway.path("websocket_uri")))
        .must_be(200);
    text(&reply, "/uri")
}
