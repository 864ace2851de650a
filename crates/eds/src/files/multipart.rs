//! `multipart/form-data`, taken apart while it arrives (RFC 7578, as old clients write it).
//!
//! The parser does no I/O and holds no more than a head or the beginning of a delimiter: bytes of a part leave it as
//! the pieces in which they came, uncopied. Whatever could grow without end has a bound: text before the first part,
//! heads, their number. A stranger's bytes are all it sees, so `fuzz` feeds it those.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};

/// Parts of one body; there is use for three.
const PARTS_MAX: usize = 32;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What stands before the first part, which mail programs explain multipart in.
const PREAMBLE_BYTES_MAX: usize = 4 << 10;
/// Blanks behind a delimiter.
const PADDING_BYTES_MAX: usize = 256;
/// RFC 2046 allows 70.
const BOUNDARY_BYTES_MAX: usize = 200;

/// Why a body is none. The text is for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// What comes next in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(Head),
    /// Bytes of the part.
    Bytes(Bytes),
    /// The part is whole.
    PartEnd,
    /// That was the last part.
    End,
}

/// What the head of a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The name of the form's field.
    pub name: Option<String>,
    pub file_name: Option<String>,
    pub content_type: Option<String>,
}

/// What a body is about whose kind nothing is said.
#[derive(Debug)]
pub enum Detected {
    /// The beginning was looked at and is still to be fed.
    Form(Multipart),
    Other,
    /// More has to arrive before that can be told.
    Unclear,
}

/// A body on its way.
#[derive(Debug)]
pub struct Multipart {
    /// Line end, two dashes, and the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// What arrived last and was not looked at yet.
    input: Bytes,
    /// What was looked at and has to wait for more: the beginning of a head, or what may become a delimiter.
    kept: BytesMut,
    passed_over: usize,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    /// Right behind a delimiter.
    Delimited,
    Head,
    Body,
    PartEnd,
    Ended,
}

const NO_BOUNDARY: Fault = Fault(
    "the Content-Type says multipart/form-data without a boundary; write it as multipart/form-data; boundary=\"…\"",
);
const BROKEN_DELIMITER: Fault =
    Fault("the multipart body has a boundary that is followed by something else");
const CUT_OFF: Fault = Fault("the multipart body ends before its last boundary");

impl Multipart {
    /// For a body with this `Content-Type`.
    pub fn new(content_type: &[u8]) -> Result<Self, Fault> {
        let boundary = boundary(content_type).ok_or(NO_BOUNDARY)?;
        Ok(Self::with_boundary(&boundary))
    }

    fn with_boundary(boundary: &[u8]) -> Self {
        let mut delimiter = b"\r\n--".to_vec();
        delimiter.extend_from_slice(boundary);
        Self {
            delimiter,
            state: State::Preamble,
            input: Bytes::new(),
            // The first delimiter needs no line end before it.
            kept: BytesMut::from(&b"\r\n"[..]),
            passed_over: 0,
            parts: 0,
        }
    }

    /// Looks at the beginning of a body. The published Node client sends forms without any `Content-Type`; their first
    /// line is their boundary, and JSON never begins with two dashes.
    pub fn detect(start: &[u8]) -> Detected {
        let dashes = b"--";
        let Some(rest) = start.strip_prefix(dashes) else {
            return match dashes.starts_with(start) {
                true => Detected::Unclear,
                false => Detected::Other,
            };
        };
        match memmem::find(rest, b"\r\n") {
            Some(end) if is_boundary(&rest[..end]) => {
                Detected::Form(Self::with_boundary(&rest[..end]))
            }
            None if rest.len() <= BOUNDARY_BYTES_MAX => Detected::Unclear,
            _ => Detected::Other,
        }
    }

    /// Whether a request with this `Content-Type` has such a body.
    pub fn is_meant(content_type: &[u8]) -> bool {
        let name = b"multipart/form-data";
        let start = content_type.trim_ascii_start();
        let (start, rest) = start.split_at(name.len().min(start.len()));
        let ends = rest
            .first()
            .is_none_or(|byte| matches!(byte, b';' | b' ' | b'\t'));
        start.eq_ignore_ascii_case(name) && ends
    }

    /// Takes what arrived. Only when [`Multipart::next_event`] wants more.
    pub fn feed(&mut self, bytes: Bytes) {
        debug_assert!(
            self.input.is_empty(),
            "what is there is to be looked at first"
        );
        self.input = bytes;
    }

