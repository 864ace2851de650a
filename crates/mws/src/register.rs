//! Which gateways there are, and whom they believe: those of a cloud, or the one that a process is there for.

use std::sync::Arc;

use pilvi_base::Secret;
use pilvi_core::signing::Signing;
use pilvi_core::{Actor, Directory, Identity};
use pilvi_model::{AccountId, BackendId, Error, GatewayId, Instance, Provider, Result};
use serde_json::{Map, Value};

use crate::single::SingleGateway;

/// Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) enum Register {
    /// The instances of a cloud, with their tokens.
    Cloud {
        identity: Identity,
        directory: Directory,
    },
    /// One gateway, as the environment of the process describes it.
    Single(Arc<SingleGateway>),
}

impl Register {
    /// The gateway of this id, if there is one. Where there is only one, paths name none.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Arc<Instance>>> {
        match self {
            // An id of another shape cannot be known; it need not reach the store.
            Self::Cloud { .. } if id.parse::<GatewayId>().is_err() => Ok(None),
            Self::Cloud { directory, .. } => directory.find(Provider::Mws, id).await,
            Self::Single(gateway) => Ok(Some(gateway.instance())),
        }
    }

    /// Whether the token is a security token of this gateway, or stands for one.
    pub(crate) async fn administers(&self, token: &Secret, gateway: &Instance) -> Result<bool> {
        match self {
            Self::Cloud { identity, .. } => identity.administers(token, gateway).await,
            Self::Single(single) => Ok(single.is_opened_by(token)),
        }
    }

    /// Whether a gateway of this account may ask who the users of a backend are. In a cloud a backend of another
    /// account is none of its business; who sets up a single gateway names the backend that they mean.
    pub(crate) async fn may_ask(&self, account: AccountId, backend: BackendId) -> Result<bool> {
        match self {
            Self::Cloud { directory, .. } => {
                let found = directory.find(Provider::Eds, &backend.to_string()).await?;
                Ok(found.is_some_and(|found| found.account == account))
            }
            Self::Single(_) => Ok(true),
        }
    }

    /// Where all sockets connect to, if that has been said.
    pub(crate) fn public_base(&self) -> Option<&str> {
        match self {
            Self::Cloud { .. } => None,
            Self::Single(single) => single.public_base(),
        }
    }

    /// What events are signed with, if that was given from outside.
    pub(crate) fn signing(&self) -> Option<&Signing> {
        match self {
            Self::Cloud { .. } => None,
            Self::Single(single) => Some(single.signing()),
        }
    }

    /// Who holds a token, for the audit log.
    pub(crate) async fn actor(&self, token: &Secret) -> Result<Actor> {
        match self {
            Self::Cloud { identity, .. } => {
                let principal = identity.authenticate(token).await?;
                Ok(principal.as_ref().map_or(Actor::Nobody, Actor::from))
            }
            Self::Single(single) => Ok(match single.is_opened_by(token) {
                true => Actor::Instance(single.instance().id.clone()),
                false => Actor::Nobody,
            }),
        }
    }

    /// Stores a new configuration, and a new name when there is one.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Forbidden`] where the environment has set the gateway up.
    pub(crate) async fn configure(
        &self,
        id: &str,
        name: Option<String>,
        config: Map<String, Value>,
    ) -> Result<Arc<Instance>> {
        match self {
            Self::Cloud { directory, .. } => directory.configure(id, name, config).await,
            Self::Single(_) => Err(Error::forbidden(
                "this gateway is set up by the environment of its process; change that and start it anew",
            )),
        }
    }
}
