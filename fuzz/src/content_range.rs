//! `Content-Range`: reading neither panics nor overflows, takes what the grammar says and nothing else, and what is
//! printed reads back as the same.
//!
//! An input is the header's value; behind its last line feed may stand the length of the body.

use std::sync::LazyLock;

use pilvi_model::{ContentRange, Kind};
use regex::bytes::Regex;

use crate::Random;

/// What clients write, as a pattern: perhaps the header's own name, perhaps the unit, three numbers.
static SHAPE: LazyLock<Regex> = LazyLock::new(|| {
    let (blank, number) = (r"[ \t\n\x0C\r]", "([0-9]{1,18})");
    let prefix = format!("(?:(?i:content-range:){blank}*)?(?:(?i:bytes){blank}+)?");
    Regex::new(&format!(
        "^(?-u){blank}*{prefix}{number}-{number}/{number}{blank}*$"
    ))
    .expect("the pattern is right")
});

/// The promises about any header.
pub fn check(input: &[u8]) {
    let (value, length) = match input.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], std::str::from_utf8(&input[end + 1..]).ok()),
        None => (input, None),
    };
    let told = length.and_then(|length| length.parse().ok());
    let numbers = numbers(value);
    // The length that was told, and those that the numbers mean.
    let meant = numbers.map(|[start, end, _]| end.saturating_sub(start));
    let lengths = [
        told,
        meant,
        meant.map(|length| length + 1),
        Some(0),
        Some(u64::MAX),
    ];
    for body_length in lengths.into_iter().flatten() {
        let expected = numbers.and_then(|numbers| meaning(numbers, body_length));
        match ContentRange::parse(value, body_length) {
            Ok(range) => {
                let found = (range.start(), range.end(), range.total());
                assert_eq!(Some(found), expected, "of {body_length} bytes");
                holds_together(&range, body_length);
            }
            Err(error) => {
                assert_eq!(error.kind, Kind::BadRequest);
                assert!(error.message.len() < 300, "{}", error.message);
                assert_eq!(expected, None, "of {body_length} bytes: {}", error.message);
            }
        }
    }
}

fn numbers(value: &[u8]) -> Option<[u64; 3]> {
    let captures = SHAPE.captures(value)?;
    let number = |group: usize| std::str::from_utf8(&captures[group]).ok()?.parse().ok();
    Some([number(1)?, number(2)?, number(3)?])
}

/// Start, exclusive end and total, by the rules of `eds.md` §10.3 in numbers that cannot overflow.
fn meaning([start, end, total]: [u64; 3], body_length: u64) -> Option<(u64, u64, u64)> {
    let [wide_start, wide_end, wide_length] = [start, end, body_length].map(i128::from);
    let exclusive = wide_start + wide_length;
    let spelled_so = exclusive == wide_end || exclusive == wide_end + 1;
    let stretch = wide_end >= wide_start && exclusive <= i128::from(total);
    let something = body_length > 0 || total == 0;
    (spelled_so && stretch && something).then(|| (start, start + body_length, total))
}

fn holds_together(range: &ContentRange, body_length: u64) {
    assert_eq!(range.length(), body_length);
    assert_eq!(range.is_last(), range.end() == range.total());
    let (start, end, total) = (range.start(), range.end(), range.total());
    let printed = range.to_string();
    let mut spellings = vec![
        format!("bytes {printed}"),
        format!("Content-Range: bytes {printed}"),
        printed,
    ];
    if body_length > 0 {
        // As HTTP means it.
        spellings.push(format!("bytes {start}-{}/{total}", end - 1));
    }
    for spelling in spellings {
        let again = ContentRange::parse(spelling.as_bytes(), body_length);
        assert_eq!(again.as_ref().ok(), Some(range), "{spelling}");
    }
}

/// A header that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    let magnitude = *random.pick(&[10, 10_000, 10_000_000_000, u64::MAX]);
    let start = random.number() % magnitude;
    let length = if random.one_in(4) {
        random.below(3) as u64
    } else {
        random.number() % magnitude
    };
    let end = start.saturating_add(length);
    let total = match random.below(4) {
        0 => end,
        1 => end.saturating_sub(1),
        _ => end.saturating_add(random.number() % magnitude),
    };
    let written_end = if random.one_in(2) {
        end
    } else {
        end.saturating_sub(1)
    };
    let prefix = *random.pick(&[
        "",
        "",
        "bytes ",
        "Content-Range: bytes ",
        "BYTES\t",
        "bytes=",
    ]);
    let zeros = "0".repeat(random.below(4));
    let length = if random.one_in(8) {
        length.saturating_add(1)
    } else {
        length
    };
    format!("{prefix}{zeros}{start}-{written_end}/{total}\n{length}").into_bytes()
}
