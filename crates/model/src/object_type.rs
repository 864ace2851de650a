//! The type of an object: `objects.todos`, or one of the built-in `users`, `usergroups`, `files`.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A valid object type in its dotted spelling, compared case-sensitively (`eds.md` §4.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectType(String);

const NAME_MAX: usize = 100;
const BUILT_IN: [&str; 3] = ["users", "usergroups", "files"];

impl ObjectType {
    /// The custom type `objects.<name>`.
    pub fn custom(name: &str) -> Result<Self, Error> {
        let fits = (1..=NAME_MAX).contains(&name.len());
        if fits
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Ok(Self(format!("objects.{name}")));
        }
        Err(Error::bad_request(format!(
            "an object type has 1 to {NAME_MAX} letters, digits and underscores, as in /v1/objects/todos"
        )))
    }

    /// The users of an app.
    pub fn users() -> Self {
        Self("users".to_owned())
    }

    /// Groups of users.
    pub fn usergroups() -> Self {
        Self("usergroups".to_owned())
    }

    /// What was uploaded.
    pub fn files() -> Self {
        Self("files".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("objects.") {
            Some(name) => Self::custom(name),
            None if BUILT_IN.contains(&text) => Ok(Self(text.to_owned())),
            None => Err(Error::bad_request(format!(
                "`{}` is no object type; write objects.NAME, users, usergroups or files",
                text.chars().take(60).collect::<String>()
            ))),
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_once() {
        assert_eq!(
            "objects.CustomObject1"
                .parse::<ObjectType>()
                .unwrap()
                .as_str(),
            "objects.CustomObject1"
        );
        assert_eq!("users".parse::<ObjectType>().unwrap().as_str(), "users");
        for wrong in [
            "",
            "todos",
            "objects.",
            "objects.a.b",
            "objects.a b",
            "objects.é",
            "Users",
        ] {
            assert!(wrong.parse::<ObjectType>().is_err(), "{wrong}");
        }
    }
}
