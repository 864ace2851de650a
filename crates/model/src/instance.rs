//! An instance: one EDS backend, MWS gateway, MAR app or MDB database of an account.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::{AccountId, Error, Timestamp};

/// The service that runs an instance; clients call it the service provider (`platform.md` §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    Eds,
    Mws,
    Mar,
    Mdb,
}

impl Provider {
    pub const ALL: [Self; 4] = [Self::Eds, Self::Mws, Self::Mar, Self::Mdb];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eds => "eds",
            Self::Mws => "mws",
            Self::Mar => "mar",
            Self::Mdb => "mdb",
        }
    }

    /// What people read: `serviceProvider.title`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Eds => "Enginio Data Storage",
            Self::Mws => "Managed WebSocket",
            Self::Mar => "Managed Application Runtime",
            Self::Mdb => "Managed Databases",
        }
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(
                    "serviceProviderId",
                    "is not a service provider; use eds, mws, mar or mdb",
                )
            })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// 24 hex characters for EDS and MWS, `mar-eu-1-…` and `mdb-eu-1-…` for the others.
    pub id: String,
    pub provider: Provider,
    pub account: AccountId,
    pub name: String,
    pub tags: Vec<String>,
    /// What the provider keeps about it, such as a gateway's access control.
    pub config: Map<String, Value>,
    pub datacenter: String,
    pub created_at: Timestamp,
}
