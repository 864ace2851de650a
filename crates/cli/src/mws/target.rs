//! Which gateway a command is about, and calls to it.

use clap::Args;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Code, Failure, Result};
use crate::service::{Instance, Kind};
use crate::session::Session;
use crate::url::{Base, segment};

#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The gateway, by its id or its name [default: your only one]
    #[arg(long, global = true, value_name = "GATEWAY", env = "PILVI_GATEWAY")]
    gateway: Option<String>,
    /// Send and listen as nobody, without any token: what works so works for everybody
    #[arg(long, global = true)]
    anonymous: bool,
}

impl Target {
    pub(super) async fn find(&self, session: &Session<'_, '_>) -> Result<Instance> {
        Instance::find(session, Kind::Mws, self.gateway.as_deref()).await
    }

    /// The gateway, ready to be called.
    pub(super) async fn open(&self, session: &Session<'_, '_>) -> Result<Gateway> {
        let instance = self.find(session).await?;
        let base = instance.base(session).await?;
        let client = match self.anonymous {
            true => session.client.with_token(None),
            false => instance.client(session).await?,
        };
        Ok(Gateway {
            base: base.below(&format!("/gateways/{}", segment(&instance.id))),
            client,
            instance,
            anonymous: self.anonymous,
        })
    }
}

/// A gateway, and who calls it.
pub(super) struct Gateway {
    pub(super) instance: Instance,
    pub(super) client: Client,
    pub(super) base: Base,
    pub(super) anonymous: bool,
}

impl Gateway {
    pub(super) async fn get(&self, resource: &str) -> Result<Value> {
        self.told(self.client.get(&self.base, resource).await)
    }

    pub(super) async fn post(&self, resource: &str, body: &Value) -> Result<Value> {
        self.told(self.client.post(&self.base, resource, body).await)
    }

    pub(super) async fn put(&self, resource: &str, body: &Value) -> Result<Value> {
        self.told(self.client.put(&self.base, resource, body).await)
    }

    pub(super) async fn delete(&self, resource: &str) -> Result<Value> {
        self.told(self.client.delete(&self.base, resource).await)
    }

    /// What helps against a refusal of the gateway. Verbs know better ways in some cases.
    fn told(&self, answer: Result<Value>) -> Result<Value> {
        answer.map_err(|failure| match failure.code {
            // There was no token that could be wrong.
            Code::Denied | Code::Forbidden if self.anonymous => Failure::new(
                Code::Denied,
                format!("{} does not let everybody do this", self.instance.id),
                "leave out --anonymous",
            ),
            _ => failure
                .on(
                    Code::NotFound,
                    "see `pilvi mws list` for the gateways that there are",
                )
                .on(
                    Code::Refused,
                    "see `pilvi mws --help` and docs/reference.md for what is accepted",
                )
                .on(
                    Code::Unreachable,
                    "see with `pilvi mws show` whether it is there, and try again",
                ),
        })
    }
}
