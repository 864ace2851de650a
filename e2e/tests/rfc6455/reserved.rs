//! Section 3: reserved bits, where no extension was agreed upon.

use pilvi_e2e::socket::{BINARY, CLOSE, FIN, PING, TEXT};

use crate::bench::{Bench, Case, frame, ping, said, text_back};

#[test]
fn reserved_bits_end_the_connection() {
    let rsv = |bits: u8| bits << 4;
    let hello = b"Hello, world!";
    let mut cases = vec![
        Case::bad(
            "3.1 a text",
            vec![frame(FIN | rsv(1) | TEXT, hello)],
            vec![],
            1002,
        ),
        // 3.3 and 3.4 are this one in other pieces.
        Case::bad(
            "3.2 a text behind a good one",
            vec![said(hello), frame(FIN | rsv(2) | TEXT, hello), ping(b"")],
            vec![text_back(hello)],
            1002,
        ),
        Case::bad(
            "3.3 the same in one piece",
            vec![[said(hello), frame(FIN | rsv(3) | TEXT, hello), ping(b"")].concat()],
            vec![text_back(hello)],
            1002,
        ),
        Case::bad(
            "3.5 a binary message",
            vec![frame(FIN | rsv(5) | BINARY, &[0, 1, 2, 254, 255])],
            vec![],
            1002,
        ),
    ];
    for bits in 1..8 {
        let control = [("3.6 a ping", PING), ("3.7 a close", CLOSE)];
        cases.extend(control.map(|(name, opcode)| {
            let name = format!("{name} with the bits {bits:03b}");
            Case::bad(
                name,
                vec![frame(FIN | rsv(bits) | opcode, b"\x03\xE8")],
                vec![],
                1002,
            )
        }));
    }
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}
