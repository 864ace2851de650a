//! Which bytes of a file an upload carries: the header `Content-Range` as Enginio's clients write it
//! (`eds.md` §10.3).
//!
//! It is not quite HTTP's: most clients name no unit and mean an exclusive end. Others write `bytes `, and one writes
//! the header's own name again in front of the value. What the numbers mean is settled by the length of the body.

use std::fmt;

use crate::{Error, Result};

/// A stretch of a file: `start` up to and not including `end`, of `total` bytes.
///
/// `start <= end <= total`, and the body that came along has exactly [`ContentRange::length`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    start: u64,
    end: u64,
    total: u64,
}

/// Numbers of so many digits can be added without overflow, and no file has more bytes.
const DIGITS_MAX: usize = 18;

const SHAPE: &str = "Content-Range must be START-END/TOTAL in digits, such as 0-1024/2837, where END is the first \
                     byte that is not sent";

impl ContentRange {
    /// Reads the header's value; `body_length` is the length of the body that came along.
    ///
    /// A last number that is the place of the last byte, as in HTTP, is understood when it fits the body's length.
    pub fn parse(value: &[u8], body_length: u64) -> Result<Self> {
        let (start, end, total) = numbers(value).ok_or_else(|| Error::bad_request(SHAPE))?;
        let length = end.checked_sub(start).ok_or_else(|| {
            Error::bad_request(format!(
                "Content-Range {start}-{end}/{total} ends before it starts; write START-END/TOTAL with END behind START"
            ))
        })?;
        let end = match body_length.checked_sub(length) {
            Some(0) => end,
            Some(1) => end + 1,
            _ => {
                return Err(Error::bad_request(format!(
                    "Content-Range {start}-{end}/{total} covers {length} bytes, but the body has {body_length}; \
                     END minus START must be the length of the body"
                )));
            }
        };
        if end > total {
            return Err(Error::bad_request(format!(
                "Content-Range ends at byte {end}, beyond its total of {total}; TOTAL is the size of the whole file"
            )));
        }
        if body_length == 0 && total > 0 {
            return Err(Error::bad_request(
                "the chunk is empty; send the bytes that Content-Range names as the body",
            ));
        }
        Ok(Self { start, end, total })
    }

    /// The place of the first byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The place behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The size of the whole file.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes the stretch has.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the stretch reaches the file's end.
    pub fn is_last(&self) -> bool {
        self.end == self.total
    }
}

impl fmt::Display for ContentRange {
    /// As most clients write it: no unit, exclusive end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}/{}", self.start, self.end, self.total)
    }
}

/// The three numbers, without what clients put in front of them.
fn numbers(value: &[u8]) -> Option<(u64, u64, u64)> {
    let value = value.trim_ascii();
    let value = without_prefix(value, b"content-range:").map_or(value, <[u8]>::trim_ascii_start);
    let value = match without_prefix(value, b"bytes") {
        // The unit ends with a blank.
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii_start(),
        _ => value,
    };
    let (range, total) = split_at_byte(value, b'/')?;
    let (start, end) = split_at_byte(range, b'-')?;
    Some((number(start)?, number(end)?, number(total)?))
}

/// What follows a prefix, in whatever case it is written.
fn without_prefix<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn split_at_byte(value: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|&found| found == byte)?;
    Some((&value[..at], &value[at + 1..]))
}

