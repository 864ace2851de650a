//! The chunked transfer coding, read strictly and written again in its plainest form. No I/O.
//!
//! Rewriting means that hyper cannot find another end of the body than the head filter did.

use bytes::{Buf, BytesMut};

/// One line of framing: a size with its extensions, or a trailer.
const LINE_MAX_BYTES: usize = 1024;
const TRAILERS_MAX_BYTES: usize = 8 << 10;

/// The framing is not what RFC 9112 §7.1 says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunked encoding is broken")]
pub struct Broken;

/// Reads one chunked body.
#[derive(Debug, Default)]
pub struct ChunkedReader {
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// So many bytes of the chunk are still to come.
    Data(u64),
    /// The line end after a chunk's data.
    DataEnd,
    /// So many bytes of trailers were seen and dropped.
    Trailers(usize),
    Done,
}

impl ChunkedReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the body has been read to its end.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what `input` holds of the body to `output`, without extensions and trailers. Stops at the body's end
    /// and leaves what follows it in `input`.
    pub fn advance(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<(), Broken> {
        while self.step(input, output)? {}
        Ok(())
    }

    /// One step; says whether another may follow.
    fn step(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, Broken> {
        match self.state {
            State::Size => {
                let Some(line) = take_line(input)? else {
                    return Ok(false);
                };
                let size = chunk_size(&line)?;
                if size == 0 {
                    self.state = State::Trailers(0);
                } else {
                    output.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                    self.state = State::Data(size);
                }
                Ok(true)
            }
            State::Data(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                output.extend_from_slice(&input[..here]);
                input.advance(here);
                let left = left - here as u64;
                self.state = if left == 0 {
                    State::DataEnd
                } else {
                    State::Data(left)
                };
                Ok(left == 0)
            }
            State::DataEnd => {
                if input.len() < 2 {
                    return Ok(false);
                }
                if !input.starts_with(b"\r\n") {
                    return Err(Broken);
                }
                input.advance(2);
                output.extend_from_slice(b"\r\n");
                self.state = State::Size;
                Ok(true)
            }
            State::Trailers(seen) => {
                let Some(line) = take_line(input)? else {
                    return Ok(false);
                };
                let seen = seen + line.len() + 2;
                if line.is_empty() {
                    output.extend_from_slice(b"0\r\n\r\n");
                    self.state = State::Done;
                } else if seen > TRAILERS_MAX_BYTES || !line.contains(&b':') {
                    return Err(Broken);
                } else {
                    self.state = State::Trailers(seen);
                }
                Ok(!self.is_done())
            }
            State::Done => Ok(false),
        }
    }
}

/// Takes a line without its CRLF. A bare LF or CR is no line end here: two readers could differ about it.
fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>, Broken> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > LINE_MAX_BYTES {
            Err(Broken)
        } else {
            Ok(None)
        };
    };
    if end > LINE_MAX_BYTES {
        return Err(Broken);
    }
    let mut line = input.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Broken);
    }
    line.truncate(line.len() - 2);
    let harmless = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    line.iter()
        .all(harmless)
        .then_some(Some(line))
        .ok_or(Broken)
}

/// Up to 15 hex digits, and perhaps an extension, which nobody here reads.
fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let plausible = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plausible);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` in pieces of `piece` bytes: the output and what was left over.
    fn read(bytes: &[u8], piece: usize) -> Result<(String, Vec<u8>, bool), Broken> {
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut reader = ChunkedReader::new();
        for part in bytes.chunks(piece) {
            input.extend_from_slice(part);
            reader.advance(&mut input, &mut output)?;
        }
        let text = String::from_utf8(output.to_vec()).unwrap();
        Ok((text, input.to_vec(), reader.is_done()))
    }

    #[test]
    fn a_body_comes_out_in_its_plainest_form_however_it_is_cut() {
        let body =
            b"5;name=\"v\"\r\nhello\r\n00A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /next";
        for piece in [1, 2, 3, 7, 1000] {
            let (text, rest, done) = read(body, piece).unwrap();
            assert_eq!(
                text, "5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
                "{piece}"
            );
            assert!(done && rest == b"GET /next", "{piece}");
        }
    }

    #[test]
    fn an_unfinished_body_is_not_done() {
        for body in [
            "",
            "5",
            "5\r\n",
            "5\r\nhel",
            "5\r\nhello",
            "5\r\nhello\r\n0\r\n",
        ] {
            assert!(!read(body.as_bytes(), 1000).unwrap().2, "{body:?}");
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        let long = format!("5;{}\r\n", "x".repeat(2000));
        let trailers = format!("0\r\n{}\r\n", "A: 0123456789\r\n".repeat(1000));
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
            "ffffffffffffffffff\r\n",
            "5;\0\r\n",
            "0\r\nno colon\r\n\r\n",
            " 5\r\n",
            &long,
            &trailers,
        ] {
            assert_eq!(read(body.as_bytes(), 1000).unwrap_err(), Broken, "{body:?}");
        }
    }

    proptest::proptest! {
        /// However a body is chunked and cut, it comes out whole and what follows it stays.
        #[test]
        fn chunks_keep_their_bytes(
            chunks in proptest::collection::vec("[a-z\r\n]{1,30}", 0..6),
            piece in 1..50usize,
        ) {
            let framed: String = chunks
                .iter()
                .map(|chunk| format!("{:X};e=1\r\n{chunk}\r\n", chunk.len()))
                .collect();
            let plain: String = chunks
                .iter()
                .map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()))
                .collect();
            let body = format!("{framed}000\r\nT: x\r\n\r\nnext");
            let (text, rest, done) = read(body.as_bytes(), piece).unwrap();
            assert_eq!(text, plain + "0\r\n\r\n");
            assert!(done && rest == b"next");
        }

        #[test]
        fn no_bytes_break_the_reader(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        ) {
            let (mut input, mut output) = (BytesMut::from(bytes.as_slice()), BytesMut::new());
            let _ = ChunkedReader::new().advance(&mut input, &mut output);
        }
    }
}
