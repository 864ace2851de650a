//! Section 4: kinds of frames that nobody has defined.

use pilvi_e2e::socket::FIN;

use crate::bench::{Bench, Case, frame, ping, said, text_back};

fn cases(section: u8, opcodes: std::ops::RangeInclusive<u8>) -> Vec<Case> {
    let hello = b"Hello, world!";
    let each = |(opcode, number): (u8, u8)| {
        let name = format!("4.{section}.{number} kind {opcode:#x}");
        let unknown = |payload| frame(FIN | opcode, payload);
        let behind = vec![said(hello), unknown(hello), ping(b"")];
        [
            Case::bad(name.clone(), vec![unknown(b"")], vec![], 1002),
            Case::bad(
                format!("{name} with a payload"),
                vec![unknown(hello)],
                vec![],
                1002,
            ),
            Case::bad(
                format!("{name} behind a text"),
                behind,
                vec![text_back(hello)],
                1002,
            ),
        ]
    };
    opcodes.zip(1..).flat_map(each).collect()
}

#[test]
fn unknown_kinds_of_frames_end_the_connection() {
    let bench = Bench::start(false);
    bench.check(&cases(1, 3..=7));
    bench.check(&cases(2, 11..=15));
    bench.stop();
}
