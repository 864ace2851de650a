//! The platform in process: its real routes and rules over real SQLite, behind the real door.

mod account_api;
mod audit;
mod backups;
mod captures;
mod deletion;
mod device;
mod events;
mod instances;
mod invitations;
mod members;
mod oidc;
mod people;
mod quotas;
mod refusals;
mod ssh_keys;
mod tokens;
mod who_may;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::mail::Post;
use pilvi_core::passwords::Cost;
use pilvi_core::provisioner::Measuring;
use pilvi_core::{
    Audit, Directory, Exporting, Extent, Identity, Importing, Incoming, Mailer, Passwords,
    Provisioner, Provisioning, Secrets, Usage,
};
use pilvi_model::{AccountId, Error, Instance, PersonId, Provider, RequestId, Result};
use pilvi_store::Store;
use pilvi_store::platform::Role;
use pilvi_web::{Arrival, Door, Hosts, Service};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{Caller, FirstStart, InstanceDraft, Limits, Parts, Platform, Settings};

/// A server in a folder of its own after its first start.
struct World {
    platform: Platform,
    store: Store,
    directory: Directory,
    identity: Identity,
    eds: Arc<Shelf>,
    door: Door,
    person: PersonId,
    account: AccountId,
    /// The operator's personal access token.
    token: String,
    clock: Clock,
    tasks: TaskGroup,
    folder: TempDir,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl World {
    async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        Self::with_settings(Settings {
            limits,
            ..Settings::default()
        })
        .await
    }

    async fn with_settings(settings: Settings) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default())
            .await
            .unwrap();
        let tasks = TaskGroup::new();
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_millis(1_426_669_200_123));
        let identity = Identity::new(store.clone()).with_clock(clock.clone());
        let directory = Directory::new(store.clone(), tasks.clone());
        let eds = Arc::new(Shelf::new(Provider::Eds));
        let cost = Cost {
            memory_kib: 8,
            passes: 1,
        };
        let post = Post::Folder(folder.path().join("mail"));
        let mailer = Mailer::new(post, "pilvi@localhost", clock.clone(), tasks.clone()).unwrap();
        let platform = Platform::new(Parts {
            store: store.clone(),
            identity: identity.clone(),
            directory: directory.clone(),
            keyring: Keyring::from_bytes([7; 32]),
            clock: clock.clone(),
            tasks: tasks.clone(),
            passwords: Passwords::new(cost).unwrap(),
            mailer,
            audit: Audit::new(store.clone(), clock.clone(), tasks.clone()),
            settings,
            provisioners: vec![
                eds.clone(),
                Arc::new(Shelf::new(Provider::Mws)),
                Arc::new(Shelf::new(Provider::Mar)),
            ],
        });
        let FirstStart {
            person,
            account,
            token,
        } = platform.bootstrap().await.unwrap().unwrap();
        let door = Door::new(Hosts::shared(), pilvi_web::Limits::default())
            .site(Service::Platform, platform.site())
            .site(Service::Account, platform.account_site());
        Self {
            platform,
            store,
            directory,
            identity,
            eds,
            door,
            person,
            account,
            token: token.expose().to_owned(),
            clock,
            tasks,
            folder,
        }
    }

    /// A request of the operator.
    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call_as(&self.token, method, path, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }

    /// The status of an answer that may be no JSON.
    async fn status(&self, request: Request<Body>) -> u16 {
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        self.door.call(request, arrival).await.status().as_u16()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        let (parts, body) = self.door.call(request, arrival).await.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        assert_eq!(parts.headers["content-type"], "application/json");
        assert_eq!(parts.headers["content-length"], bytes.len().to_string());
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).expect("every answer is JSON"),
        }
    }

    /// Waits until everything that runs in the background is done.
    async fn rest(&self) {
        let quiet = async {
            while self.tasks.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let quiet = tokio::time::timeout(Duration::from_secs(60), quiet).await;
        quiet.expect("what runs in the background ends");
    }

    fn account_path(&self, rest: &str) -> String {
        format!("/v1/accounts/{}{rest}", self.account)
    }

    async fn add_instance(&self, provider: &str) -> Instance {
        let draft = InstanceDraft {
            name: "todos".to_owned(),
            provider: provider.to_owned(),
            ..InstanceDraft::default()
        };
        let caller = Caller::Person(self.person);
        self.platform
            .create_instance(&caller, self.account, draft)
            .await
            .unwrap()
    }

    /// Another person with an account and an instance of their own, and the tokens of all three.
    async fn add_neighbour(&self) -> Neighbour {
        let person = self
            .platform
            .create_person("neighbour@localhost".into(), "N".into());
        let person = person.await.unwrap();
        let caller = Caller::Person(person);
        let draft = crate::AccountDraft {
            name: "Next door".to_owned(),
            ..Default::default()
        };
        let account = self
            .platform
            .create_account(person, draft)
            .await
            .unwrap()
            .id;
        let draft = InstanceDraft {
            name: "theirs".to_owned(),
            provider: "eds".to_owned(),
            ..InstanceDraft::default()
        };
        let instance = self
            .platform
            .create_instance(&caller, account, draft)
            .await
            .unwrap();
        let token = self
            .platform
            .create_person_token(person, Default::default())
            .await
            .unwrap();
        let account_token = self
            .platform
            .find_account_token(&caller, account)
            .await
            .unwrap();
        Neighbour {
            person,
            account,
            instance: instance.id,
            token: token.secret.expose().to_owned(),
            account_token: account_token.unwrap().secret.expose().to_owned(),
        }
    }
}

