//! Section 2: pings and pongs.

use pilvi_e2e::socket::{FIN, PONG};

use crate::bench::{Bench, Case, frame, ping, pong_back};

#[test]
fn every_ping_is_answered_and_no_pong_is() {
    let ten: Vec<_> = (0..10).map(|number| format!("payload-{number}")).collect();
    let pings: Vec<_> = ten.iter().map(|payload| ping(payload.as_bytes())).collect();
    let pongs = || ten.iter().map(|payload| pong_back(payload.as_bytes()));
    let long = [0xFE; 125];
    let cases = [
        Case::good("2.1 nothing in it", vec![ping(b"")], vec![pong_back(b"")]),
        Case::good(
            "2.2 a text in it",
            vec![ping(b"Hello, world!")],
            vec![pong_back(b"Hello, world!")],
        ),
        Case::good(
            "2.3 no text in it",
            vec![ping(b"\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF")],
            vec![pong_back(b"\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF")],
        ),
        Case::good(
            "2.4 as long as may be",
            vec![ping(&long)],
            vec![pong_back(&long)],
        ),
        Case::bad(
            "2.5 one byte longer",
            vec![ping(&[0xFE; 126])],
            vec![],
            1002,
        ),
        // 2.6 is 2.4 byte by byte.
        Case::good("2.7 an empty pong", vec![frame(FIN | PONG, b"")], vec![]),
        Case::good("2.8 a pong", vec![frame(FIN | PONG, b"unasked")], vec![]),
        Case::good(
            "2.9 a pong, then a ping",
            vec![frame(FIN | PONG, b"unasked"), ping(b"asked")],
            vec![pong_back(b"asked")],
        ),
        Case::good("2.10 ten pings", pings.clone(), pongs().collect()),
        Case::good(
            "2.11 ten pings in one piece",
            vec![pings.concat()],
            pongs().collect(),
        ),
    ];
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}
