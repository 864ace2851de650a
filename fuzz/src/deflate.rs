//! Compressed messages: whatever bytes come in, reading them neither panics nor grows beyond the bound, and what they
//! say is what another library reads; and whatever is said comes back from its compressed form, in any window.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use pilvi_mws::fuzzed::{compress, open};

use crate::{Random, memory};

/// Small, so that inputs reach it.
const SAID_MAX: usize = 4096;

/// The state of a reader with its window, beside what it reads and writes.
const HELD_MAX: usize = 128 << 10;

/// The end of a compressed message, which is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// What peers with the smallest window that is granted can refer back to.
const NARROW: usize = 512;

/// How many blocks may call themselves the last one; a reader gives up on more.
const ENDS_MAX: usize = 200;

/// The promises about any client's bytes, and about anything that is said.
pub fn check(input: &[u8]) {
    for text in [false, true] {
        let mut said = None;
        let peak = memory::peak_of(|| said = Some(open(text, input, SAID_MAX)));
        assert!(
            peak <= HELD_MAX + 4 * SAID_MAX + 2 * input.len(),
            "a message held {peak} bytes"
        );
        match (said.expect("it was opened"), second_reader(input)) {
            (Ok(said), Read::All(expected)) => assert_eq!(said, expected),
            (Ok(said), other) => panic!("{} bytes were read where there are {other:?}", said.len()),
            (Err(violation), Read::All(expected)) => {
                let no_text = text && std::str::from_utf8(&expected).is_err();
                assert!(no_text && violation.code == 1007, "{violation:?}");
            }
            (Err(violation), Read::TooMuch) => {
                // A fault may come before the byte that is too much, and the other way round.
                assert!(matches!(violation.code, 1007 | 1009), "{violation:?}");
            }
            (Err(violation), Read::Broken) => {
                assert!(matches!(violation.code, 1007 | 1009), "{violation:?}");
            }
            (Err(_), Read::ManyEnds) => {}
        }
    }
    comes_back(input);
}

fn comes_back(said: &[u8]) {
    for narrow in [false, true] {
        let Some(compressed) = compress(said, narrow) else {
            continue;
        };
        assert!(compressed.len() < said.len(), "it is larger than before");
        let opened = open(false, &compressed, said.len());
        assert_eq!(opened.as_deref(), Ok(said));
        assert_eq!(
            second_reader_up_to(&compressed, said.len()),
            Read::All(said.to_vec())
        );
        if narrow {
            assert_eq!(within_a_window(&compressed, said.len()), said);
        }
    }
}

/// What the other library makes of a message.
#[derive(Debug, PartialEq)]
enum Read {
    All(Vec<u8>),
    TooMuch,
    Broken,
    ManyEnds,
}

fn second_reader(compressed: &[u8]) -> Read {
    second_reader_up_to(compressed, SAID_MAX)
}

fn second_reader_up_to(compressed: &[u8], said_max: usize) -> Read {
    // Behind the tail, an empty block that is the last one shows that another can begin there.
    let input = [compressed, &TAIL, &[1, 0, 0, 0xFF, 0xFF]].concat();
    let mut rest = &input[..];
    let mut said = Vec::new();
    for _ in 0..ENDS_MAX {
        let mut reader = DecompressorOxide::new();
        let mut output = vec![0; said_max - said.len() + 1];
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, consumed, written) = decompress(&mut reader, rest, &mut output, 0, flags);
        said.extend_from_slice(&output[..written]);
        rest = &rest[consumed..];
        match status {
            TINFLStatus::Done if said.len() > said_max => return Read::TooMuch,
            TINFLStatus::Done if rest.is_empty() => return Read::All(said),
            // A block that calls itself the last one need not be (RFC 7692 §7.2.3.4).
            TINFLStatus::Done => {}
            TINFLStatus::HasMoreOutput => return Read::TooMuch,
            _ => return Read::Broken,
        }
    }
    Read::ManyEnds
}

/// Reads with nothing but the last bytes at hand: what refers back farther finds other bytes there.
fn within_a_window(compressed: &[u8], length: usize) -> Vec<u8> {
    let input = [compressed, &TAIL].concat();
    let mut reader = DecompressorOxide::new();
    let mut window = [0; NARROW];
    let (mut said, mut read, mut at) = (Vec::new(), 0, 0);
    while said.len() < length {
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
        let (status, consumed, written) =
            decompress(&mut reader, &input[read..], &mut window, at, flags);
        said.extend_from_slice(&window[at..at + written]);
        read += consumed;
        at = (at + written) % NARROW;
        let goes_on = matches!(
            status,
            TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput
        );
        assert!(
            goes_on && consumed + written > 0,
            "{status:?} after {read} bytes"
        );
    }
    said
}

const WORDS: [&[u8]; 8] = [
    b"Hello",
    b"the quick brown fox ",
    "w\u{e4}hrend ".as_bytes(),
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
    b"{\"id\":1,\"tags\":[\"a\"]}",
    b"\xC3",
    b"0123456789abcdef",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Something said, compressed by the other library as senders do, or a little wrong; or just what was said.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut said = Vec::new();
    for _ in 0..random.below(60) {
        let word = *random.pick::<&[u8]>(&WORDS);
        for _ in 0..1 + random.below(8) {
            said.extend_from_slice(word);
        }
    }
    if random.one_in(4) {
        return said;
    }
    let level = *random.pick(&[0, 1, 6, 9]);
    // The last block says that it is the last one. An empty one after it makes it a message all the same.
    let mut compressed = miniz_oxide::deflate::compress_to_vec(&said, level);
    compressed.push(0);
    if random.one_in(3) {
        // Twice, as if in two blocks.
        compressed.pop();
        compressed.extend(compressed.clone());
        compressed.push(0);
    }
    if random.one_in(4) {
        let place = random.below(compressed.len());
        compressed[place] ^= 1 << random.below(8);
    }
    if random.one_in(6) {
        compressed.truncate(random.below(compressed.len()));
    }
    compressed
}
