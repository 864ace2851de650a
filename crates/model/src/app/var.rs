//! Config vars: what an app's owner puts into the environment of its processes (`mar.md` §2.3).

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A name that a shell can assign to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarName(String);

/// A value that fits into an environment. It may be a secret, so it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct VarValue(String);

/// Set by Pilvi for every process; nobody else may.
pub const RESERVED_VARS: [&str; 4] = ["PORT", STACK_VAR, "MAR_APP_ID", "HOME"];
/// Shown among the config vars; to set it is to choose another stack.
pub const STACK_VAR: &str = "STACK";

const NAME_MAX_BYTES: usize = 128;
/// One string of an environment may have 128 KiB on Linux; this leaves room for its name.
const VALUE_MAX_BYTES: usize = 32 << 10;

impl VarName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only Pilvi sets it.
    pub fn is_reserved(&self) -> bool {
        RESERVED_VARS.contains(&self.as_str())
    }
}

impl FromStr for VarName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_name = (1..=NAME_MAX_BYTES).contains(&text.len())
            && !text.starts_with(|first: char| first.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            // The name is the property's, so that the message can stand alone. It may be anything, so it is cut.
            let shown: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(NAME_MAX_BYTES)
                .collect();
            return Err(Error::invalid(
                shown,
                format!(
                    "is not a name of an environment variable: letters, digits and _, no digit first, \
                     at most {NAME_MAX_BYTES}"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VarName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VarValue {
    /// A value of the variable `name`, which an error is about.
    pub fn new(name: &VarName, text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.len() > VALUE_MAX_BYTES {
            return Err(Error::invalid(
                name.as_str(),
                format!("is longer than {VALUE_MAX_BYTES} bytes"),
            ));
        }
        if text.contains('\0') {
            return Err(Error::invalid(
                name.as_str(),
                "holds a zero byte, which no environment variable can",
            ));
        }
        Ok(Self(text))
    }

    /// The value itself, for whoever puts it into an environment or shows it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VarValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[value]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_shell_can_assign_to() {
        for name in ["A", "_x", "QT_VERSION", "a1", &"a".repeat(128)] {
            assert_eq!(name.parse::<VarName>().unwrap().as_str(), name);
        }
        for wrong in ["", "1A", "A-B", "A=B", "A B", "Ä", "A\n", &"a".repeat(129)] {
            assert!(wrong.parse::<VarName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn some_names_belong_to_the_platform() {
        for name in RESERVED_VARS {
            assert!(name.parse::<VarName>().unwrap().is_reserved(), "{name}");
        }
        assert!(!"PORTS".parse::<VarName>().unwrap().is_reserved());
    }

    #[test]
    fn a_value_is_bounded_and_keeps_to_itself() {
        let name: VarName = "A".parse().unwrap();
        let value = VarValue::new(&name, "s3cret\nlines").unwrap();
        assert_eq!(value.expose(), "s3cret\nlines");
        assert!(!format!("{value:?}").contains("s3cret"));
        assert!(VarValue::new(&name, "a\0b").is_err());
        let error = VarValue::new(&name, "a".repeat((32 << 10) + 1)).unwrap_err();
        assert_eq!(error.fields[0].property, "A");
    }
}
