//! What the commands of EDS and MWS have in common: which instance is meant, where its service is found, and the
//! security token that opens it.
//!
//! The person's own token opens the platform only. A command asks the platform for the security token of the instance
//! and works with that one.

mod create;
mod events;
mod list;
mod remove;
mod stream;
mod token;

use pilvi_base::Secret;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Code, Failure, Result};
use crate::session::{Account, Session, results, text};
use crate::url::{Base, segment};

pub(crate) use create::{Common, create};
pub(crate) use events::{Event, Events};
pub(crate) use list::list;
pub(crate) use remove::Remove;
pub(crate) use stream::{Patience, interrupted, pause_or_stop};
pub(crate) use token::Token;

/// How many names a message lists before it says that there are more.
const NAMES_SHOWN_MAX: usize = 10;

/// One of the services whose instances are looked after here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eds,
    Mws,
}

impl Kind {
    /// As the platform and the command line call it.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Eds => "eds",
            Self::Mws => "mws",
        }
    }

    /// What people call an instance.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Eds => "data backend",
            Self::Mws => "gateway",
        }
    }

    /// The option that names an instance.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Eds => "--backend",
            Self::Mws => "--gateway",
        }
    }

    /// What belongs to an instance and goes with it.
    fn belongings(self) -> &'static str {
        match self {
            Self::Eds => "objects, users, webhooks and tokens",
            Self::Mws => "sockets, configuration and tokens",
        }
    }

    /// Whether everybody who knows the id of an instance may use it.
    fn is_open(self, instance: &Value) -> bool {
        let config = &instance["config"];
        match self {
            Self::Eds => config["openness"] != "private",
            Self::Mws => config["accessControl"].is_null() || config["accessControl"] == "none",
        }
    }

    /// What that means, as a sentence; for an instance that is closed, who may use it.
    fn access_in_words(self, instance: &Value) -> String {
        match (self, self.is_open(instance)) {
            (Self::Eds, true) => {
                "open: everybody who knows its id may read and change everything in it".into()
            }
            (Self::Eds, false) => {
                "private: what a user creates is theirs until they share it".into()
            }
            (Self::Mws, true) => "open: everybody who knows its id may send and listen".into(),
            (Self::Mws, false) if instance["config"]["accessControl"] == "eds" => {
                let backend = text(&instance["config"]["identityProvider"], "backendId");
                format!("for the users of the data backend {backend}")
            }
            (Self::Mws, false) => "private: only with its security token".into(),
        }
    }
}

/// An instance, as the platform shows it.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) facts: Value,
}

impl Instance {
    fn new(kind: Kind, facts: Value) -> Self {
        Self {
            kind,
            id: text(&facts, "id"),
            facts,
        }
    }

    /// The instance with this id or name; without either, the only one there is.
    pub(crate) async fn find(
        session: &Session<'_, '_>,
        kind: Kind,
        named: Option<&str>,
    ) -> Result<Self> {
        let named = named.map(str::trim).filter(|named| !named.is_empty());
        if let Some(id) = named.filter(|named| is_id(named)) {
            return Self::get(session, kind, id).await;
        }
        let accounts = session.accounts().await?;
        let found: Vec<Value> = all(session, kind, &accounts)
            .await?
            .into_iter()
            .map(|(_, instance)| instance)
            .filter(|instance| named.is_none_or(|name| instance["name"] == name))
            .collect();
        match (<[Value; 1]>::try_from(found), named) {
            (Ok([only]), _) => Ok(Self::new(kind, only)),
            (Err(several), _) if !several.is_empty() => Err(ambiguous(kind, &several, named)),
            (Err(_), Some(name)) => Err(Failure::new(
                Code::NotFound,
                format!("you have no {} called {name}", kind.noun()),
                format!("see `pilvi {} list` for those that you have", kind.id()),
            )),
            (Err(_), None) => Err(Failure::new(
                Code::NotFound,
                format!("you have no {} yet", kind.noun()),
                format!("create one with `pilvi {} create NAME`", kind.id()),
            )),
        }
    }

