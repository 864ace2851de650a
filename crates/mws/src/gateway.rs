//! Who may do what at a gateway (`mws.md` §5), and its configuration (§3.7).

use std::sync::Arc;

use http::HeaderMap;
use pilvi_core::{Directory, Identity};
use pilvi_model::{Error, GatewayId, Instance, Provider, Result};
use pilvi_web::{Scheme, bearer, has_authorization};

use crate::settings::{Mode, Settings};

/// An MWS instance that exists.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) id: GatewayId,
    instance: Arc<Instance>,
}

/// What somebody wants to do at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Get an URI to listen at.
    Read,
    /// Send messages.
    Write,
    /// Everything else.
    Administer,
}

impl Gateway {
    pub(crate) async fn find(directory: &Directory, id: &str) -> Result<Self> {
        let unknown = || Error::not_found("there is no such gateway");
        // An id of another shape cannot be known; it need not reach the store.
        let gateway_id = id.parse().map_err(|_| unknown())?;
        let instance = directory
            .find(Provider::Mws, id)
            .await?
            .ok_or_else(unknown)?;
        Ok(Self {
            id: gateway_id,
            instance,
        })
    }

    /// Lets the caller pass or says why not, in the order that old clients know.
    pub(crate) async fn admit(
        &self,
        act: Act,
        headers: &HeaderMap,
        identity: &Identity,
    ) -> Result<()> {
        if self.is_open_to_anyone(act) {
            return Ok(());
        }
        if !has_authorization(headers) {
            return Err(Error::unauthenticated("Authorization header is required"));
        }
        let administers = match bearer(headers, Scheme::Exact) {
            Some(token) => identity.administers(&token, &self.instance).await?,
            None => false,
        };
        if administers {
            Ok(())
        } else {
            Err(Error::unauthenticated("Access denied"))
        }
    }

    /// In mode `none` the header is not even looked at: clients with a stale token get through.
    fn is_open_to_anyone(&self, act: Act) -> bool {
        act != Act::Administer && Settings::of(&self.instance).mode == Mode::None
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::of(&self.instance)
    }
}
