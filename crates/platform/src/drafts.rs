//! What may be asked for, and the rules of names and tags.

use pilvi_model::{Error, FieldError, Result};
use serde_json::{Map, Value};

/// A wished-for account. A missing name is an empty one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountDraft {
    pub name: String,
    /// `None`: the server's first datacenter.
    pub datacenter: Option<String>,
    pub vpc: bool,
}

/// A wished-for instance. A missing name or provider is an empty one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceDraft {
    pub name: String,
    pub provider: String,
    /// `None`: the account's datacenter.
    pub datacenter: Option<String>,
    pub tags: Vec<String>,
    pub config: Map<String, Value>,
    /// For programs that have an id in their code; `None`: a new one. Operators only.
    pub id: Option<String>,
}

const NAME_CHARS_MAX: usize = 100;
const TAGS_MAX: usize = 50;
const EMAIL_BYTES_MAX: usize = 254;

/// Collects the broken rules of a request, so that its sender learns of all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    pub(crate) fn add(&mut self, property: &str, message: impl Into<String>) {
        self.0.push(FieldError {
            property: property.to_owned(),
            message: message.into(),
        });
    }

    /// The error that tells of these faults and of those of `error`, unless that one is about something else.
    pub(crate) fn and(mut self, error: Error) -> Error {
        if error.fields.is_empty() {
            return error;
        }
        self.0.extend(error.fields);
        Error::invalid_fields(self.0)
    }

    pub(crate) fn check_name(&mut self, name: &str) {
        self.check_name_of("name", name);
    }

    /// The same for what is a name under another property.
    pub(crate) fn check_name_of(&mut self, property: &str, name: &str) {
        match text_fault(name) {
            Some(TextFault::Blank) => self.add(property, "is required"),
            Some(fault) => self.add(property, fault.to_string()),
            None => {}
        }
    }

    /// Only the shape: whether mail arrives there is for the sender of mail to find out.
    pub(crate) fn check_email(&mut self, email: &str) {
        if !is_address(email) {
            self.add("email", "is not an e-mail address");
        }
    }

    pub(crate) fn check_tags(&mut self, tags: &[String]) {
        if tags.len() > TAGS_MAX {
            self.add("tags", format!("has more than {TAGS_MAX} tags"));
        }
        if let Some(fault) = tags.iter().find_map(|tag| text_fault(tag)) {
            self.add("tags", format!("holds a tag that {fault}"));
        }
    }

    /// `Ok` when no rule was broken.
    pub(crate) fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_fields(self.0))
    }
}

/// Whether this is an address and nothing beside it. A person is known by it, to the server and to others: so there is
/// one way to write a mailbox, without quotation marks, names and comments, and no letter in it that is not seen. A
/// domain of other letters than ASCII is written as the name system knows it, `xn--…`.
fn is_address(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let is_atom = |atom: &str| {
        let mut letters = atom.chars();
        letters.all(|letter| letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter))
    };
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    email.len() <= EMAIL_BYTES_MAX
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && is_atom(atom))
        && domain
            .split('.')
            .all(|label| !label.is_empty() && is_label(label))
}

#[derive(Clone, Copy)]
enum TextFault {
    Blank,
    Long,
    Control,
}

impl std::fmt::Display for TextFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blank => f.write_str("is blank"),
            Self::Long => write!(f, "is longer than {NAME_CHARS_MAX} characters"),
            Self::Control => f.write_str("holds a control character"),
        }
    }
}

/// What is not seen itself and changes how the rest is: control characters, and those that turn the direction of what
/// follows, by which a text passes for another.
pub(crate) fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What takes no ink: a text of nothing else is blank, whatever its length.
fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2065}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

fn text_fault(text: &str) -> Option<TextFault> {
    if text.chars().all(is_unseen) {
        Some(TextFault::Blank)
    } else if text.chars().count() > NAME_CHARS_MAX {
        Some(TextFault::Long)
    } else if text.chars().any(is_control) {
        Some(TextFault::Control)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_seen() {
        for good in [
            "Anna",
            " a ",
            "می\u{200c}خواهم",
            "👩\u{200d}💻",
            "\u{3164}x",
        ] {
            assert!(text_fault(good).is_none(), "{good}");
        }
        for blank in [
            "",
            " \u{a0}",
            "\u{200b}\u{200d}",
            "\u{3164}",
            "\u{2800}\u{fe0f}",
        ] {
            assert!(
                matches!(text_fault(blank), Some(TextFault::Blank)),
                "{blank:?}"
            );
        }
        for turned in ["a\u{202e}b", "a\u{2066}b", "a\u{feff}b", "a\0b", "a\nb"] {
            assert!(
                matches!(text_fault(turned), Some(TextFault::Control)),
                "{turned:?}"
            );
        }
    }

    #[test]
    fn a_mailbox_is_written_in_one_way() {
        for good in [
            "operator@localhost",
            "Anna.Berg+pilvi@example.org",
            "o'b@x-1.example",
            "änna@example.org",
            "anna@xn--exmple-cua.org",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "anna",
            "@example.org",
            "anna@",
            "x<anna@example.org>",
            "\"owner@example.org\"<evil@example.net>",
            "\"anna\"@example.org",
            "anna(x)@example.org",
            "a@b@example.org",
            "anna@example.org,bert@example.org",
            "a;b@example.org",
            ".anna@example.org",
            "an..na@example.org",
            "anna@example..org",
            "anna@-example.org",
            "anna@[127.0.0.1]",
            "anna @example.org",
            "anna@example.org\r\nBcc: bert@example.org",
            "anna\0@example.org",
            "an\u{200b}na@example.org",
            "\u{202e}anna@example.org",
            "a\u{308}nna@example.org",
            "anna@ｅxample.org",
            &format!("{}@example.org", "a".repeat(EMAIL_BYTES_MAX)),
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
