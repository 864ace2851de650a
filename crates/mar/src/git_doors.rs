//! Who may push and fetch, and the HTTP address of the repositories.
//!
//! | comes with | may |
//! | --- | --- |
//! | the ssh key or a personal access token of a person | what their role allows, in each account they belong to |
//! | an account token | what its member's role allows, in that account |
//! | an app's own security token | everything, with that app |
//!
//! Every role may fetch; owners and developers may push. An app of somebody else does not exist.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use futures_util::future::BoxFuture;
use http::StatusCode;
use pilvi_base::Secret;
use pilvi_core::{Directory, Identity, Principal, Rates};
use pilvi_git::{Access, Gatekeeper, Git, Pusher};
use pilvi_model::{Error, PersonId, Provider, Result};
use pilvi_store::Store;
use pilvi_store::platform::{Person, Role};
use pilvi_web::{Arrival, Cors, Manners, Refusal, Site, Worded};
use serde_json::{Value, json};

/// Knows keys, tokens and roles from the platform's data.
#[derive(Clone, Debug)]
pub struct Gate {
    store: Store,
    directory: Directory,
    identity: Identity,
    rates: Option<Rates>,
}

impl Gate {
    pub fn new(store: Store, directory: Directory) -> Self {
        Self {
            identity: Identity::new(store.clone()),
            store,
            directory,
            rates: None,
        }
    }

    /// How many unknown keys may come from one address. Without it as many as like.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        Self {
            rates: Some(rates),
            ..self
        }
    }

    /// Like tokens at the other doors: where too many unknown keys came from, only known ones are looked at.
    async fn find_key_holder(&self, fingerprint: &str, peer: IpAddr) -> Result<Option<Pusher>> {
        let key = self
            .rates
            .as_ref()
            .map(|rates| (rates, rates.token("ssh", fingerprint.as_bytes())));
        if let Some((rates, key)) = key
            && !rates.is_known(key)
            && rates.check_failures(peer).is_err()
        {
            return Ok(None);
        }
        let holder = self.store.find_ssh_key_holder(fingerprint.to_owned());
        let holder = holder.await?;
        match (key, &holder) {
            (Some((rates, key)), Some(_)) => rates.welcome(key),
            (Some((rates, key)), None) => rates.failed(key, peer),
            (None, _) => {}
        }
        Ok(holder.map(pusher))
    }

    async fn find_token_holder(&self, token: Secret) -> Result<Option<Pusher>> {
        Ok(match self.identity.authenticate(&token).await? {
            Some(Principal::Person(id)) => self.store.find_person(id).await?.map(pusher),
            Some(Principal::Account { id, person }) => Some(Pusher::Account { id, person }),
            Some(Principal::Instance { id }) => Some(Pusher::Instance(id)),
            None => None,
        })
    }

    async fn check(&self, pusher: &Pusher, app: &str, access: Access) -> Result<()> {
        let found = self.directory.find(Provider::Mar, app).await?;
        let instance = found.ok_or_else(|| no_such_app(app))?;
        let in_account = |person: PersonId| self.store.find_role(instance.account, person);
        let role = match pusher {
            Pusher::Person { id, .. } => in_account(*id).await?,
            Pusher::Account { id, person } if *id == instance.account => {
                in_account(*person).await?
            }
            Pusher::Instance(id) if *id == instance.id => Some(Role::Owner),
            Pusher::Account { .. } | Pusher::Instance(_) => None,
        };
        decide(role, app, access)
    }
}

impl Gatekeeper for Gate {
    fn key_holder<'a>(
        &'a self,
        fingerprint: &'a str,
        peer: IpAddr,
    ) -> BoxFuture<'a, Result<Option<Pusher>>> {
        Box::pin(self.find_key_holder(fingerprint, peer))
    }

    fn token_holder(&self, token: Secret) -> BoxFuture<'_, Result<Option<Pusher>>> {
        Box::pin(self.find_token_holder(token))
    }

    fn may<'a>(
        &'a self,
        pusher: &'a Pusher,
        app: &'a str,
        access: Access,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.check(pusher, app, access))
    }
}

fn pusher(person: Person) -> Pusher {
    Pusher::Person {
        id: person.id,
        name: person.email,
    }
}

fn decide(role: Option<Role>, app: &str, access: Access) -> Result<()> {
    match (role, access) {
        (None, _) => Err(no_such_app(app)),
        (Some(Role::Viewer), Access::Write) => Err(Error::forbidden(
            "Your role in this account lets you fetch, but not push. Ask an owner of the account for the role of a \
             developer.",
        )),
        (Some(Role::Owner | Role::Developer), _) | (Some(Role::Viewer), Access::Read) => Ok(()),
    }
}

fn no_such_app(app: &str) -> Error {
    Error::not_found(format!(
        "There is no app {app} that you may use. Check the address of the remote, and whose key or token this is."
    ))
}

/// Where the repositories are found over HTTP, before the app's id.
const PREFIX: &str = "/git/";

/// The site of the repositories: `/git/<app>` is what a remote's address ends with.
pub fn git_site(git: Git) -> Site {
    let router = Router::new()
        .route("/git/{*path}", any(answer))
        .with_state(git);
    Site {
        router,
        manners: Arc::new(GitManners),
    }
}

async fn answer(State(git): State<Git>, arrival: Arrival, request: Request) -> Response {
    let answered = git.answer(PREFIX, arrival.peer.ip(), request);
    let mut response = answered.await.map(Body::new);
    // Git shows its refusals to a person only as they are.
    response.extensions_mut().insert(Worded);
    response
}

/// What is said where git's own words do not reach, as with a path that is no repository's.
#[derive(Clone, Copy, Debug)]
struct GitManners;

impl Manners for GitManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let body = json!({"error": {"reason": refusal.reason, "message": refusal.message}});
        (refusal.status, body)
    }

    /// Git is no browser.
    fn cors(&self) -> Cors {
        Cors::None
    }

    /// A push is not held in memory, and git itself watches its size, since only it can tell the pusher.
    fn body_max_bytes(&self) -> usize {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::Kind;

    use super::*;

    #[test]
    fn a_role_decides_and_without_one_there_is_no_app() {
        use Access::{Read, Write};
        for (role, access, refused) in [
            (Some(Role::Owner), Read, None),
            (Some(Role::Owner), Write, None),
            (Some(Role::Developer), Read, None),
            (Some(Role::Developer), Write, None),
            (Some(Role::Viewer), Read, None),
            (Some(Role::Viewer), Write, Some(Kind::Forbidden)),
            (None, Read, Some(Kind::NotFound)),
            (None, Write, Some(Kind::NotFound)),
        ] {
            let decided = decide(role, "mar-eu-1-twwto7g0", access);
            assert_eq!(
                decided.err().map(|error| error.kind),
                refused,
                "{role:?} {access:?}"
            );
        }
    }
}
