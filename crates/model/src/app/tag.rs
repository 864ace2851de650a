//! What a slug is called: a commit's hash, or any text its uploader chose.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The tag of a slug (`mar.md` §2.6): free text of one line, such as `v1.2` or a commit's hash.
///
/// It is a part of API paths, so the two that mean folders there are none. It is never the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlugTag(String);

const LENGTH_MAX: usize = 128;

impl SlugTag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SlugTag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_tag = !text.is_empty()
            && text.len() <= LENGTH_MAX
            && text.trim() == text
            && !text.chars().any(char::is_control)
            && !matches!(text, "." | "..");
        if !is_tag {
            return Err(Error::invalid(
                "tag",
                format!("must be one line of 1 to {LENGTH_MAX} bytes, such as v1.2"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SlugTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_line_of_text() {
        for tag in ["v1.2", "my_tag-3", "release/7", "ä b", "a1b2c3"] {
            assert_eq!(tag.parse::<SlugTag>().unwrap().as_str(), tag);
        }
        for wrong in ["", ".", "..", " a", "a\n", "a\0b", &"a".repeat(129)] {
            assert!(wrong.parse::<SlugTag>().is_err(), "{wrong:?}");
        }
    }
}
