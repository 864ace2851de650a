//! Chunked bodies: the reader neither panics nor grows, does not depend on how the bytes are cut, and writes what hyper
//! reads as the same body with the same end.
//!
//! It is also held to a second reader, which sees all bytes at once and follows RFC 9112 §7.1 line by line.

use bytes::BytesMut;
use pilvi_web::chunked::ChunkedReader;

use crate::{Random, hyper_side, pieces};

/// The promises about any client's bytes.
pub fn check(input: &[u8]) {
    let expected = read_by_the_book(input);
    for pieces in pieces::cuts(input) {
        let found = read(&pieces);
        assert_eq!(found, expected, "cut into {} pieces", pieces.len());
        assert!(found.output.len() <= input.len(), "a body does not grow");
    }
    if let End::Done(_) = expected.end {
        hyper_agrees(&expected);
    }
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    output: Vec<u8>,
    /// The bytes in the chunks, as far as the second reader tells them apart; the first one does not.
    body: Body,
    end: End,
}

/// Equal to everything: it takes no part in comparisons.
#[derive(Debug, Default)]
struct Body(Vec<u8>);

impl PartialEq for Body {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Debug, Default, PartialEq)]
enum End {
    #[default]
    Unfinished,
    Broken,
    /// The body is whole; this follows it.
    Done(Vec<u8>),
}

fn read(pieces: &[&[u8]]) -> Outcome {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut reader = ChunkedReader::new();
    let mut end = End::Unfinished;
    for piece in pieces {
        input.extend_from_slice(piece);
        if reader.advance(&mut input, &mut output).is_err() {
            end = End::Broken;
            break;
        }
    }
    if reader.is_done() {
        end = End::Done(input.to_vec());
    }
    Outcome {
        output: output.to_vec(),
        end,
        ..Outcome::default()
    }
}

fn read_by_the_book(mut input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.end = loop {
        match take_chunk(&mut input, &mut outcome) {
            Ok(true) => {}
            Ok(false) => break trailers(&mut input, &mut outcome),
            Err(end) => break end,
        }
    };
    outcome
}

/// Whether there was another chunk before the last, empty one.
fn take_chunk(input: &mut &[u8], outcome: &mut Outcome) -> Result<bool, End> {
    let line = line(input)?;
    let digits = match line.iter().position(|&byte| byte == b';') {
        Some(extension) => &line[..extension],
        None => line,
    };
    let digits = std::str::from_utf8(digits.trim_ascii_end()).map_err(|_| End::Broken)?;
    if digits.len() > 15 || digits.starts_with('+') {
        return Err(End::Broken);
    }
    let size = usize::from_str_radix(digits, 16).map_err(|_| End::Broken)?;
    if size == 0 {
        return Ok(false);
    }
    outcome.output.extend(format!("{size:x}\r\n").bytes());
    let (data, rest) = input.split_at(size.min(input.len()));
    outcome.output.extend(data);
    outcome.body.0.extend(data);
    match rest {
        [b'\r', b'\n', rest @ ..] if data.len() == size => *input = rest,
        [_, _, ..] => return Err(End::Broken),
        _ => return Err(End::Unfinished),
    }
    outcome.output.extend(b"\r\n");
    Ok(true)
}

fn trailers(input: &mut &[u8], outcome: &mut Outcome) -> End {
    let before = input.len();
    loop {
        match line(input) {
            Err(end) => return end,
            Ok([]) => break,
            Ok(line) if !line.contains(&b':') || before - input.len() > 8 << 10 => {
                return End::Broken;
            }
            Ok(_) => {}
        }
    }
    outcome.output.extend(b"0\r\n\r\n");
    End::Done(input.to_vec())
}

/// A line of at most 1,024 bytes, its CR counted: visible characters, blanks and tabs.
fn line<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], End> {
    let within = &input[..input.len().min(1025)];
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return Err(if input.len() > 1024 {
            End::Broken
        } else {
            End::Unfinished
        });
    };
    let (line, rest) = input.split_at(end + 1);
    *input = rest;
    let line = line.strip_suffix(b"\r\n").ok_or(End::Broken)?;
    let control = |&byte: &u8| (byte < b' ' && byte != b'\t') || byte == 0x7F;
    if line.iter().any(control) {
        return Err(End::Broken);
    }
    Ok(line)
}

fn hyper_agrees(outcome: &Outcome) {
    let stream = [
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        outcome.output.as_slice(),
        b"GET /next HTTP/1.1\r\n\r\n",
    ];
    let seen = hyper_side::read(stream.concat());
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, ["/", "/next"]);
    assert_eq!(seen[0].body.as_deref(), Some(outcome.body.0.as_slice()));
}

/// A body in chunks, mostly a right one, and perhaps a request behind it.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(5) {
        let size = if random.one_in(20) {
            random.below(5000)
        } else {
            1 + random.below(40)
        };
        let zeros = "0".repeat(random.below(3));
        let extension = extension(random);
        bytes.extend(format!("{zeros}{size:X}{extension}\r\n").bytes());
        bytes.resize(bytes.len() + size, *random.pick(b"x\r\n0;"));
        bytes.extend(*random.pick(&[b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"x\n"]));
    }
    bytes.extend(format!("0{}\r\n", extension(random)).bytes());
    for _ in 0..random.below(3) {
        bytes.extend(*random.pick(&[b"Expires: never\r\n".as_slice(), b"a:\r\n", b"no colon\r\n"]));
    }
    if random.one_in(20) {
        bytes.extend(b"Long: 0123456789\r\n".repeat(random.below(600)));
    }
    bytes.extend(b"\r\nGET / HTTP/1.1\r\n\r\n");
    if random.one_in(4) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

fn extension(random: &mut Random) -> String {
    let long = random.below(1100);
    match random.below(12) {
        0 => ";a=b".into(),
        1 => " ; a=\"b\" ".into(),
        2 => format!(";{}", "e".repeat(long)),
        3 => ";\u{e9}\t".into(),
        4 => " ".into(),
        _ => String::new(),
    }
}
