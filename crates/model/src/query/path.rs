//! Where in a document a query looks: `a.b.0`.

use std::fmt;

use crate::{Error, Result};

/// How many parts a path may have.
pub const SEGMENTS_MAX: usize = 20;

/// A dotted path into a document; it has at least one segment and none of them is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

/// One part of a path: a property's name, which may also be the place of an array's element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub name: String,
    /// The name read as a place in an array: digits without a leading zero.
    pub index: Option<usize>,
}

impl Path {
    /// Reads a dotted path. `purpose` says in a refusal what the path was for.
    pub(crate) fn parse(text: &str, purpose: &str) -> Result<Self> {
        let refuse = |rule: &str| {
            let shown = super::parse::shorten(text);
            Err(Error::bad_request(format!(
                "`{shown}` is no property to {purpose}; {rule}"
            )))
        };
        if text.starts_with('$') {
            return refuse("a name cannot start with $");
        }
        if text.contains('\0') {
            return refuse("a name cannot contain the character NUL");
        }
        if text.split('.').any(str::is_empty) {
            return refuse("write a name, or names joined by single dots");
        }
        if text.split('.').count() > SEGMENTS_MAX {
            return refuse(&format!("a path has at most {SEGMENTS_MAX} parts"));
        }
        Ok(Self(text.split('.').map(Segment::new).collect()))
    }

    /// The path to a member of what this path leads to. The name is not empty and holds no dot.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::new(name));
        Self(segments)
    }

    /// The path without its last segment; `None` when it has only one.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        (!before.is_empty()).then(|| Self(before.to_vec()))
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl Segment {
    fn new(name: &str) -> Self {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let plain = digits && (name == "0" || !name.starts_with('0'));
        Self {
            name: name.to_owned(),
            index: plain.then(|| name.parse().ok()).flatten(),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            write!(f, "{dot}{}", segment.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_places() {
        let path = Path::parse("a.0.00.$x.1b", "filter by").unwrap();
        let indexes: Vec<_> = path
            .segments()
            .iter()
            .map(|segment| segment.index)
            .collect();
        assert_eq!(indexes, [None, Some(0), None, None, None]);
        assert_eq!(path.to_string(), "a.0.00.$x.1b");
    }

    #[test]
    fn a_path_that_leads_nowhere_is_refused() {
        let long = "a.".repeat(SEGMENTS_MAX) + "a";
        for text in ["", ".", "a.", ".a", "a..b", "$a", "a\0", &long] {
            let error = Path::parse(text, "filter by").unwrap_err();
            assert_eq!(error.kind, crate::Kind::BadRequest, "{text:?}");
        }
    }
}
