//! Section 6: text is UTF-8, and what is not is refused at the first byte that cannot be.

use pilvi_e2e::socket::TEXT;

use crate::bench::{Bench, Case, cut, said, text_back};

/// Greek, with letters of two and three bytes.
const KOSME: &[u8] = "κόσμε".as_bytes();
/// What no text may hold, and what comes behind it.
const SURROGATE: &[u8] = b"\xED\xA0\x80edited";
const BEYOND: &[u8] = b"\xF4\x90\x80\x80";

fn single(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}

fn good(name: &str, bytes: &[u8]) -> Case {
    Case::good(name, vec![said(bytes)], vec![text_back(bytes)])
}

fn bad(name: &str, bytes: &[u8]) -> Case {
    let name = format!("{name}: {}", bytes.escape_ascii());
    Case::bad(name, vec![said(bytes)], vec![], 1007)
}

#[test]
fn text_may_be_cut_anywhere() {
    let mixed = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let (front, back) = mixed.split_at(mixed.len() / 2);
    let cuts: [(&str, Vec<&[u8]>); 8] = [
        ("6.1.1 nothing", vec![b""]),
        ("6.1.2 nothing in three frames", vec![b"", b"", b""]),
        (
            "6.1.3 something in the middle one",
            vec![b"", b"middle frame payload", b""],
        ),
        ("6.2.1 one frame", vec![mixed]),
        ("6.2.2 two frames", vec![front, back]),
        ("6.2.3 a frame for each byte", single(mixed)),
        ("6.2.4 a frame for each byte of Greek", single(KOSME)),
        ("a balloon in four frames", single("🎈".as_bytes())),
    ];
    let cases = cuts
        .map(|(name, parts)| Case::good(name, cut(TEXT, &parts), vec![text_back(&parts.concat())]));
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}

#[test]
fn what_is_no_text_is_refused_at_once() {
    let wrong = [KOSME, SURROGATE].concat();
    // The first byte that cannot be is the last that is sent, so the refusal does not wait for more.
    let before_the_end = |parts: &[&[u8]]| {
        let mut pieces = cut(TEXT, parts);
        pieces.pop();
        pieces
    };
    let within_a_frame = |bytes: &[u8]| {
        let whole = said(&[bytes, &[b'x'; 40]].concat());
        vec![whole[..whole.len() - 40].to_vec()]
    };
    let cases = [
        Case::bad("6.3.1 in one frame", vec![said(&wrong)], vec![], 1007),
        Case::bad(
            "6.3.2 a frame for each byte",
            cut(TEXT, &single(&wrong)),
            vec![],
            1007,
        ),
        Case::bad(
            "6.4.1 the message has not ended",
            before_the_end(&[KOSME, BEYOND, b"edited"]),
            vec![],
            1007,
        ),
        Case::bad(
            "6.4.2 a sign in two frames",
            before_the_end(&[&[KOSME, &BEYOND[..1]].concat(), &BEYOND[1..2], b"edited"]),
            vec![],
            1007,
        ),
        Case::bad(
            "6.4.3 the frame has not ended",
            within_a_frame(&[KOSME, BEYOND].concat()),
            vec![],
            1007,
        ),
        Case::bad(
            "6.4.4 nor has the sign",
            within_a_frame(&[KOSME, &BEYOND[..2]].concat()),
            vec![],
            1007,
        ),
    ];
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}

#[test]
fn well_formed_text_comes_back() {
    let mut cases = vec![good("6.5 Greek", KOSME)];
    for length in 1..=KOSME.len() {
        let prefix = &KOSME[..length];
        let name = format!("6.6.{length} so many bytes of it");
        cases.push(match std::str::from_utf8(prefix) {
            Ok(_) => good(&name, prefix),
            Err(_) => bad(&name, prefix),
        });
    }
    let firsts = ["\0", "\u{80}", "\u{800}", "\u{10000}"];
    let lasts = ["\u{7F}", "\u{7FF}", "\u{FFFF}", "\u{10FFFF}"];
    let borders = ["\u{D7FF}", "\u{E000}", "\u{FFFD}", "\u{10FFFF}"];
    for (name, texts) in [
        ("6.7 the first of its length", firsts),
        ("6.9 the last of its length", lasts),
        ("6.11 at a border", borders),
    ] {
        cases.extend(texts.map(|text| good(name, text.as_bytes())));
    }
    for plane in 0..=16_u32 {
        for last in [0xFFFE, 0xFFFF] {
            let sign = char::from_u32(plane << 16 | last).expect("no surrogate");
            cases.push(good("6.22 not a character", sign.to_string().as_bytes()));
        }
    }
    for sign in '\u{FFF9}'..='\u{FFFF}' {
        cases.push(good("6.23 a special one", sign.to_string().as_bytes()));
    }
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}

