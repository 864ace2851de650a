//! Which stretch of the answer a call wants.

use crate::{Error, Result};

/// How many objects a call gets that does not say.
pub const LIMIT_DEFAULT: u32 = 100;
/// How many objects a call gets at most; a larger wish is cut without an error (`eds.md` §5.1).
pub const LIMIT_MAX: u32 = 1000;
/// The farthest that a call may skip.
pub const OFFSET_MAX: u64 = 1_000_000_000;

/// A stretch of the sorted answer: skip `offset` objects, give `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: u32,
    pub offset: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: LIMIT_DEFAULT,
            offset: 0,
        }
    }
}

impl Page {
    /// Reads `limit` and `offset`. What is no whole number from 0 upwards is refused.
    pub fn parse(limit: Option<&str>, offset: Option<&str>) -> Result<Self> {
        let mut page = Self::default();
        if let Some(text) = limit {
            let wish = whole_number("limit", text)?.min(u64::from(LIMIT_MAX));
            page.limit = u32::try_from(wish).expect("it was cut to the largest limit");
        }
        if let Some(text) = offset {
            page.offset = whole_number("offset", text)?;
        }
        if page.offset > OFFSET_MAX {
            return Err(Error::bad_request(format!(
                "offset must be at most {OFFSET_MAX}; narrow the query instead"
            )));
        }
        Ok(page)
    }
}

fn whole_number(name: &str, text: &str) -> Result<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::bad_request(format!(
            "{name} must be a whole number from 0 upwards, written in digits"
        )));
    }
    // Only a number too long for the type fails here, and both bounds are far below it.
    Ok(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_limit_is_cut_silently() {
        let limit = |text| Page::parse(Some(text), None).unwrap().limit;
        assert_eq!(limit("0"), 0);
        assert_eq!(limit("999"), 999);
        assert_eq!(limit("1001"), 1000);
        assert_eq!(limit("99999999999999999999999999"), 1000);
        assert_eq!(Page::parse(None, None).unwrap(), Page::default());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-1", "+1", "1.0", "1e3", "ten", " 1", "٣"] {
            assert!(Page::parse(Some(text), None).is_err(), "{text:?}");
            assert!(Page::parse(None, Some(text)).is_err(), "{text:?}");
        }
        assert_eq!(
            Page::parse(None, Some("1000000000")).unwrap().offset,
            OFFSET_MAX
        );
        for far in ["1000000001", "99999999999999999999999999"] {
            assert!(Page::parse(None, Some(far)).is_err(), "{far}");
        }
    }
}
