//! What the operator chooses: datacenters and bounds.

use std::time::Duration;

use pilvi_model::Error;

use crate::{ProviderSettings, Registration};

/// A place that instances can be in. Every server has at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datacenter {
    id: String,
    pub description: String,
}

impl Datacenter {
    /// The classic command line takes an instance's datacenter from the instance's id, by a pattern of two words
    /// joined by one hyphen, and shows 20 characters of that id; a name that breaks this crashes it
    /// (`platform.md` §5.2).
    pub fn new(id: impl Into<String>, description: impl Into<String>) -> Result<Self, Error> {
        const LENGTH_MAX: usize = 7;
        let id = id.into();
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let fits = id.len() <= LENGTH_MAX
            && id
                .split_once('-')
                .is_some_and(|(first, second)| is_word(first) && is_word(second));
        if !fits {
            return Err(Error::invalid(
                "datacenters",
                format!(
                    "holds `{id}`; a datacenter's name is two words of lower-case letters and digits, joined by \
                     one hyphen and together at most {LENGTH_MAX} characters long, such as eu-1"
                ),
            ));
        }
        Ok(Self {
            id,
            description: description.into(),
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

/// How much of everything there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub accounts_per_person: u32,
    pub instances_per_account: u32,
    /// Personal access tokens of a person, or security tokens of an instance.
    pub tokens_per_holder: u32,
    pub ssh_keys_per_person: u32,
    pub members_per_account: u32,
    /// Invitations to an account that wait for an answer.
    pub invitations_per_account: u32,
    /// Invitations that one person sends.
    pub invitations_per_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts_per_person: 50,
            instances_per_account: 200,
            tokens_per_holder: 50,
            ssh_keys_per_person: 50,
            members_per_account: 200,
            invitations_per_account: 50,
            invitations_per_day: 100,
        }
    }
}

/// The platform's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// New accounts are in this one, unless they ask for another.
    pub datacenter: Datacenter,
    pub more_datacenters: Vec<Datacenter>,
    pub registration: Registration,
    /// Where people find this server, without a slash at the end: links in mails begin with it. Never taken from a
    /// request, which could name the server of somebody else.
    pub public_url: String,
    /// Providers of single sign-on, in the order in which pages offer them.
    pub sign_on: Vec<ProviderSettings>,
    /// How long a deleted instance can be restored; zero: it is gone at once.
    pub deleted_instances_kept: Duration,
    pub limits: Limits,
}

impl Settings {
    /// The datacenters, the default one first.
    pub fn datacenters(&self) -> impl Iterator<Item = &Datacenter> {
        std::iter::once(&self.datacenter).chain(&self.more_datacenters)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let datacenter = Datacenter {
            id: "eu-1".to_owned(),
            description: "This server".to_owned(),
        };
        Self {
            datacenter,
            more_datacenters: Vec::new(),
            registration: Registration::default(),
            public_url: "http://localhost:8080".to_owned(),
            sign_on: Vec::new(),
            deleted_instances_kept: Duration::from_secs(7 * 24 * 60 * 60),
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datacenter_has_the_name_that_old_clients_can_read() {
        for fits in ["eu-1", "us-1", "local-1"] {
            assert_eq!(Datacenter::new(fits, "").unwrap().id(), fits);
        }
        for wrong in [
            "",
            "-",
            "eu",
            "eu-",
            "-1",
            "eu-west-1",
            "EU-1",
            "eu-1 ",
            "europe-1",
            "eu-ä",
        ] {
            assert!(Datacenter::new(wrong, "").is_err(), "{wrong}");
        }
        let settings = Settings::default();
        assert!(Datacenter::new(settings.datacenter.id(), "").is_ok());
    }
}
