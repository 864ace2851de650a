//! Host names that lead to an app.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A full host name in lower case, such as `www.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first label, when everything behind it is `parent`.
    pub fn label_under(&self, parent: &str) -> Option<&str> {
        let label = self.0.strip_suffix(parent)?.strip_suffix('.')?;
        (!label.contains('.')).then_some(label)
    }

    /// Whether it is `parent` or any name below it.
    pub fn is_within(&self, parent: &str) -> bool {
        self.0
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for Domain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |message: &str| Err(Error::invalid("name", message));
        if !text.is_ascii() {
            return refuse(
                "holds letters that host names cannot; write it in its ASCII form, which begins with xn--",
            );
        }
        let name = text.to_ascii_lowercase();
        if name.starts_with("*.") {
            return refuse("must be one host name; a wildcard cannot be added");
        }
        let labels: Vec<&str> = name.split('.').collect();
        let is_label = |label: &&str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // The last label of a name always has a letter; that of an IP address never has.
        let ends_as_a_name = labels
            .last()
            .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
        if name.len() > 253 || labels.len() < 2 || !labels.iter().all(is_label) || !ends_as_a_name {
            return refuse("is not a host name such as www.example.com");
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_full_host_name() {
        for (text, name) in [
            ("www.example.com", "www.example.com"),
            ("WWW.Example.COM", "www.example.com"),
            ("a.b", "a.b"),
            ("xn--pilvi-lra.example", "xn--pilvi-lra.example"),
            ("1.example.org", "1.example.org"),
        ] {
            assert_eq!(text.parse::<Domain>().unwrap().as_str(), name);
        }
        let (long_label, long_name) = (format!("{}.com", "a".repeat(64)), "a.".repeat(126) + "abc");
        for wrong in [
            "",
            "localhost",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.com",
            "a-.com",
            "a_b.com",
            "a b.com",
            "a.com:80",
            "http://a.com",
            "a.com/x",
            "*.a.com",
            "127.0.0.1",
            "1.2.3",
            "[::1]",
            "müller.de",
            &long_label,
            &long_name,
        ] {
            assert!(wrong.parse::<Domain>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_domain_knows_its_parents() {
        let name: Domain = "todo.apps.example.org".parse().unwrap();
        assert_eq!(name.label_under("apps.example.org"), Some("todo"));
        assert_eq!(name.label_under("example.org"), None);
        assert_eq!(name.label_under("ps.example.org"), None);
        assert!(name.is_within("example.org") && name.is_within("todo.apps.example.org"));
        assert!(!name.is_within("ple.org"));
    }
}