    /// What comes next; `None`: more has to arrive first.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            match self.state {
                State::Preamble => match self.bytes_up_to_delimiter() {
                    Found::Bytes(bytes) => {
                        self.passed_over += bytes.len();
                        if self.passed_over > PREAMBLE_BYTES_MAX {
                            return Err(Fault(
                                "the multipart body does not begin with its boundary",
                            ));
                        }
                    }
                    Found::Delimiter => self.state = State::Delimited,
                    Found::More => return Ok(None),
                },
                State::Delimited => match self.behind_delimiter()? {
                    None => return Ok(None),
                    Some(true) => {
                        self.state = State::Ended;
                        self.kept.clear();
                        return Ok(Some(Event::End));
                    }
                    Some(false) => {
                        self.parts += 1;
                        if self.parts > PARTS_MAX {
                            return Err(Fault("the multipart body has more than 32 parts"));
                        }
                        self.state = State::Head;
                    }
                },
                State::Head => {
                    let Some(head) = self.head()? else {
                        return Ok(None);
                    };
                    self.state = State::Body;
                    return Ok(Some(Event::Part(Head::read(&head))));
                }
                State::Body => match self.bytes_up_to_delimiter() {
                    Found::Bytes(bytes) => return Ok(Some(Event::Bytes(bytes))),
                    Found::Delimiter => self.state = State::PartEnd,
                    Found::More => return Ok(None),
                },
                State::PartEnd => {
                    self.state = State::Delimited;
                    return Ok(Some(Event::PartEnd));
                }
                // What follows the last part means nothing.
                State::Ended => {
                    self.input.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// The body is over: whether it was whole.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::Ended => Ok(()),
            _ => Err(CUT_OFF),
        }
    }

    /// Bytes that certainly stand before the next delimiter, or that it is here.
    fn bytes_up_to_delimiter(&mut self) -> Found {
        if !self.kept.is_empty() {
            return self.decide_kept();
        }
        if self.input.is_empty() {
            return Found::More;
        }
        if let Some(at) = memmem::find(&self.input, &self.delimiter) {
            if at > 0 {
                return Found::Bytes(self.input.split_to(at));
            }
            let _ = self.input.split_to(self.delimiter.len());
            return Found::Delimiter;
        }
        let certain = self.input.len() - possible_start(&self.input, &self.delimiter);
        let bytes = self.input.split_to(certain);
        // What may become a delimiter waits for what follows.
        self.kept.extend_from_slice(&self.input);
        self.input.clear();
        match bytes.is_empty() {
            true => Found::More,
            false => Found::Bytes(bytes),
        }
    }

    /// What is kept is the beginning of a delimiter, so far. The next bytes say whether it is one.
    fn decide_kept(&mut self) -> Found {
        let wanted = &self.delimiter[self.kept.len()..];
        let same = wanted
            .iter()
            .zip(&self.input)
            .take_while(|(wanted, found)| wanted == found)
            .count();
        if same == wanted.len() {
            let _ = self.input.split_to(same);
            self.kept.clear();
            return Found::Delimiter;
        }
        if same == self.input.len() {
            self.kept.extend_from_slice(&self.input);
            self.input.clear();
            return Found::More;
        }
        // It is none. A delimiter begins with a line end and has no other, so none begins within what is kept.
        Found::Bytes(self.kept.split().freeze())
    }

    /// Whether this was the last delimiter; `None`: that is not known yet.
    fn behind_delimiter(&mut self) -> Result<Option<bool>, Fault> {
        self.gather();
        if self.kept.starts_with(b"--") {
            return Ok(Some(true));
        }
        let blanks = self
            .kept
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        if blanks > PADDING_BYTES_MAX {
            return Err(BROKEN_DELIMITER);
        }
        match &self.kept[blanks..] {
            [b'\r', b'\n', ..] => {
                let rest = self.kept.split_off(blanks + 2);
                self.kept.clear();
                self.give_back(rest);
                Ok(Some(false))
            }
            [] | [b'\r'] => Ok(None),
            [b'-'] if blanks == 0 => Ok(None),
            _ => Err(BROKEN_DELIMITER),
        }
    }

    /// The lines of a head, with the empty one.
    fn head(&mut self) -> Result<Option<Bytes>, Fault> {
        self.gather();
        let end = match self.kept.starts_with(b"\r\n") {
            // A part without a head.
            true => Some(2),
            false => memmem::find(&self.kept, b"\r\n\r\n").map(|at| at + 4),
        };
        match end {
            Some(end) if end <= HEAD_BYTES_MAX => {
                let rest = self.kept.split_off(end);
                let head = self.kept.split().freeze();
                self.give_back(rest);
                Ok(Some(head))
            }
            None if self.kept.len() <= HEAD_BYTES_MAX => Ok(None),
            _ => Err(Fault(
                "a part of the multipart body has a head of more than 16 KiB",
            )),
        }
    }

    /// Moves as much of the input to what is kept as a head may have.
    fn gather(&mut self) {
        let room = (HEAD_BYTES_MAX + 1).saturating_sub(self.kept.len());
        let taken = self.input.split_to(room.min(self.input.len()));
        self.kept.extend_from_slice(&taken);
    }

    /// What was gathered and is no part of it.
    fn give_back(&mut self, rest: BytesMut) {
        if rest.is_empty() {
            return;
        }
        if self.input.is_empty() {
            self.input = rest.freeze();
            return;
        }
        let mut joined = rest;
        joined.extend_from_slice(&self.input);
        self.input = joined.freeze();
    }
}

