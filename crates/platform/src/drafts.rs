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
        match text_fault(name) {
            Some(TextFault::Blank) => self.add("name", "is required"),
            Some(fault) => self.add("name", fault.to_string()),
            None => {}
        }
    }

    /// Only the shape: whether mail arrives there is for the sender of mail to find out.
    pub(crate) fn check_email(&mut self, email: &str) {
        let is_address = email
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            && email.len() <= EMAIL_BYTES_MAX
            && !email.chars().any(|c| c.is_whitespace() || c.is_control());
        if !is_address {
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

fn text_fault(text: &str) -> Option<TextFault> {
    if text.trim().is_empty() {
        Some(TextFault::Blank)
    } else if text.chars().count() > NAME_CHARS_MAX {
        Some(TextFault::Long)
    } else if text.chars().any(char::is_control) {
        Some(TextFault::Control)
    } else {
        None
    }
}
