//! Who comes in.

use std::fmt;
use std::net::IpAddr;

use futures_util::future::BoxFuture;
use pilvi_base::Secret;
use pilvi_model::{AccountId, PersonId, Result};

/// Somebody who was recognised at a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pusher {
    /// A person, by an ssh key or a personal access token. The name is for people to read.
    Person { id: PersonId, name: String },
    /// The bearer of the account token of one member.
    Account { id: AccountId, person: PersonId },
    /// The bearer of the token of one instance.
    Instance(String),
}

/// In words for people.
impl fmt::Display for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { name, .. } => f.write_str(name),
            Self::Account { .. } => f.write_str("the account token"),
            Self::Instance(_) => f.write_str("the app's own token"),
        }
    }
}

/// What somebody wants to do with an app's repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Clone and fetch.
    Read,
    /// Push, and thereby deploy.
    Write,
}

/// Knows keys, tokens and rights. Every call may come from anybody on the network.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Whose key this is, by its fingerprint in the form `SHA256:…`; `None`: nobody's, or nobody's that is heard now
    /// from this address.
    fn key_holder<'a>(
        &'a self,
        fingerprint: &'a str,
        peer: IpAddr,
    ) -> BoxFuture<'a, Result<Option<Pusher>>>;

    /// Whose token this is; `None`: nobody's.
    fn token_holder(&self, token: Secret) -> BoxFuture<'_, Result<Option<Pusher>>>;

    /// Whether the pusher may do this with the app. The error's message is for the pusher; an app that they may not
    /// know of is not found.
    fn may<'a>(
        &'a self,
        pusher: &'a Pusher,
        app: &'a str,
        access: Access,
    ) -> BoxFuture<'a, Result<()>>;
}