/// Byte sequences that are no UTF-8, by what is wrong with them.
const MALFORMED: [(&str, &[&[u8]]); 11] = [
    (
        "6.8 the first of five and six bytes",
        &[b"\xF8\x88\x80\x80\x80", b"\xFC\x84\x80\x80\x80\x80"],
    ),
    (
        "6.10 the last of lengths too long",
        &[
            b"\xF7\xBF\xBF\xBF",
            b"\xFB\xBF\xBF\xBF\xBF",
            b"\xFD\xBF\xBF\xBF\xBF\xBF",
        ],
    ),
    ("6.11 beyond the last character", &[BEYOND]),
    (
        "6.12 nothing to go on with",
        &[
            b"\x80",
            b"\xBF",
            b"\x80\xBF",
            b"\x80\xBF\x80",
            b"\x80\xBF\x80\xBF",
            b"\x80\xBF\x80\xBF\x80",
            b"\x80\xBF\x80\xBF\x80\xBF",
        ],
    ),
    (
        "6.14 the last byte is missing",
        &[
            b"\xC0",
            b"\xE0\x80",
            b"\xF0\x80\x80",
            b"\xF8\x80\x80\x80",
            b"\xFC\x80\x80\x80\x80",
            b"\xDF",
            b"\xEF\xBF",
            b"\xF7\xBF\xBF",
            b"\xFB\xBF\xBF\xBF",
            b"\xFD\xBF\xBF\xBF\xBF",
        ],
    ),
    (
        "6.16 bytes that never occur",
        &[b"\xFE", b"\xFF", b"\xFE\xFE\xFF\xFF"],
    ),
    (
        "6.17 a slash in too many bytes",
        &[
            b"\xC0\xAF",
            b"\xE0\x80\xAF",
            b"\xF0\x80\x80\xAF",
            b"\xF8\x80\x80\x80\xAF",
            b"\xFC\x80\x80\x80\x80\xAF",
        ],
    ),
    (
        "6.18 the largest in too many bytes",
        &[
            b"\xC1\xBF",
            b"\xE0\x9F\xBF",
            b"\xF0\x8F\xBF\xBF",
            b"\xF8\x87\xBF\xBF\xBF",
            b"\xFC\x83\xBF\xBF\xBF\xBF",
        ],
    ),
    (
        "6.19 NUL in too many bytes",
        &[
            b"\xC0\x80",
            b"\xE0\x80\x80",
            b"\xF0\x80\x80\x80",
            b"\xF8\x80\x80\x80\x80",
            b"\xFC\x80\x80\x80\x80\x80",
        ],
    ),
    (
        "6.20 one surrogate",
        &[
            b"\xED\xA0\x80",
            b"\xED\xAD\xBF",
            b"\xED\xAE\x80",
            b"\xED\xAF\xBF",
            b"\xED\xB0\x80",
            b"\xED\xBE\x80",
            b"\xED\xBF\xBF",
        ],
    ),
    (
        "6.21 two surrogates",
        &[
            b"\xED\xA0\x80\xED\xB0\x80",
            b"\xED\xA0\x80\xED\xBF\xBF",
            b"\xED\xAD\xBF\xED\xB0\x80",
            b"\xED\xAD\xBF\xED\xBF\xBF",
            b"\xED\xAE\x80\xED\xB0\x80",
            b"\xED\xAE\x80\xED\xBF\xBF",
            b"\xED\xAF\xBF\xED\xB0\x80",
            b"\xED\xAF\xBF\xED\xBF\xBF",
        ],
    ),
];

#[test]
fn malformed_text_is_refused() {
    let mut cases = Vec::new();
    for (name, sequences) in MALFORMED {
        cases.extend(sequences.iter().map(|bytes| bad(name, bytes)));
    }
    let every_continuation: Vec<u8> = (0x80..0xBF).collect();
    cases.push(bad("6.12.8 all of them", &every_continuation));
    for (starts, number) in [
        0xC0..=0xDF,
        0xE0..=0xEF,
        0xF0..=0xF7,
        0xF8..=0xFB,
        0xFC..=0xFD_u8,
    ]
    .into_iter()
    .zip(1..)
    {
        let lonely: Vec<u8> = starts.flat_map(|start| [start, b' ']).collect();
        cases.push(bad(&format!("6.13.{number} beginnings alone"), &lonely));
    }
    let (_, cut_off) = MALFORMED[4];
    cases.push(bad(
        "6.15 all that break off, one after the other",
        &cut_off.concat(),
    ));
    let bench = Bench::start(false);
    bench.check(&cases);
    bench.stop();
}
