//! The root file systems that apps are built and run on.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The name of a stack, such as `cedar-14`, the one that old clients expect (`mar.md` §2.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackName(String);

const LENGTH_MAX: usize = 40;

impl StackName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StackName {
    fn default() -> Self {
        Self("cedar-14".to_owned())
    }
}

impl FromStr for StackName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        };
        let is_name = text.len() <= LENGTH_MAX
            && text.bytes().all(fits)
            && text
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric())
            && !text.contains("..");
        if !is_name {
            return Err(Error::invalid(
                "stack",
                "is not the name of a stack, such as cedar-14",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_plain_name() {
        for name in ["cedar", "cedar-14", "debian-12", "pilvi_2.1"] {
            assert_eq!(name.parse::<StackName>().unwrap().as_str(), name);
        }
        for wrong in ["", ".", "..", "-a", "a/b", "a..b", "Cedar", &"a".repeat(41)] {
            assert!(wrong.parse::<StackName>().is_err(), "{wrong}");
        }
    }
}
