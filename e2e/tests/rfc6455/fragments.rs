//! Section 5: messages in several frames, and what may come between them.

use pilvi_e2e::socket::{BINARY, FIN, PING, PONG, TEXT};

use crate::bench::Then;
use crate::bench::{
    Bench, CONTINUATION, Case, Heard, Over, cut, expect, frame, ping, pong_back, said, text_back,
};

const PARTS: [&[u8]; 2] = [b"fragment1", b"fragment2"];
const WHOLE: &[u8] = b"fragment1fragment2";

fn in_one_piece(case: Case) -> [Case; 2] {
    let joined = Case {
        name: format!("{}, in one piece", case.name),
        pieces: vec![case.pieces.concat()],
        hears: case.hears.clone(),
        then: case.then,
    };
    [case, joined]
}

fn whole() -> Vec<Case> {
    let frames = cut(TEXT, &PARTS);
    let between = |control: Vec<u8>| vec![frames[0].clone(), control, frames[1].clone()];
    let five = cut(
        TEXT,
        &[
            b"fragment1",
            b"fragment2",
            b"fragment3",
            b"fragment4",
            b"fragment5",
        ],
    );
    let pinged = vec![
        five[0].clone(),
        five[1].clone(),
        ping(b"pongme 1!"),
        five[2].clone(),
        five[3].clone(),
        ping(b"pongme 2!"),
        five[4].clone(),
    ];
    let whole_of_five = b"fragment1fragment2fragment3fragment4fragment5";
    vec![
        Case::good(
            "5.3 a text in two frames",
            frames.clone(),
            vec![text_back(WHOLE)],
        ),
        Case::good(
            "5.6 a ping between",
            between(ping(b"ping payload")),
            vec![pong_back(b"ping payload"), text_back(WHOLE)],
        ),
        Case::good(
            "a pong between",
            between(frame(FIN | PONG, b"unasked")),
            vec![text_back(WHOLE)],
        ),
        Case::good(
            "5.19 five frames and two pings",
            pinged,
            vec![
                pong_back(b"pongme 1!"),
                pong_back(b"pongme 2!"),
                text_back(whole_of_five),
            ],
        ),
        Case::good(
            "a binary message of which most frames are empty",
            cut(BINARY, &[b"", &[0, 255], b"", &[254], b""]),
            vec![Heard::Binary(vec![0, 255, 254])],
        ),
    ]
}

fn broken() -> Vec<Case> {
    let hello = b"Hello, world!";
    let stray = |fin: u8| frame(fin | CONTINUATION, b"non-continuation payload");
    let frames = cut(TEXT, &PARTS);
    vec![
        Case::bad(
            "5.1 half a ping",
            vec![frame(PING, b"frag"), frame(FIN, b"ment")],
            vec![],
            1002,
        ),
        Case::bad(
            "5.2 half a pong",
            vec![frame(PONG, b"frag"), frame(FIN, b"ment")],
            vec![],
            1002,
        ),
        Case::bad(
            "5.9 a last frame of nothing",
            vec![stray(FIN), said(hello)],
            vec![],
            1002,
        ),
        Case::bad(
            "5.12 a frame of nothing",
            vec![stray(0), said(hello)],
            vec![],
            1002,
        ),
        Case::bad(
            "5.15 a frame behind the last one",
            vec![frames[0].clone(), frames[1].clone(), stray(0), said(hello)],
            vec![text_back(WHOLE)],
            1002,
        ),
        Case::bad(
            "5.16 a text between two frames of nothing",
            vec![stray(0), frame(TEXT, hello), stray(FIN)],
            vec![],
            1002,
        ),
        Case::bad(
            "5.17 the same with last frames",
            vec![stray(FIN), frame(TEXT, hello), stray(FIN)],
            vec![],
            1002,
        ),
        Case::bad(
            "5.18 two beginnings",
            vec![frame(TEXT, PARTS[0]), frame(FIN | TEXT, PARTS[1])],
            vec![],
            1002,
        ),
    ]
}

#[test]
fn messages_may_be_cut_and_control_frames_come_between() {
    let bench = Bench::start(false);
    let cases: Vec<_> = whole()
        .into_iter()
        .chain(broken())
        .flat_map(in_one_piece)
        .collect();
    bench.check(&cases);
    bench.stop();
}

/// 5.19 again, where the sender waits for the pong: the answer to a ping does not wait for the end of the message.
#[test]
fn a_ping_is_answered_before_the_message_around_it_has_ended() {
    let bench = Bench::start(false);
    let frames = cut(TEXT, &PARTS);
    for over in bench.ways() {
        let mut socket = bench.connect(over);
        for number in 0..2 {
            socket.write(&frames[0]);
            let payload = format!("{number}");
            socket.write(&ping(payload.as_bytes()));
            assert_eq!(
                socket.frame(),
                (PONG, payload.into_bytes()),
                "over {over:?}"
            );
            socket.write(&frames[1]);
            assert_eq!(socket.frame(), (TEXT, WHOLE.to_vec()), "over {over:?}");
        }
        expect(socket, "the end", &[], Then::StaysOpen);
    }
    bench.stop();
}

/// Messages that are said at once come back in order, however many wait for the app.
#[test]
fn many_messages_at_once_come_back_in_order() {
    let bench = Bench::start(false);
    let texts: Vec<_> = (0..200).map(|number| format!("message {number}")).collect();
    let all: Vec<u8> = texts
        .iter()
        .flat_map(|text| said(text.as_bytes()))
        .collect();
    let hears = texts
        .iter()
        .map(|text| text_back(text.as_bytes()))
        .collect();
    let case = Case::good("two hundred at once", vec![all], hears);
    bench.check(&[case]);
    let mut socket = bench.connect(Over::Tcp);
    for text in &texts[..20] {
        socket.write(&said(text.as_bytes()));
        assert_eq!(socket.frame(), (TEXT, text.clone().into_bytes()));
    }
    expect(socket, "the end", &[], Then::StaysOpen);
    bench.stop();
}
