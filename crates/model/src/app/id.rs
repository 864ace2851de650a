//! What an app is called: `mar-eu-1-twwto7g0` (`mar.md` §1).

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// `mar-<datacenter>-` and eight characters of `[a-z0-9]`.
///
/// The classic command line takes the datacenter from it, and host names, folders and control groups carry it, so
/// nothing else is an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(String);

const PREFIX: &str = "mar-";
const OWN_LENGTH: usize = 8;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

impl AppId {
    /// A new id in a datacenter. `random` is spread over the characters.
    pub fn new(datacenter: &str, random: [u8; 16]) -> Result<Self, Error> {
        let mut left = u128::from_be_bytes(random);
        let mut own = String::with_capacity(OWN_LENGTH);
        for _ in 0..OWN_LENGTH {
            own.push(char::from(ALPHABET[(left % 36) as usize]));
            left /= 36;
        }
        format!("{PREFIX}{datacenter}-{own}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `eu-1` of `mar-eu-1-twwto7g0`.
    pub fn datacenter(&self) -> &str {
        &self.0[PREFIX.len()..self.0.len() - OWN_LENGTH - 1]
    }
}

impl FromStr for AppId {
    type Err = Error;

    /// Takes what follows the colon of a git remote as well: the command line puts that into paths, also with the
    /// `.git` that people add.
    fn from_str(text: &str) -> Result<Self, Error> {
        let id = text.strip_suffix(".git").unwrap_or(text);
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let words: Vec<&str> = id.split('-').collect();
        let fits = id.len() <= 32
            && matches!(words[..], ["mar", _, _, own] if own.len() == OWN_LENGTH)
            && words.iter().all(|word| is_word(word));
        if !fits {
            return Err(Error::not_found("there is no such app"));
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_datacenter() {
        let id: AppId = "mar-eu-1-twwto7g0".parse().unwrap();
        assert_eq!(
            (id.as_str(), id.datacenter()),
            ("mar-eu-1-twwto7g0", "eu-1")
        );
        let made = AppId::new("local-1", [7; 16]).unwrap();
        assert_eq!(made.datacenter(), "local-1");
        assert_ne!(made, AppId::new("local-1", [8; 16]).unwrap());
    }

    #[test]
    fn a_git_suffix_is_no_part_of_it() {
        let id: AppId = "mar-eu-1-twwto7g0.git".parse().unwrap();
        assert_eq!(id.to_string(), "mar-eu-1-twwto7g0");
    }

    #[test]
    fn nothing_else_is_an_id() {
        for wrong in [
            "",
            "mar",
            "mar-eu-1",
            "mar-eu-1-",
            "mar-eu-1-short",
            "mar-eu-1-twwto7g0a",
            "MAR-eu-1-twwto7g0",
            "mar-eu-1-twwto7G0",
            "mar-eu--twwto7g0",
            "mdb-eu-1-twwto7g0",
            "mar-eu-1-twwto7g0/..",
            "../mar-eu-1-twwto7g0",
            "mar-eu-1-twwto7g0.git.git",
            "mar-eu-1-twwt.7g0",
        ] {
            assert!(wrong.parse::<AppId>().is_err(), "{wrong}");
        }
    }
}
