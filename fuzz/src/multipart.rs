//! Multipart bodies: reading one neither panics nor grows with what it reads, does not depend on how the bytes are cut,
//! and finds the parts that a second reader finds, which sees all bytes at once.
//!
//! The first line of an input is the `Content-Type` of its request, and the body stands behind it.

use bytes::Bytes;
use pilvi_eds::files::multipart::{Event, Fault, Head, Multipart};

use crate::{Random, memory, pieces};

/// What a reader may hold at once of small pieces: a head in the making, and what was read of one.
const HELD_BYTES_MAX: usize = 256 << 10;
/// The longest words of a refusal.
const REFUSAL_BYTES_MAX: usize = 200;
/// Within these bounds of the reader there is nothing but the format.
const SMALL_BYTES_MAX: usize = 4 << 10;
const PADDING_BYTES_MAX: usize = 256;
const PARTS_MAX: usize = 32;

/// The promises about any body.
pub fn check(input: &[u8]) {
    let (content_type, body) = split(input);
    if let Err(fault) = Multipart::new(content_type) {
        return is_a_sentence(fault);
    }
    let [whole, rest @ ..] = pieces::cuts(body);
    let expected = read(content_type, &whole);
    if let End::Refused(fault) = expected.end {
        is_a_sentence(fault);
    }
    let bytes: usize = expected.parts.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= body.len(), "a body does not grow");
    for pieces in rest {
        let peak = memory::peak_of(|| drop_events(content_type, &pieces));
        assert!(peak <= HELD_BYTES_MAX, "{peak} bytes were held");
        let found = read(content_type, &pieces);
        assert_eq!(found, expected, "cut into {} pieces", pieces.len());
    }
    if body.len() <= SMALL_BYTES_MAX {
        agrees_with_the_book(content_type, body, &expected);
    }
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, b""),
    }
}

fn is_a_sentence(Fault(text): Fault) {
    assert!(!text.is_empty() && text.len() <= REFUSAL_BYTES_MAX);
}

#[derive(Debug, PartialEq)]
struct Outcome {
    /// What each part is called, and its bytes.
    parts: Vec<(Head, Vec<u8>)>,
    /// Parts whose end was seen.
    whole: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The last delimiter came.
    Whole,
    /// It ended before that.
    CutOff,
    Refused(Fault),
}

fn read(content_type: &[u8], pieces: &[&[u8]]) -> Outcome {
    let mut outcome = Outcome {
        parts: Vec::new(),
        whole: 0,
        end: End::CutOff,
    };
    let mut multipart = Multipart::new(content_type).expect("it was asked before");
    for piece in pieces {
        multipart.feed(Bytes::copy_from_slice(piece));
        loop {
            match multipart.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => outcome.take(event),
                Err(fault) => {
                    outcome.end = End::Refused(fault);
                    return outcome;
                }
            }
        }
    }
    assert_eq!(multipart.finish().is_ok(), outcome.end == End::Whole);
    outcome
}

impl Outcome {
    fn take(&mut self, event: Event) {
        assert_eq!(self.end, End::CutOff, "nothing follows the end");
        match event {
            Event::Part(head) => {
                assert_eq!(self.whole, self.parts.len(), "one part after the other");
                self.parts.push((head, Vec::new()));
            }
            Event::Bytes(bytes) => {
                assert!(!bytes.is_empty() && self.whole + 1 == self.parts.len());
                let last = self.parts.last_mut().expect("bytes belong to a part");
                last.1.extend_from_slice(&bytes);
            }
            Event::PartEnd => self.whole += 1,
            Event::End => {
                assert_eq!(self.whole, self.parts.len());
                self.end = End::Whole;
            }
        }
    }
}