enum Found {
    Bytes(Bytes),
    Delimiter,
    More,
}

/// How many of the last bytes may be the beginning of a delimiter that goes on in the next piece.
fn possible_start(bytes: &[u8], delimiter: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(delimiter.len() - 1)..];
    let mut from = 0;
    while let Some(at) = memchr(b'\r', &tail[from..]) {
        let start = &tail[from + at..];
        if delimiter.starts_with(start) {
            return start.len();
        }
        from += at + 1;
    }
    0
}

/// The boundary that a `Content-Type` names, quoted or not.
fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let (_, parameters) = split_at(content_type, b';')?;
    let boundary = parameter(parameters, "boundary")?;
    is_boundary(&boundary).then_some(boundary)
}

fn is_boundary(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    (1..=BOUNDARY_BYTES_MAX).contains(&text.len()) && text.iter().all(fits) && !text.ends_with(b" ")
}

fn split_at(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The value of a parameter in `; name=value; name="value"`, as far as such a list can be read.
fn parameter(mut list: &[u8], name: &str) -> Option<Vec<u8>> {
    loop {
        let (key, rest) = split_at(list, b'=')?;
        // A parameter without a value stands before this one.
        let key = key.rsplit(|byte| *byte == b';').next().unwrap_or_default();
        let (value, rest) = value(rest.trim_ascii_start());
        if key.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            return Some(value);
        }
        list = rest;
    }
}

/// A value, and what follows it.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = memchr(b';', text).unwrap_or(text.len());
        return (text[..end].trim_ascii_end().to_vec(), &text[end..]);
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return (value, &quoted[at + 1..]),
            // Whole Windows paths come unescaped, so only what must be escaped is taken for it.
            b'\\' if matches!(bytes.peek(), Some((_, b'"'))) => {
                value.push(b'"');
                bytes.next();
            }
            _ => value.push(*byte),
        }
    }
    (value, &[])
}

impl Head {
    /// Reads what is known of it; all else does not matter.
    fn read(lines: &[u8]) -> Self {
        let mut head = Self::default();
        for line in lines.split(|byte| *byte == b'\n') {
            let Some((name, value)) = split_at(line, b':') else {
                continue;
            };
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            if name.eq_ignore_ascii_case(b"content-type") {
                head.content_type = Some(text(value));
            } else if name.eq_ignore_ascii_case(b"content-disposition")
                && let Some((_, parameters)) = split_at(value, b';')
            {
                head.name = parameter(parameters, "name").map(|name| text(&name));
                let plain = parameter(parameters, "filename").map(|name| text(&name));
                head.file_name = parameter(parameters, "filename*")
                    .and_then(|name| extended(&name))
                    .or(plain);
            }
        }
        head
    }
}