    async fn get(session: &Session<'_, '_>, kind: Kind, id: &str) -> Result<Self> {
        let next = format!("see `pilvi {} list` for those that you have", kind.id());
        let facts = session
            .client
            .get(&session.platform, &format!("instances/{}", segment(id)))
            .await
            .map_err(|failure| failure.on(Code::NotFound, next.clone()))?;
        match facts["serviceProviderId"] == kind.id() {
            true => Ok(Self::new(kind, facts)),
            false => Err(Failure::new(
                Code::NotFound,
                format!("{id} is no {}", kind.noun()),
                next,
            )),
        }
    }

    /// Where its service is found.
    pub(crate) async fn base(&self, session: &Session<'_, '_>) -> Result<Base> {
        let datacenter = text(&self.facts, "datacenterId");
        let found = session.find_service(self.kind.id(), &datacenter).await?;
        found.ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!(
                    "{} runs no {} service where {} is",
                    session.platform,
                    self.kind.id(),
                    self.id
                ),
                "see whether --url names the right server",
            )
        })
    }

    /// A client that shows the security token of the instance. An account's token may not read that one, and opens
    /// the account's instances itself.
    pub(crate) async fn client(&self, session: &Session<'_, '_>) -> Result<Client> {
        match self.token(session).await {
            Ok(token) => Ok(session.client.with_token(Some(token))),
            Err(failure) if failure.code == Code::Forbidden => {
                let person = session.client.get(&session.platform, "user").await;
                match person {
                    Err(refusal) if refusal.code == Code::Forbidden => Ok(session.client.again()),
                    _ => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Its oldest security token.
    pub(crate) async fn token(&self, session: &Session<'_, '_>) -> Result<Secret> {
        let answer = self.tokens(session).await?;
        let first = results(&answer).first();
        let token = first.and_then(|token| token["access_token"].as_str());
        token.map(Secret::new).ok_or_else(|| {
            Failure::new(
                Code::Refused,
                format!("{} has no security token", self.id),
                format!(
                    "make one with `pilvi {} token new {} {}`",
                    self.kind.id(),
                    self.kind.option(),
                    self.id
                ),
            )
        })
    }

    pub(crate) async fn tokens(&self, session: &Session<'_, '_>) -> Result<Value> {
        let answer = session
            .client
            .get(&session.platform, &self.resource("/authorizations"))
            .await;
        answer.map_err(|failure| {
            let next = "see `pilvi clouds members` for whom to ask; --anonymous does what everybody may do";
            failure.on(Code::Forbidden, next)
        })
    }

    fn resource(&self, below: &str) -> String {
        format!("instances/{}{below}", segment(&self.id))
    }
}

/// All instances of a kind in these accounts, each with the name of its account.
async fn all(
    session: &Session<'_, '_>,
    kind: Kind,
    accounts: &[Account],
) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for account in accounts {
        let resource = format!(
            "accounts/{}/instances?provider={}",
            segment(&account.id),
            kind.id()
        );
        let answer = session.client.get(&session.platform, &resource).await?;
        let found = results(&answer).iter().cloned();
        all.extend(found.map(|instance| (account.name.clone(), instance)));
    }
    Ok(all)
}

fn ambiguous(kind: Kind, several: &[Value], named: Option<&str>) -> Failure {
    let shown = several.iter().take(NAMES_SHOWN_MAX);
    let mut names: Vec<String> = shown
        .map(|instance| format!("{} ({})", text(instance, "id"), text(instance, "name")))
        .collect();
    if several.len() > NAMES_SHOWN_MAX {
        names.push(format!("and {} more", several.len() - NAMES_SHOWN_MAX));
    }
    let called = named.map_or_else(String::new, |name| format!(" called {name}"));
    let what = format!(
        "there are several {}s{called}: {}",
        kind.noun(),
        names.join(", ")
    );
    Failure::usage(what, format!("name one with {} ID", kind.option()))
}

/// 24 hex characters. A name of that shape can only be meant as an id.
fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
