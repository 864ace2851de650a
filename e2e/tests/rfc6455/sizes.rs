//! Section 9: large messages, as large as a gateway takes them, in frames and pieces of every size.

use std::time::Instant;

use pilvi_e2e::socket::{BINARY, FIN, TEXT};

use crate::bench::{Bench, Case, Heard, Over, Then, cut, expect, frame, said};

/// What a client may send in one message to an app.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

type Back = fn(Vec<u8>) -> Heard;
const KINDS: [(u8, Back); 2] = [(TEXT, Heard::Text), (BINARY, Heard::Binary)];

/// Bytes that show when one is lost or out of place. In a text they are letters.
fn payload(opcode: u8, length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|place| {
        let mixed = place.wrapping_mul(0x9E37_79B1) >> 11;
        u8::try_from(mixed % 251).expect("less than 251")
    });
    match opcode {
        TEXT => bytes.map(|byte| b'a' + byte % 26).collect(),
        _ => bytes.collect(),
    }
}

#[test]
fn large_messages_come_back() {
    let bench = Bench::start(false);
    for (opcode, back) in KINDS {
        let sizes = [64 << 10, 256 << 10, MESSAGE_BYTES_MAX];
        let case = |size: usize| {
            let sent = payload(opcode, size);
            let name = format!("9.{opcode}.1 a message of {size} bytes");
            Case::good(name, vec![frame(FIN | opcode, &sent)], vec![back(sent)])
        };
        bench.check(&sizes.map(case));
    }
    bench.stop();
}

#[test]
fn large_messages_in_small_frames_come_back() {
    let bench = Bench::start(false);
    for (opcode, back) in KINDS {
        let cases = [64, 256, 1024, 4096, 16 << 10, 64 << 10, 256 << 10].map(|size| {
            let sent = payload(opcode, MESSAGE_BYTES_MAX / 2);
            let parts: Vec<&[u8]> = sent.chunks(size).collect();
            let pieces = vec![cut(opcode, &parts).concat()];
            let name = format!("9.{}.1 frames of {size} bytes", opcode + 2);
            Case::good(name, pieces, vec![back(sent)])
        });
        bench.check(&cases);
    }
    bench.stop();
}

#[test]
fn large_messages_in_small_pieces_come_back() {
    let bench = Bench::start(false);
    for (opcode, back) in KINDS {
        let cases = [64, 128, 256, 512, 1024, 2048].map(|size| {
            let sent = payload(opcode, MESSAGE_BYTES_MAX / 2);
            let whole = frame(FIN | opcode, &sent);
            let pieces = whole.chunks(size).map(<[u8]>::to_vec).collect();
            let name = format!("9.{}.1 pieces of {size} bytes", opcode + 4);
            Case::good(name, pieces, vec![back(sent)])
        });
        bench.check(&cases);
    }
    bench.stop();
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_is_there() {
    let bench = Bench::start(false);
    let most = payload(TEXT, MESSAGE_BYTES_MAX);
    let promise = |length: usize| {
        let mut head = vec![FIN | BINARY, 0xFF];
        head.extend((length as u64).to_be_bytes());
        head.extend([0; 4]);
        head
    };
    let cases = [
        Case::bad(
            "one byte too many",
            vec![said(&payload(TEXT, most.len() + 1))],
            vec![],
            1009,
        ),
        Case::bad("in frames", cut(TEXT, &[&most, b"x"]), vec![], 1009),
        Case::bad(
            "16 MiB are announced",
            vec![promise(16 << 20)],
            vec![],
            1009,
        ),
        Case::bad("4 EiB are announced", vec![promise(1 << 62)], vec![], 1009),
    ];
    bench.check(&cases);
    bench.stop();
}

/// 9.7 and 9.8: one message after the other, each sent when the last came back.
#[test]
fn a_conversation_goes_on() {
    let rounds = 50;
    let bench = Bench::start(false);
    for (opcode, _) in KINDS {
        for size in [0, 16, 64, 256, 1024, 4096] {
            let mut socket = bench.connect(Over::Tcp);
            let began = Instant::now();
            let sent = payload(opcode, size);
            for _ in 0..rounds {
                socket.write(&frame(FIN | opcode, &sent));
                assert_eq!(socket.frame(), (opcode, sent.clone()));
            }
            // A test that hangs on each message for the length of some timer is not going on.
            let mean = began.elapsed() / rounds;
            assert!(mean.as_millis() < 500, "{mean:?} for {size} bytes");
            expect(socket, "the end", &[], Then::StaysOpen);
        }
    }
    bench.stop();
}
