//! Section 7: how a connection ends.

use pilvi_e2e::socket::{CLOSE, FIN, TEXT};

use crate::bench::{Bench, Case, Over, close_frame, cut, frame, ping, said, text_back};

const HELLO: &[u8] = b"Hello, world!";

/// What a client does in the moment of the end.
fn orders() -> Vec<Case> {
    let parts = cut(TEXT, &[b"fragment1", b"fragment2"]);
    let normal = || close_frame(1000, b"");
    let big = "BAsd7&jh23".repeat(26 << 10);
    let big = &big.as_bytes()[..256 << 10];
    vec![
        Case::bad(
            "7.1.1 a message, then a close",
            vec![said(HELLO), normal()],
            vec![text_back(HELLO)],
            1000,
        ),
        Case::bad(
            "7.1.2 two closes",
            vec![normal(), close_frame(4000, b"")],
            vec![],
            1000,
        ),
        Case::bad(
            "7.1.3 a ping after a close",
            vec![normal(), ping(b"")],
            vec![],
            1000,
        ),
        Case::bad(
            "7.1.4 a text after a close",
            vec![normal(), said(HELLO)],
            vec![],
            1000,
        ),
        Case::bad(
            "7.1.5 a close within a message",
            vec![parts[0].clone(), normal(), parts[1].clone()],
            vec![],
            1000,
        ),
        Case::bad(
            "7.1.6 a long message, a close, a ping",
            vec![said(big), normal(), ping(b"")],
            vec![text_back(big)],
            1000,
        ),
    ]
}

/// What stands in the close frame.
fn payloads() -> Vec<Case> {
    let bad = |name: &str, payload: &[u8], code| {
        Case::bad(name, vec![frame(FIN | CLOSE, payload)], vec![], code)
    };
    let with_reason = |length: usize| close_frame(1000, &vec![b'*'; length]);
    let mut not_text = "Hello-µ@ßöäüàá".as_bytes().to_vec();
    not_text.extend(b"\xCE\xBA\xE1\xBD\xB9\xED\xA0\x80edited");
    vec![
        bad("7.3.1 nothing", b"", 1000),
        bad("7.3.2 half a status", b"a", 1002),
        bad("7.3.3 a status", b"\x03\xE8", 1000),
        bad(
            "7.3.4 a status and a reason",
            b"\x03\xE8Hello, world!",
            1000,
        ),
        Case::bad(
            "7.3.5 the longest reason",
            vec![with_reason(123)],
            vec![],
            1000,
        ),
        Case::bad("7.3.6 a longer one", vec![with_reason(124)], vec![], 1002),
        Case::bad(
            "7.5.1 a reason that is no text",
            vec![close_frame(1000, &not_text)],
            vec![],
            1007,
        ),
    ]
}

fn statuses() -> Vec<Case> {
    // 1012 to 1014 were given out after the suite was written.
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    let bad = [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ];
    let good = good.map(|status| (format!("7.7 the status {status}"), status, status));
    let bad = bad.map(|status| (format!("7.9 the status {status}"), status, 1002));
    let case =
        |(name, status, answer)| Case::bad(name, vec![close_frame(status, b"")], vec![], answer);
    good.into_iter().chain(bad).map(case).collect()
}

#[test]
fn a_close_is_answered_once_and_ends_everything() {
    let bench = Bench::start(false);
    bench.check(&orders());
    bench.check(&payloads());
    bench.check(&statuses());
    bench.stop();
}

/// The app hears how a socket ended, from whichever side.
#[test]
fn the_app_is_told_how_it_ended() {
    let bench = Bench::start(false);
    for (input, code, clean) in [
        (close_frame(4321, b"enough"), 4321, true),
        (frame(FIN | CLOSE, b""), 1000, true),
        (frame(FIN | 0x40 | TEXT, b""), 1002, false),
    ] {
        let (id, mut socket) = bench.connect_named(Over::Tcp);
        socket.write(&input);
        let told = bench.disconnect(&id);
        assert_eq!(told["code"], code, "{told}");
        assert_eq!(told["clean"], clean, "{told}");
        drop(socket);
    }
    let (id, socket) = bench.connect_named(Over::Tcp);
    drop(socket);
    let told = bench.disconnect(&id);
    assert_eq!(
        (&told["code"], &told["clean"]),
        (&1006.into(), &false.into())
    );
    bench.stop();
}