/// UTF-8, and from older clients ISO-8859-1.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// `UTF-8''na%C3%AFve.txt` (RFC 8187).
fn extended(value: &[u8]) -> Option<String> {
    let (charset, rest) = split_at(value, b'\'')?;
    let (_, encoded) = split_at(rest, b'\'')?;
    if !charset.eq_ignore_ascii_case(b"utf-8") {
        return None;
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=\"b.o_u=n+d/\"";

    /// Everything that a body in pieces of this size gives: names of parts with their bytes.
    fn parts(
        content_type: &[u8],
        body: &[u8],
        piece: usize,
    ) -> Result<Vec<(Head, Vec<u8>)>, Fault> {
        let mut multipart = Multipart::new(content_type)?;
        let mut parts: Vec<(Head, Vec<u8>)> = Vec::new();
        for piece in body.chunks(piece) {
            multipart.feed(Bytes::copy_from_slice(piece));
            while let Some(event) = multipart.next_event()? {
                match event {
                    Event::Part(head) => parts.push((head, Vec::new())),
                    Event::Bytes(bytes) => {
                        assert!(!bytes.is_empty());
                        parts.last_mut().unwrap().1.extend_from_slice(&bytes);
                    }
                    Event::PartEnd | Event::End => {}
                }
            }
        }
        multipart.finish()?;
        Ok(parts)
    }

    fn head(name: &str, file_name: Option<&str>, content_type: Option<&str>) -> Head {
        Head {
            name: Some(name.to_owned()),
            file_name: file_name.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
        }
    }

    #[test]
    fn a_body_is_the_same_in_whatever_pieces_it_comes() {
        let tricky = b"\r\n--b.o_u=n+d\r\n\r\r\n--b.o_u=n+d\r\n--b\r\n-\r\n\r\n--";
        let mut body =
            b"--b.o_u=n+d/\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{\"a\":1}"
                .to_vec();
        body.extend_from_slice(b"\r\n--b.o_u=n+d/ \t\r\nContent-Type: image/png\r\n");
        body.extend_from_slice(
            b"content-disposition: form-data; name=\"file\"; filename=\"a b.png\"\r\n\r\n",
        );
        body.extend_from_slice(tricky);
        body.extend_from_slice(b"\r\n--b.o_u=n+d/\r\n\r\n\r\n--b.o_u=n+d/--\r\nafterwards");
        let expected = [
            (head("object", None, None), b"{\"a\":1}".to_vec()),
            (
                head("file", Some("a b.png"), Some("image/png")),
                tricky.to_vec(),
            ),
            (Head::default(), Vec::new()),
        ];
        for piece in 1..=body.len() {
            assert_eq!(
                parts(TYPE, &body, piece).unwrap(),
                expected,
                "pieces of {piece}"
            );
        }
        let mut explained = b"This is a message in many parts.\r\n".to_vec();
        explained.extend_from_slice(&body);
        assert_eq!(parts(TYPE, &explained, 7).unwrap(), expected);
    }

    #[test]
    fn boundaries_are_read_as_clients_write_them() {
        let table: [(&str, Option<&str>); 16] = [
            // Qt, quoted.
            (
                "multipart/form-data; boundary=\"boundary_.oOo._ryetnFomZTIJA0LMK2UVJdp74XC7+AF4\"",
                Some("boundary_.oOo._ryetnFomZTIJA0LMK2UVJdp74XC7+AF4"),
            ),
            // C++, base64 without quotes.
            (
                "multipart/form-data; boundary=---MTIz/+NDU2==",
                Some("---MTIz/+NDU2=="),
            ),
            // Node.
            (
                "multipart/form-data; boundary=--------------------------1234",
                Some("--------------------------1234"),
            ),
            (
                "Multipart/Form-Data;charset=utf-8;Boundary=a ; x=y",
                Some("a"),
            ),
            (
                "multipart/form-data; x=\"; boundary=no\"; boundary=yes",
                Some("yes"),
            ),
            ("multipart/form-data; flag; boundary=yes", Some("yes")),
            ("multipart/form-data; boundary=\"a;b\"", Some("a;b")),
            ("multipart/form-data; boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data;", None),
            ("multipart/form-data; boundary", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=\"a \"", None),
            ("multipart/form-data; boundary=\"a\tb\"", None),
            ("multipart/form-data; xboundary=a", None),
        ];
        for (content_type, expected) in table {
            let found = boundary(content_type.as_bytes());
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{content_type}"
            );
            assert!(
                Multipart::is_meant(content_type.as_bytes()),
                "{content_type}"
            );
        }
        let long = format!(
            "multipart/form-data; boundary={}",
            "a".repeat(BOUNDARY_BYTES_MAX + 1)
        );
        assert_eq!(boundary(long.as_bytes()), None);
        for other in [
            "application/json",
            "",
            "multipart/form-dataX; boundary=a",
            "multipart/mixed",
        ] {
            assert!(!Multipart::is_meant(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_form_without_a_content_type_is_known_by_its_first_line() {
        let body = b"----------1de4af\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n----------1de4af--";
        let line = body.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..=line {
            let found = Multipart::detect(&body[..length]);
            assert!(matches!(found, Detected::Unclear), "{length}: {found:?}");
        }
        let Detected::Form(mut multipart) = Multipart::detect(body) else {
            panic!("it is a form");
        };
        multipart.feed(Bytes::from_static(body));
        let part = Event::Part(head("file", None, None));
        assert_eq!(multipart.next_event(), Ok(Some(part)));
        let long = format!("--{}", "x".repeat(BOUNDARY_BYTES_MAX + 1));
        for other in [
            "{",
            "-1",
            "[\"--\"]",
            "--\r\n",
            "--a \r\n",
            "--a\x01\r\n",
            &long,
        ] {
            let found = Multipart::detect(other.as_bytes());
            assert!(matches!(found, Detected::Other), "{other:?}: {found:?}");
        }
    }

    #[test]
    fn heads_are_read_as_clients_write_them() {
        let read = |disposition: &str| {
            let head = Head::read(format!("Content-Disposition: {disposition}\r\n\r\n").as_bytes());
            (head.name, head.file_name)
        };
        let both = |name: &str, file: &str| (Some(name.to_owned()), Some(file.to_owned()));
        let table = [
            (
                r#"form-data; name="file"; filename="a.png""#,
                both("file", "a.png"),
            ),
            (
                "form-data; filename=a.png; name=file",
                both("file", "a.png"),
            ),
            (
                r#"form-data;name=file;filename="a;b\"c.png""#,
                both("file", "a;b\"c.png"),
            ),
            (
                r#"form-data; name="file"; filename="C:\dir\a.png""#,
                both("file", "C:\\dir\\a.png"),
            ),
            (
                r#"form-data; name="file"; filename="x"; filename*=UTF-8''na%C3%AFve.txt"#,
                both("file", "naïve.txt"),
            ),
            (
                r#"form-data; name="file"; filename="x"; filename*=UTF-8''%ZZ"#,
                both("file", "x"),
            ),
            (
                r#"form-data; name="file"; filename="x"; filename*=koi8-r''a"#,
                both("file", "x"),
            ),
            (
                r#"form-data; name="file"; filename="open"#,
                both("file", "open"),
            ),
            ("form-data", (None, None)),
            ("", (None, None)),
        ];
        for (disposition, expected) in table {
            assert_eq!(read(disposition), expected, "{disposition}");
        }
        let latin =
            Head::read(b"Content-Disposition: form-data; name=f; filename=\"\xe4.txt\"\r\n\r\n");
        assert_eq!(latin.file_name.as_deref(), Some("ä.txt"));
        assert_eq!(
            Head::read(b"no colon\r\nX-Other: y\r\n\r\n"),
            Head::default()
        );
    }

    #[test]
    fn what_is_no_multipart_body_is_refused() {
        let t: &[u8] = b"multipart/form-data; boundary=b";
        let long_head = format!("--b\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let endless_head = format!("--b\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        let many = "--b\r\n\r\n\r\n".repeat(PARTS_MAX + 1);
        let preamble = format!("{}\r\n--b--", "x".repeat(PREAMBLE_BYTES_MAX + 1));
        let padding = format!("--b{}\r\n", " ".repeat(PADDING_BYTES_MAX + 1));
        for body in [
            "",
            "--b",
            "--b-",
            "--b\r\n",
            "--b\r\nX: y\r\n",
            "--b\r\n\r\ntext",
            "--b\r\n\r\ntext\r\n--b",
            "--b\r\n\r\ntext\r\n--c--",
            "--bb\r\n\r\n\r\n--b--",
            "--b \r\r\n",
            "--b -",
            "text",
            long_head.as_str(),
            endless_head.as_str(),
            many.as_str(),
            preamble.as_str(),
            padding.as_str(),
        ] {
            for piece in [1, 3, 4096, usize::MAX >> 1] {
                let shown: String = body.chars().take(40).collect();
                assert!(
                    parts(t, body.as_bytes(), piece).is_err(),
                    "{shown:?} in pieces of {piece}"
                );
            }
        }
        assert_eq!(parts(t, b"--b--", 1).unwrap(), []);
    }

    #[test]
    fn a_piece_that_holds_no_line_end_is_passed_on_uncopied() {
        let mut multipart = Multipart::new(b"multipart/form-data; boundary=b").unwrap();
        multipart.feed(Bytes::from_static(b"--b\r\n\r\n"));
        assert!(matches!(multipart.next_event(), Ok(Some(Event::Part(_)))));
        assert_eq!(multipart.next_event(), Ok(None));
        let piece = Bytes::from(vec![7; 1000]);
        multipart.feed(piece.clone());
        match multipart.next_event() {
            Ok(Some(Event::Bytes(bytes))) => assert_eq!(bytes.as_ptr(), piece.as_ptr()),
            other => panic!("{other:?}"),
        }
    }
}
