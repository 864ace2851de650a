//! Who may do what at a gateway (`mws.md` §5), and its configuration (§3.7).

use std::sync::Arc;

use http::HeaderMap;
use pilvi_base::Secret;
use pilvi_core::{AppUser, AppUsers, Directory, Identity};
use pilvi_model::{Error, GatewayId, Instance, Provider, Result};
use pilvi_web::{Scheme, bearer, has_authorization};

use crate::settings::{Mode, Settings};

/// Whom a gateway asks about those who come.
#[derive(Clone, Copy)]
pub(crate) struct Register<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) directory: &'a Directory,
    pub(crate) users: &'a dyn AppUsers,
}

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

impl Act {
    /// The list of permissions that users need to be in; `None`: no user may.
    fn list(self) -> Option<&'static str> {
        match self {
            Self::Read => Some("read"),
            Self::Write => Some("write"),
            Self::Administer => None,
        }
    }
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

    /// Lets the caller pass or says why not, in the order that old clients know. The user is the one behind the token,
    /// when there is one.
    pub(crate) async fn admit(
        &self,
        act: Act,
        headers: &HeaderMap,
        register: Register<'_>,
    ) -> Result<Option<AppUser>> {
        if self.is_open_to_anyone(act) {
            return Ok(None);
        }
        if !has_authorization(headers) {
            return Err(Error::unauthenticated("Authorization header is required"));
        }
        let denied = || Error::unauthenticated("Access denied");
        let token = bearer(headers, Scheme::Exact).ok_or_else(denied)?;
        if register
            .identity
            .administers(&token, &self.instance)
            .await?
        {
            return Ok(None);
        }
        let user = match act.list() {
            Some(_) => self.user(&token, register).await?,
            None => None,
        };
        let user = user.ok_or_else(denied)?;
        let settings = self.settings();
        if act.list().is_some_and(|list| settings.permit(list, &user)) {
            Ok(Some(user))
        } else {
            Err(Error::forbidden("Access denied"))
        }
    }

    /// The user of the gateway's backend who holds the token. A backend of another account is none of ours.
    async fn user(&self, token: &Secret, register: Register<'_>) -> Result<Option<AppUser>> {
        let Some(backend) = self.settings().users_backend() else {
            return Ok(None);
        };
        let name = backend.to_string();
        let found = register.directory.find(Provider::Eds, &name).await?;
        match found.filter(|found| found.account == self.instance.account) {
            Some(_) => register.users.who(backend, token).await,
            None => Ok(None),
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
