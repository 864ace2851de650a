//! What travels when an instance is backed up and restored.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;

use pilvi_model::{Instance, Result};
use pilvi_store::snapshot::Facts;

/// How much of an instance is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: the archive holds nothing else.
    Alone,
    /// What is not in the platform's database and was not held: the archive holds both.
    WithServer,
}

/// Comes to what was counted in each database that was laid out, by its name in the folder.
pub type Exporting<'a> = Pin<Box<dyn Future<Output = Result<BTreeMap<String, Facts>>> + Send + 'a>>;

/// Comes to what could not be brought back, in sentences.
pub type Importing<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>>> + Send + 'a>>;

/// An instance that is made from what [`crate::Provisioner::export`] laid out.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The new instance.
    pub instance: &'a Instance,
    /// The id of the one that was laid out, which may be the same.
    pub origin: &'a str,
    /// What was laid out. It may be changed and moved.
    pub folder: &'a Path,
    /// The instance whose place the new one will take: see [`crate::Provisioner::replace`].
    pub replaces: Option<&'a Instance>,
    pub secrets: Secrets,
}

impl Incoming<'_> {
    /// The id that clients will know it by.
    pub fn known_as(&self) -> &str {
        &self.replaces.unwrap_or(self.instance).id
    }
}

/// Whether what is sealed in an archive is opened for whoever brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// As far as our keys do: this server made the archive, and whoever brings it may see them.
    Open,
    /// Who has an archive is not thereby let into what is sealed in it.
    LeaveBehind,
}

impl Secrets {
    /// Why a secret is missing, as the end of a sentence.
    pub fn why_lost(self) -> &'static str {
        match self {
            Self::Open => "sealed with a key that this server does not have",
            Self::LeaveBehind => {
                "sealed, and secrets come along only on their own server, for people of their own account"
            }
        }
    }
}

/// What becomes of a sealed value that no key at hand opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// It stays as it is: another key file may open it.
    Keep,
    /// It goes: nothing here will ever open it.
    Remove,
}
