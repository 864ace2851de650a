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
}
