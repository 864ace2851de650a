//! Who may do what at a gateway (`mws.md` §5), and its configuration (§3.7).

use std::sync::Arc;

use http::HeaderMap;
use pilvi_base::Secret;
use pilvi_core::{AppUser, AppUsers};
use pilvi_model::{Error, GatewayId, Instance, Result};
use pilvi_web::{Scheme, bearer, has_authorization};

use crate::register::Register;
use crate::settings::plan::{Plan, Plans};
use crate::settings::{Mode, Settings};

/// Whom a gateway asks about those who come.
#[derive(Clone, Copy)]
pub(crate) struct Advisers<'a> {
    pub(crate) register: &'a Register,
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
    /// The gateway of this id. Where there is only one, paths name none.
    pub(crate) async fn find(register: &Register, id: &str) -> Result<Self> {
        let instance = register.find(id).await?;
        let instance = instance.ok_or_else(|| Error::not_found("there is no such gateway"))?;
        let id = instance.id.parse().map_err(Error::internal)?;
        Ok(Self { id, instance })
    }

    /// Lets the caller pass or says why not, in the order that old clients know. The user is the one behind the token,
    /// when there is one.
    pub(crate) async fn admit(
        &self,
        act: Act,
        headers: &HeaderMap,
        advisers: Advisers<'_>,
    ) -> Result<Option<AppUser>> {
        if self.is_open_to_anyone(act) {
            return Ok(None);
        }
        if !has_authorization(headers) {
            return Err(Error::unauthenticated("Authorization header is required"));
        }
        let denied = || Error::unauthenticated("Access denied");
        let token = bearer(headers, Scheme::Exact).ok_or_else(denied)?;
        if advisers
            .register
            .administers(&token, &self.instance)
            .await?
        {
            return Ok(None);
        }
        let user = match act.list() {
            Some(_) => self.user(&token, advisers).await?,
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

    /// The user of the gateway's backend who holds the token.
    async fn user(&self, token: &Secret, advisers: Advisers<'_>) -> Result<Option<AppUser>> {
        let Some(backend) = self.settings().users_backend() else {
            return Ok(None);
        };
        let account = self.instance.account;
        match advisers.register.may_ask(account, backend).await? {
            true => advisers.users.who(backend, token).await,
            false => Ok(None),
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

    /// What it does beyond the plain way of a message.
    pub(crate) fn plan(&self, plans: &Plans) -> Arc<Plan> {
        plans.of(self.id, &self.instance)
    }
}
