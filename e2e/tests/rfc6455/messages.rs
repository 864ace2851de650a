//! Section 1: whole messages of every form of length.

use pilvi_e2e::socket::{BINARY, FIN, TEXT};

use crate::bench::{Bench, Case, Heard, frame};

/// Around the borders between the three forms of a length.
const SIZES: [usize; 7] = [0, 125, 126, 127, 128, 65_535, 65_536];
/// Into which pieces the last message is cut.
const CHOP: usize = 997;

fn cases(section: u8, opcode: u8, byte: u8, back: fn(Vec<u8>) -> Heard) -> Vec<Case> {
    let whole = SIZES.into_iter().zip(1..).map(|(size, number)| {
        let payload = vec![byte; size];
        let name = format!("1.{section}.{number} a message of {size} bytes");
        Case::good(
            name,
            vec![frame(FIN | opcode, &payload)],
            vec![back(payload)],
        )
    });
    let payload = vec![byte; SIZES[6]];
    let chopped = frame(FIN | opcode, &payload);
    let chopped = chopped.chunks(CHOP).map(<[u8]>::to_vec).collect();
    let name = format!("1.{section}.8 the last one in pieces");
    let last = Case::good(name, chopped, vec![back(payload)]);
    whole.chain([last]).collect()
}

#[test]
fn messages_come_back_whatever_their_length() {
    let bench = Bench::start(false);
    bench.check(&cases(1, TEXT, b'*', Heard::Text));
    bench.check(&cases(2, BINARY, 0xFE, Heard::Binary));
    bench.stop();
}
