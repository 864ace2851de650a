//! Which part of something a client wants (RFC 9110 §14): one range of bytes, and nothing fancier.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything: there is no header, or one that need not be understood.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that there are not.
    Nothing,
}

/// Reads `bytes=0-499`, `bytes=500-` or `bytes=-500`, of something that has so many bytes. Several ranges, other units
/// and nonsense are answered with everything, as the standard allows.
pub(crate) fn wanted(header: Option<&str>, bytes: u64) -> Wanted {
    header
        .and_then(|header| part(header, bytes))
        .unwrap_or(Wanted::All)
}

fn part(header: &str, bytes: u64) -> Option<Wanted> {
    let (unit, range) = header.trim().split_once('=')?;
    if !unit.trim_end().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let found = match (number(first)?, number(last)?) {
        (None, None) => return None,
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), last) => {
            let end = last.map_or(bytes, |last| last.saturating_add(1));
            first..end.min(bytes)
        }
        (None, Some(count)) => bytes.saturating_sub(count)..bytes,
    };
    Some(match found.is_empty() {
        true => Wanted::Nothing,
        false => Wanted::Part(found),
    })
}

/// `Some(None)`: nothing is written there. `None`: it is no number.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What is too large for us is beyond the end of everything.
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        let part = |range| Wanted::Part(range);
        for (header, found) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-499", part(0..500)),
            ("bytes=500-", part(500..1000)),
            ("bytes=-1", part(999..1000)),
            ("bytes=-5000", part(0..1000)),
            ("bytes=999-5000", part(999..1000)),
            ("Bytes = 1 - 2", part(1..3)),
            ("bytes=0-99999999999999999999999", part(0..1000)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=1000-1001", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
        ] {
            assert_eq!(wanted(Some(header), 1000), found, "{header}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_not_understood_is_answered_with_everything() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,5-6",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1--2",
            "lines=0-1",
            "0-1",
        ] {
            assert_eq!(wanted(Some(header), 1000), Wanted::All, "{header}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
    }
}
