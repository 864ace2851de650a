//! How large an app's processes are.

use clap::ValueEnum;
use serde_json::Value;

/// The sizes that can be bought, by their classic names.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Size {
    /// 256 MB
    Mini,
    /// 512 MB
    Small,
    /// 1024 MB
    Medium,
    /// 2048 MB
    Large,
}

impl Size {
    /// As the API counts: units of 256 MB.
    pub(super) fn units(self) -> u8 {
        match self {
            Self::Mini => 1,
            Self::Small => 2,
            Self::Medium => 4,
            Self::Large => 8,
        }
    }
}

/// A size of the API in words; what has no name is shown as it is.
pub(super) fn in_words(size: &Value) -> String {
    // Old clients send it as a text.
    let units = size
        .as_u64()
        .or_else(|| size.as_str().and_then(|text| text.parse().ok()));
    let name = match units {
        Some(1) => "mini",
        Some(2) => "small",
        Some(4) => "medium",
        Some(8) => "large",
        _ => {
            return match size {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
        }
    };
    format!("{name} ({} MB)", units.unwrap_or_default() * 256)
}

/// Bytes in a unit that fits.
pub(super) fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_size_has_a_name_and_its_memory() {
        assert_eq!(in_words(&json!(1)), "mini (256 MB)");
        assert_eq!(in_words(&json!("4")), "medium (1024 MB)");
        assert_eq!(in_words(&json!(3)), "3");
        assert_eq!(in_words(&Value::Null), "");
    }

    #[test]
    fn bytes_have_a_unit_that_fits() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KB"),
            (41_943_040, "40.0 MB"),
            (1_610_612_736, "1.5 GB"),
        ] {
            assert_eq!(bytes_in_words(bytes), words);
        }
    }
}
