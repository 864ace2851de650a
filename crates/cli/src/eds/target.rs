//! Which data backend a command is about, and calls to it.

use bytes::Bytes;
use clap::Args;
use hyper::body::Incoming;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Code, Failure, Result};
use crate::service::{Instance, Kind};
use crate::session::Session;
use crate::url::Base;

#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The data backend, by its id or its name [default: your only one]
    #[arg(long, global = true, value_name = "BACKEND", env = "PILVI_BACKEND")]
    backend: Option<String>,
    /// Work with the data as nobody, without any token: what works so works for everybody
    #[arg(long, global = true)]
    anonymous: bool,
}

impl Target {
    pub(super) async fn find(&self, session: &Session<'_, '_>) -> Result<Instance> {
        Instance::find(session, Kind::Eds, self.backend.as_deref()).await
    }

    /// The data backend, ready to be called.
    pub(super) async fn open(&self, session: &Session<'_, '_>) -> Result<Backend> {
        let instance = self.find(session).await?;
        let base = instance.base(session).await?;
        let client = match self.anonymous {
            true => session.client.with_token(None),
            false => instance.client(session).await?,
        };
        Ok(Backend {
            client: client.about_backend(&instance.id),
            anonymous: self.anonymous,
            instance,
            base,
        })
    }
}

/// A data backend, and who calls it.
pub(super) struct Backend {
    pub(super) instance: Instance,
    pub(super) client: Client,
    base: Base,
    anonymous: bool,
}

impl Backend {
    pub(super) async fn get(&self, resource: &str) -> Result<Value> {
        self.told(self.client.get(&self.base, resource).await)
    }

    /// An answer that goes on until one side ends it.
    pub(super) async fn open(&self, resource: &str) -> Result<Incoming> {
        self.told(self.client.open(&self.base, resource).await)
    }

    pub(super) async fn post(&self, resource: &str, body: &Value) -> Result<Value> {
        self.told(self.client.post(&self.base, resource, body).await)
    }

    pub(super) async fn put(&self, resource: &str, body: &Value) -> Result<Value> {
        self.told(self.client.put(&self.base, resource, body).await)
    }

    /// A piece of a file, in memory.
    pub(super) async fn piece(&self, resource: &str, range: &str, bytes: Bytes) -> Result<Value> {
        self.told(self.client.piece(&self.base, resource, range, bytes).await)
    }

    pub(super) async fn delete(&self, resource: &str) -> Result<Value> {
        self.told(self.client.delete(&self.base, resource).await)
    }

    /// A DELETE that says in its body what is meant.
    pub(super) async fn delete_with(&self, resource: &str, body: &Value) -> Result<Value> {
        let answer = self.client.delete_with(&self.base, resource, body).await;
        self.told(answer)
    }

    /// What helps against a refusal of the data backend. Verbs know better ways in some cases.
    fn told<T>(&self, answer: Result<T>) -> Result<T> {
        let known = "see `pilvi eds query TYPE` for the objects that there are";
        let values = "see `pilvi eds --help` and docs/reference.md for what is accepted";
        answer.map_err(|failure| {
            let failure = failure
                .on(Code::NotFound, known)
                .on(Code::Refused, values)
                .on(
                    Code::Unreachable,
                    "see with `pilvi eds query` whether it was done all the same, and try again",
                );
            if self.anonymous {
                self.as_nobody(failure)
            } else {
                failure
            }
        })
    }

    /// There was no token that could be wrong.
    fn as_nobody(&self, failure: Failure) -> Failure {
        match failure.code {
            Code::Denied | Code::Forbidden => Failure::new(
                Code::Denied,
                format!("{} does not let everybody do this", self.instance.id),
                "leave out --anonymous",
            ),
            _ => failure,
        }
    }
}