impl World {
    /// Another member of the operator's account: a personal access token and the account token of their own.
    async fn add_member(&self, role: Role) -> (String, String) {
        let person = self
            .platform
            .create_person(format!("{role:?}@localhost"), "M".into());
        let person = person.await.unwrap();
        self.store
            .insert_member(self.account, person, role)
            .await
            .unwrap();
        let token = self
            .platform
            .create_person_token(person, Default::default())
            .await
            .unwrap();
        let caller = Caller::Person(person);
        let (account_token, _) = self
            .platform
            .create_account_token(&caller, self.account)
            .await
            .unwrap();
        let expose = |token: crate::IssuedToken| token.secret.expose().to_owned();
        (expose(token), expose(account_token))
    }
}

struct Neighbour {
    person: PersonId,
    account: AccountId,
    instance: String,
    token: String,
    account_token: String,
}

impl Answer {
    /// The first token of a list.
    fn first_token(&self) -> String {
        self.body["results"][0]["access_token"]
            .as_str()
            .expect("the list has a token")
            .to_owned()
    }

    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// A service that keeps one thing for each instance, in memory, and can be told to fail.
struct Shelf {
    provider: Provider,
    things: Mutex<BTreeSet<String>>,
    /// Those that were put away.
    cellar: Mutex<BTreeSet<String>>,
    broken: Mutex<Option<Step>>,
    /// Whether secrets came along, by restoration.
    arrived: Mutex<Vec<Secrets>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Create,
    Suspend,
    Resume,
    Remove,
    Measure,
    CreateAndRemove,
    Export,
    Import,
    Replace,
}

impl Shelf {
    fn new(provider: Provider) -> Self {
        Self {
            provider,
            things: Mutex::default(),
            cellar: Mutex::default(),
            broken: Mutex::default(),
            arrived: Mutex::default(),
        }
    }

    fn break_at(&self, step: impl Into<Option<Step>>) {
        *self.broken.lock().unwrap() = step.into();
    }

    fn holds(&self, id: &str) -> bool {
        self.things.lock().unwrap().contains(id)
    }

    fn has_put_away(&self, id: &str) -> bool {
        self.cellar.lock().unwrap().contains(id)
    }

    fn len(&self) -> usize {
        self.things.lock().unwrap().len()
    }

    fn check(&self, step: Step) -> Result<()> {
        match *self.broken.lock().unwrap() {
            Some(broken) if broken == step || broken == Step::CreateAndRemove => {
                Err(Error::unavailable("the shelf is broken"))
            }
            _ => Ok(()),
        }
    }
}

impl Provisioner for Shelf {
    fn provider(&self) -> Provider {
        self.provider
    }

    /// Apps have names of their own.
    fn new_id(&self, datacenter: &str) -> Option<String> {
        let number = self.len();
        (self.provider == Provider::Mar).then(|| format!("mar-{datacenter}-{number:08}"))
    }

    fn shown_config(&self, instance: &Instance) -> Map<String, Value> {
        let mut config = instance.config.clone();
        if self.provider == Provider::Mar {
            let address = format!("git@git-mar-eu-1.localhost:{}", instance.id);
            config.insert("MAR_GIT_ADDRESS".to_owned(), address.into());
        }
        config
    }

    fn create<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async {
            self.things.lock().unwrap().insert(instance.id.clone());
            self.check(Step::Create)
        })
    }

    /// Every backend holds a thousand bytes, and every gateway three sockets.
    fn usage<'a>(&'a self, _: &'a Instance) -> Measuring<'a> {
        let of = |provider, figure| (self.provider == provider).then_some(figure);
        let usage = Usage {
            storage_bytes: of(Provider::Eds, 1000),
            sockets: of(Provider::Mws, 3),
            ..Usage::default()
        };
        Box::pin(async move { self.check(Step::Measure).map(|()| usage) })
    }

    fn suspend<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async {
            self.check(Step::Suspend)?;
            self.cellar.lock().unwrap().insert(instance.id.clone());
            Ok(())
        })
    }

    fn resume<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async {
            self.check(Step::Resume)?;
            self.cellar.lock().unwrap().remove(&instance.id);
            Ok(())
        })
    }

    fn export<'a>(&'a self, _: &'a Instance, _: &'a Path, _: Extent) -> Exporting<'a> {
        Box::pin(async { self.check(Step::Export).map(|()| BTreeMap::new()) })
    }

    fn import<'a>(&'a self, incoming: Incoming<'a>) -> Importing<'a> {
        Box::pin(async move {
            let id = incoming.instance.id.clone();
            self.things.lock().unwrap().insert(id);
            self.arrived.lock().unwrap().push(incoming.secrets);
            self.check(Step::Import).map(|()| Vec::new())
        })
    }

    fn replace<'a>(&'a self, _: Incoming<'a>) -> Provisioning<'a> {
        Box::pin(async { self.check(Step::Replace) })
    }

    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async {
            self.check(Step::Remove)?;
            self.things.lock().unwrap().remove(&instance.id);
            Ok(())
        })
    }
}

fn error(reason: &str, message: &str) -> Value {
    json!({"error": {"reason": reason, "message": message}})
}