fn number(digits: &[u8]) -> Option<u64> {
    let fits = (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| fits)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn parse(value: &str, body_length: u64) -> Result<(u64, u64, u64)> {
        let range = ContentRange::parse(value.as_bytes(), body_length)?;
        Ok((range.start, range.end, range.total))
    }

    #[test]
    fn every_known_clients_spelling_is_understood() {
        let table = [
            // Qt: no unit, exclusive end.
            ("0-1024/2837", 1024, (0, 1024, 2837)),
            ("1024-2048/2837", 1024, (1024, 2048, 2837)),
            ("2048-2837/2837", 789, (2048, 2837, 2837)),
            // HTTP: a unit, inclusive end.
            ("bytes 0-1023/2837", 1024, (0, 1024, 2837)),
            ("bytes 2048-2836/2837", 789, (2048, 2837, 2837)),
            // Each part alone.
            ("bytes 0-1024/2837", 1024, (0, 1024, 2837)),
            ("0-1023/2837", 1024, (0, 1024, 2837)),
            // Java: the header's name again.
            ("Content-Range: bytes 0-1023/2837", 1024, (0, 1024, 2837)),
            ("content-range:0-1024/2837", 1024, (0, 1024, 2837)),
            ("  BYTES   0-1/1\t", 1, (0, 1, 1)),
            // One byte, both ways.
            ("0-1/1", 1, (0, 1, 1)),
            ("0-0/1", 1, (0, 1, 1)),
            // A file of nothing.
            ("0-0/0", 0, (0, 0, 0)),
            ("000-001/001", 1, (0, 1, 1)),
        ];
        for (value, body_length, expected) in table {
            assert_eq!(parse(value, body_length).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_to_send() {
        let shapes = [
            "",
            "bytes",
            "bytes ",
            "0-1024",
            "-/",
            "-1/1",
            "0-/1",
            "0-1/",
            "0-1/*",
            "*/1",
            "bytes */1",
            "a-b/c",
            "0-1/1/1",
            "0-1-2/3",
            "+0-1/1",
            "0 - 1/1",
            "0-1 / 1",
            "bytes=0-1/1",
            "bytes0-1/1",
            "items 0-1/1",
            "0-1/1, 1-2/2",
            "Content-Range",
            "Content-Range: Content-Range: 0-1/1",
            "0x0-1/1",
            "0–1/1",
            "٠-١/١",
            "0-1/9999999999999999999",
            "9999999999999999999-1/1",
            "0-1/18446744073709551616",
        ];
        for value in shapes {
            let error = parse(value, 1).unwrap_err();
            assert_eq!(
                (error.kind, error.message.as_str()),
                (Kind::BadRequest, SHAPE),
                "{value:?}"
            );
        }
        assert!(ContentRange::parse(b"0-1/\xff", 1).is_err());
    }

    #[test]
    fn numbers_that_contradict_each_other_or_the_body_are_refused() {
        let table = [
            ("5-4/10", 1, "Content-Range 5-4/10 ends before it starts"),
            (
                "0-4/10",
                3,
                "Content-Range 0-4/10 covers 4 bytes, but the body has 3",
            ),
            (
                "0-4/10",
                6,
                "Content-Range 0-4/10 covers 4 bytes, but the body has 6",
            ),
            (
                "0-11/10",
                11,
                "Content-Range ends at byte 11, beyond its total of 10",
            ),
            (
                "0-10/10",
                11,
                "Content-Range ends at byte 11, beyond its total of 10",
            ),
            (
                "0-999999999999999999/1",
                u64::MAX,
                "Content-Range 0-999999999999999999/1 covers",
            ),
            ("5-5/10", 0, "the chunk is empty"),
        ];
        for (value, body_length, expected) in table {
            let error = parse(value, body_length).unwrap_err();
            assert_eq!(error.kind, Kind::BadRequest);
            assert!(
                error.message.starts_with(expected),
                "{value}: {}",
                error.message
            );
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let end = 999_999_999_999_999_999;
        let value = format!("{}-{}/{end}", end - 1, end - 1);
        assert_eq!(parse(&value, 1).unwrap(), (end - 1, end, end));
        assert!(parse(&format!("{end}-{end}/{end}"), 1).is_err());
    }

    #[test]
    fn the_last_chunk_knows_itself() {
        let range = ContentRange::parse(b"2048-2836/2837", 789).unwrap();
        assert!(range.is_last());
        assert_eq!(
            (range.start(), range.length(), range.total()),
            (2048, 789, 2837)
        );
        assert_eq!(range.to_string(), "2048-2837/2837");
        assert!(!ContentRange::parse(b"0-1024/2837", 1024).unwrap().is_last());
    }
}