/// Reads as a server does that passes everything on at once.
fn drop_events(content_type: &[u8], pieces: &[&[u8]]) {
    let mut multipart = Multipart::new(content_type).expect("it was asked before");
    for piece in pieces {
        multipart.feed(Bytes::copy_from_slice(piece));
        loop {
            match multipart.next_event() {
                Ok(Some(event)) => drop(event),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// The boundary, where it is written in the two ways that leave no question.
fn plain_boundary(content_type: &[u8]) -> Option<&[u8]> {
    let rest = content_type.strip_prefix(b"multipart/form-data; boundary=")?;
    let rest = rest
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(rest);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.'+/=".contains(byte);
    rest.iter().all(is_plain).then_some(rest)
}

fn agrees_with_the_book(content_type: &[u8], body: &[u8], found: &Outcome) {
    let Some(boundary) = plain_boundary(content_type) else {
        return;
    };
    let delimiter = [b"\r\n--", boundary].concat();
    // The first delimiter needs no line end before it.
    let text = [b"\r\n", body].concat();
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = match find(&text, &delimiter) {
        Some(at) => &text[at + delimiter.len()..],
        None => return assert_eq!((found.parts.len(), found.end), (0, End::CutOff)),
    };
    let end = loop {
        if rest.starts_with(b"--") {
            break Some(End::Whole);
        }
        let blanks = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        rest = match rest[blanks..] {
            [b'\r', b'\n', ..] if blanks <= PADDING_BYTES_MAX => &rest[blanks + 2..],
            // Refused, or cut off before it could be.
            _ => break None,
        };
        if parts.len() == PARTS_MAX {
            break None;
        }
        rest = match (rest.starts_with(b"\r\n"), find(rest, b"\r\n\r\n")) {
            (true, _) => &rest[2..],
            (false, Some(at)) => &rest[at + 4..],
            (false, None) => break Some(End::CutOff),
        };
        match find(rest, &delimiter) {
            Some(at) => {
                parts.push(&rest[..at]);
                rest = &rest[at + delimiter.len()..];
            }
            None => {
                let last = found.parts.last().map(|(_, bytes)| bytes.as_slice());
                let last = last.expect("a part has begun");
                // What may become a delimiter is not passed on.
                assert!(rest.starts_with(last) && rest.len() - last.len() < delimiter.len());
                break Some(End::CutOff);
            }
        }
    };
    let whole: Vec<_> = found.parts[..found.whole]
        .iter()
        .map(|(_, bytes)| bytes.as_slice())
        .collect();
    assert_eq!(whole, parts);
    match end {
        Some(end) => assert_eq!(found.end, end),
        None => assert_ne!(found.end, End::Whole),
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

/// Boundaries of old clients, and short ones that bodies hold by chance.
const BOUNDARIES: [&str; 6] = [
    "boundary_.oOo._ryetnFomZTIJA0LMK2UVJdp74XC7+AF4",
    "---MTIz/+NDU2==",
    "--------------------------1234",
    "b",
    "--",
    "-",
];

const HEADS: [&str; 8] = [
    "Content-Disposition: form-data; name=\"object\"\r\n",
    "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n",
    "content-disposition: form-data; name=filename\r\n",
    "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a\\\"b.png\"\r\n",
    "Content-Disposition: form-data; name=file; filename*=UTF-8''na%C3%AFve.txt\r\n",
    "Content-Disposition: form-data; name=file; filename*=UTF-8''%\r\n",
    "no colon\r\n",
    "",
];

/// A body of some parts, mostly a right one.
pub fn make(random: &mut Random) -> Vec<u8> {
    let boundary = *random.pick(&BOUNDARIES);
    let quote = *random.pick(&["", "\""]);
    let mut bytes =
        format!("multipart/form-data; boundary={quote}{boundary}{quote}\n").into_bytes();
    if random.one_in(8) {
        bytes.extend(b"This is a message in many parts.\r\n");
    }
    for _ in 0..random.below(5) {
        let padding = *random.pick(&["", "", "", " ", " \t", "\r"]);
        let head = *random.pick(&HEADS);
        bytes.extend(format!("--{boundary}{padding}\r\n{head}\r\n").bytes());
        make_content(random, boundary, &mut bytes);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("--{boundary}--\r\n").bytes());
    if random.one_in(4) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

/// Bytes that are almost a delimiter here and there.
fn make_content(random: &mut Random, boundary: &str, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(6) {
        let part = random.below(boundary.len());
        match random.below(7) {
            0 => bytes.extend(b"\r\n"),
            1 => bytes.extend(b"\r"),
            2 => bytes.extend(b"\r\n--"),
            3 => bytes.extend(format!("\r\n--{}", &boundary[..part]).bytes()),
            4 => bytes.extend(boundary.bytes()),
            _ => bytes.push(random.number().to_le_bytes()[0]),
        }
    }
    if random.one_in(2000) {
        bytes.resize(bytes.len() + (400 << 10), *random.pick(b"\r\n-x"));
    }
}
