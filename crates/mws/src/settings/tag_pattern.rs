//! Which tags a setting is about.

use serde_json::Value;

const BYTES_MAX: usize = 256;

/// One tag, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagPattern {
    Exact(Box<str>),
    /// Written with a `*` at the end.
    Prefix(Box<str>),
}

impl TagPattern {
    /// `None`: not a pattern.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        if text.is_empty() || text.len() > BYTES_MAX {
            return None;
        }
        let (prefix, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        // Old hands would take it for a wildcard too, and it is none.
        if prefix.contains('*') {
            return None;
        }
        Some(match is_prefix {
            true => Self::Prefix(prefix.into()),
            false => Self::Exact(prefix.into()),
        })
    }

    pub(crate) fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *tag,
            Self::Prefix(prefix) => tag.starts_with(&**prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_is_a_tag_or_a_beginning() {
        let rows = [
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("room.*", "room.1", true),
            ("room.*", "room.", true),
            ("room.*", "room", false),
            ("*", "anything", true),
        ];
        for (pattern, tag, matches) in rows {
            let read = TagPattern::read(&json!(pattern)).unwrap();
            assert_eq!(read.matches(tag), matches, "{pattern} {tag}");
        }
        let long = "x".repeat(BYTES_MAX + 1);
        for wrong in [json!(""), json!("a*b"), json!("**"), json!(5), json!(long)] {
            assert_eq!(TagPattern::read(&wrong), None, "{wrong}");
        }
    }
}
