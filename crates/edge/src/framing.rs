//! Where a body ends. No I/O.
//!
//! Bodies pass as they are, so the chunked coding is read strictly: only what every reader understands alike goes on
//! (RFC 9112 §7.1). Lines end in CRLF, sizes are hex digits and nothing else, and a trailer cannot change what the
//! message is.

/// One line of chunked framing: a size with its extensions, or a trailer.
const LINE_MAX_BYTES: usize = 4096;
const TRAILERS_MAX_BYTES: usize = 16 << 10;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; none when there is no body.
    Length(u64),
    Chunked,
    /// Only responses: until the connection is closed.
    UntilClose,
}

/// The framing is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What comes next in a body: so many bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Data(usize),
    /// Sizes and line ends.
    Frame(usize),
    /// One trailer with its line end.
    Trailer(usize),
}

impl Span {
    pub fn len(self) -> usize {
        match self {
            Self::Data(len) | Self::Frame(len) | Self::Trailer(len) => len,
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Finds the end of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyReader(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come.
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    /// So many bytes of trailers have come.
    Trailers(usize),
    Done,
}

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether the body has been read to its end.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.0, State::UntilClose | State::Done)
    }

    /// How much of the body is still to come, as far as that is known.
    pub fn expected(&self) -> u64 {
        match self.0 {
            State::Length(left) | State::ChunkData(left) => left,
            _ => 0,
        }
    }

    /// Takes all that `input` begins with and that belongs to the body: so many bytes.
    pub fn advance(&mut self, input: &[u8]) -> Result<usize, Broken> {
        let mut taken = 0;
        while let Some(span) = self.next(&input[taken..])? {
            taken += span.len();
        }
        Ok(taken)
    }

    /// Takes the next piece off the front of `input`. `None` when the body is done or more is needed.
    pub fn next(&mut self, input: &[u8]) -> Result<Option<Span>, Broken> {
        if input.is_empty() {
            return Ok(None);
        }
        match self.0 {
            State::Done => Ok(None),
            State::UntilClose => Ok(Some(Span::Data(input.len()))),
            State::Length(left) => {
                let (here, left) = data(left, input);
                self.0 = if left == 0 {
                    State::Done
                } else {
                    State::Length(left)
                };
                Ok(Some(Span::Data(here)))
            }
            State::ChunkData(left) => {
                let (here, left) = data(left, input);
                self.0 = if left == 0 {
                    State::ChunkEnd
                } else {
                    State::ChunkData(left)
                };
                Ok(Some(Span::Data(here)))
            }
            State::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.0 = State::ChunkSize;
                    Ok(Some(Span::Frame(2)))
                }
                [b'\r'] => Ok(None),
                _ => Err(Broken),
            },
            State::ChunkSize => {
                let Some(line) = line(input)? else {
                    return Ok(None);
                };
                self.0 = match chunk_size(line)? {
                    0 => State::Trailers(0),
                    size => State::ChunkData(size),
                };
                Ok(Some(Span::Frame(line.len() + 2)))
            }
            State::Trailers(seen) => {
                let Some(line) = line(input)? else {
                    return Ok(None);
                };
                let len = line.len() + 2;
                if line.is_empty() {
                    self.0 = State::Done;
                    return Ok(Some(Span::Frame(len)));
                }
                if seen + len > TRAILERS_MAX_BYTES || !is_trailer(line) {
                    return Err(Broken);
                }
                self.0 = State::Trailers(seen + len);
                Ok(Some(Span::Trailer(len)))
            }
        }
    }
}

/// How much of `left` is here, and what is left then.
fn data(left: u64, input: &[u8]) -> (usize, u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    (here, left - here as u64)
}

/// The first line without its CRLF. A bare LF or CR is no line end here: two readers could differ about it.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let within = &input[..input.len().min(LINE_MAX_BYTES)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if within.len() == LINE_MAX_BYTES {
            Err(Broken)
        } else {
            Ok(None)
        };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(Broken)?;
    let harmless = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    line.iter()
        .all(harmless)
        .then_some(Some(line))
        .ok_or(Broken)
}

/// Up to 15 hex digits, and perhaps an extension.
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    if !(1..=15).contains(&digits) {
        return Err(Broken);
    }
    let extension = line[digits..].trim_ascii_start();
    if !matches!(extension, [] | [b';', ..]) {
        return Err(Broken);
    }
    let fold = |size: u64, &digit: &u8| {
        let value = char::from(digit).to_digit(16).unwrap_or(0);
        size << 4 | u64::from(value)
    };
    Ok(line[..digits].iter().fold(0, fold))
}

fn is_trailer(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    is_trailer_name(&line[..colon])
}

/// A field that may come after a body: not one that frames, routes or authorises the message (RFC 9110 §6.5.1).
pub(crate) fn is_trailer_name(name: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    const FORBIDDEN: [&[u8]; 13] = [
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"host",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    let forged = name.len() >= 11 && name[..11].eq_ignore_ascii_case(b"x-forwarded");
    !name.is_empty()
        && name.iter().all(token)
        && !forged
        && !FORBIDDEN.iter().any(|one| name.eq_ignore_ascii_case(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` as they come in pieces of `piece`: how many belong to the body, its data, and whether it ended.
    fn read(bytes: &[u8], piece: usize) -> Result<(usize, Vec<u8>, bool), Broken> {
        let mut reader = BodyReader::new(Framing::Chunked);
        let (mut taken, mut here, mut data) = (0, 0, Vec::new());
        while here < bytes.len() {
            here = (here + piece).min(bytes.len());
            while let Some(span) = reader.next(&bytes[taken..here])? {
                if let Span::Data(len) = span {
                    data.extend_from_slice(&bytes[taken..taken + len]);
                }
                taken += span.len();
            }
        }
        Ok((taken, data, reader.is_done()))
    }

    #[test]
    fn a_body_ends_where_it_ends_however_it_is_cut() {
        let body = b"5;name=\"v\"\r\nhello\r\n00A \r\n0123456789\r\n0\r\nExpires: x\r\n\r\n";
        let stream = [body.as_slice(), b"GET /next"].concat();
        for piece in [1, 2, 3, 7, 1000] {
            let (taken, data, done) = read(&stream, piece).unwrap();
            assert_eq!((taken, done), (body.len(), true), "{piece}");
            assert_eq!(data, b"hello0123456789");
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        let long = format!("5;{}\r\n", "x".repeat(5000));
        let trailers = format!("0\r\n{}\r\n", "A: 0123456789\r\n".repeat(2000));
        for body in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x5\r\n",
            "5\nhello",
            "5\r\nhelloXX",
            "5\r\nhello\n0\r\n",
            "1 2\r\n",
            "5;a\rb\r\n",
            "ffffffffffffffffff\r\n",
            "5;\0\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nContent-Length: 3\r\n\r\n",
            "0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            " 5\r\n",
            &long,
            &trailers,
        ] {
            assert_eq!(read(body.as_bytes(), 1000), Err(Broken), "{body:?}");
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut reader = BodyReader::new(Framing::Length(5));
        assert_eq!(reader.advance(b"abc"), Ok(3));
        assert_eq!(reader.expected(), 2);
        assert_eq!(reader.advance(b"deGET"), Ok(2));
        assert!(reader.is_done() && reader.advance(b"GET") == Ok(0));
        assert!(BodyReader::new(Framing::Length(0)).is_done());
    }
}
