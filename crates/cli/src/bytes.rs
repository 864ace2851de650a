//! Numbers of bytes, as people read and write them.

const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];

/// In a unit that fits.
pub(crate) fn in_words(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Reads a whole number, which may have one of the units.
pub(crate) fn read(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let unit = UNITS.iter().position(|unit| text.ends_with(unit));
    let (digits, factor) = match unit {
        Some(unit) => (&text[..text.len() - 2], 1024_u64.pow(unit as u32 + 1)),
        None => (&*text, 1),
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KB"),
            (41_943_040, "40.0 MB"),
            (1_610_612_736, "1.5 GB"),
        ] {
            assert_eq!(in_words(bytes), words);
        }
    }

    #[test]
    fn a_number_may_have_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("20", Some(20)),
            ("3kb", Some(3072)),
            ("10 GB", Some(10_737_418_240)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("1.5GB", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(read(text), bytes, "{text}");
        }
    }
}
