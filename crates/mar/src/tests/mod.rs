//! The service in process: its real routes and rules over real SQLite, git and files, behind the real door. Only the
//! processes are pretended.

mod apps;
mod audit;
mod domains;
mod logs;
mod rights;
mod slugs;
mod stage;
mod vars;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request};
use pilvi_base::{Clock, Keyring, Secret, TaskGroup};
use pilvi_core::{Audit, Directory, Identity, Provisioner};
use pilvi_git::Repositories;
use pilvi_model::app::StackName;
use pilvi_model::{AccountId, AppId, Instance, PersonId, Provider, RequestId, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{
    Account, BuiltSlug, FirstRecords, Holder, NewSlug, NewToken, Origin, Person, Role, Slug,
};
use pilvi_web::{Arrival, Door, Hosts, Service};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::journal::{self, Journal};
use crate::{Addresses, Folders, Limits, Mar, Parts, ReleasePlan, Settings, SshAddress};
use stage::Stage;

const APP: &str = "mar-eu-1-aaaaaaaa";
/// Of the same account.
const SIBLING: &str = "mar-eu-1-bbbbbbbb";
/// Of another account.
const FOREIGN: &str = "mar-eu-1-cccccccc";

/// A server with an app, another one of its account, and a foreign one.
struct World {
    mar: Mar,
    door: Door,
    store: Store,
    stage: Arc<Stage>,
    clock: Clock,
    tasks: TaskGroup,
    folder: TempDir,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn must_be(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_426_669_200_000)
}

fn new_token(holder: Holder, secret: &str) -> NewToken {
    NewToken {
        holder,
        digest: Secret::new(secret).digest(),
        generation: 0,
        name: None,
        created_at: now(),
        expires_at: None,
    }
}

fn account(id: AccountId) -> Account {
    Account {
        id,
        name: "Cloud".to_owned(),
        datacenter: "eu-1".to_owned(),
        vpc: false,
        created_at: now(),
    }
}

fn person(id: PersonId, email: &str) -> Person {
    Person::new(id, email, "Somebody", now())
}

impl World {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("data"), pilvi_store::Limits::default())
            .await
            .unwrap();
        let tasks = TaskGroup::new();
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_millis(now().as_millis()));
        let stage = Arc::new(Stage::new(store.clone()));
        let folders = Folders::open(&folder.path().join("data/mar")).unwrap();
        let journal = Journal::open(folders.root(), clock.clone(), journal::Settings::default());
        let mar = Mar::new(Parts {
            store: store.clone(),
            identity: Identity::new(store.clone()),
            directory: Directory::new(store.clone(), tasks.clone()),
            keyring: Keyring::from_bytes([7; 32]),
            clock: clock.clone(),
            tasks: tasks.clone(),
            processes: stage.clone(),
            journal: journal.unwrap(),
            repositories: Repositories::open(folders.root()).unwrap(),
            folders,
            settings: Settings {
                addresses: addresses(),
                limits,
                stacks: Arc::new(|| {
                    let names = ["cedar", "cedar-14", "debian-12"];
                    names.map(|name| name.parse::<StackName>().unwrap()).into()
                }),
                layers_missing: vec!["seccomp".to_owned()],
            },
        })
        .with_audit(Audit::new(store.clone(), clock.clone(), tasks.clone()));
        let world = Self {
            door: Door::new(Hosts::shared(), pilvi_web::Limits::default())
                .site(Service::Mar, mar.site()),
            mar,
            store,
            stage,
            clock,
            tasks,
            folder,
        };
        world.settle().await;
        world
    }

    /// Two accounts and their apps.
    async fn settle(&self) {
        let (own, owner) = (AccountId::random(), PersonId::random());
        let first = FirstRecords {
            person: person(owner, "owner@localhost"),
            account: account(own),
            person_token: new_token(Holder::Person(owner), "person"),
            account_token: new_token(
                Holder::Member {
                    account: own,
                    person: owner,
                },
                "account",
            ),
        };
        assert!(self.store.insert_first_records(first).await.unwrap());
        for (role, name) in [(Role::Developer, "developer"), (Role::Viewer, "viewer")] {
            self.add_member(own, role, name).await;
        }
        let (theirs, neighbour) = (AccountId::random(), PersonId::random());
        let there = person(neighbour, "neighbour@localhost");
        self.store.insert_person(there).await.unwrap();
        let token = new_token(Holder::Person(neighbour), "neighbour's person");
        self.store.insert_token(token, 9).await.unwrap();
        let holder = Holder::Member {
            account: theirs,
            person: neighbour,
        };
        let token = new_token(holder, "neighbour's account");
        self.store
            .insert_account(account(theirs), neighbour, token, 9)
            .await
            .unwrap();
        for (id, account, token) in [
            (APP, own, "app"),
            (SIBLING, own, "sibling"),
            (FOREIGN, theirs, "foreign"),
        ] {
            self.add_app(id, account, token).await;
        }
    }

    /// With the tokens `name's person` and `name's account`.
    async fn add_member(&self, account: AccountId, role: Role, name: &str) {
        let id = PersonId::random();
        let member = person(id, &format!("{name}@localhost"));
        self.store.insert_person(member).await.unwrap();
        self.store.insert_member(account, id, role).await.unwrap();
        let token = new_token(Holder::Person(id), &format!("{name}'s person"));
        self.store.insert_token(token, 9).await.unwrap();
        let holder = Holder::Member {
            account,
            person: id,
        };
        let token = new_token(holder, &format!("{name}'s account"));
        let added = self.store.insert_member_token(account, id, token).await;
        assert!(added.unwrap().1);
    }

    async fn add_app(&self, id: &str, account: AccountId, token: &str) {
        let asked = json!({"runtimeSize": "2", "runtimeType": "app"});
        let instance = Instance {
            id: id.to_owned(),
            provider: Provider::Mar,
            account,
            name: "echo".to_owned(),
            tags: Vec::new(),
            config: self
                .mar
                .initial_config(asked.as_object().unwrap().clone())
                .unwrap(),
            datacenter: "eu-1".to_owned(),
            created_at: now(),
        };
        self.store
            .insert_instance(instance.clone(), 9)
            .await
            .unwrap();
        Provisioner::create(&self.mar, &instance).await.unwrap();
        assert_eq!(
            self.stage.acts(),
            [format!("apply {id}")],
            "its address says that nothing was pushed"
        );
        let token = new_token(Holder::Instance(id.to_owned()), token);
        assert!(self.store.release_instance(id, token).await.unwrap());
    }

    fn app(&self) -> AppId {
        APP.parse().unwrap()
    }

    /// A slug as a push leaves it behind.
    async fn build(&self, tag: &str, procfile: &str) -> Slug {
        let app = self.app();
        let new = NewSlug {
            app: app.clone(),
            tag: tag.parse().unwrap(),
            origin: Origin::Git,
            process_types: pilvi_model::app::ProcessTypes::from_procfile(procfile).unwrap(),
            stack: None,
            created_at: now(),
        };
        let slug = self.store.reserve_slug(new).await.unwrap();
        let tarball = self.mar.parts().folders.tarball(&app, slug.id);
        std::fs::write(tarball, packed(&[("Procfile", procfile)])).unwrap();
        let built = BuiltSlug {
            bytes: 7,
            ..BuiltSlug::default()
        };
        self.store
            .finish_slug(slug.id, built)
            .await
            .unwrap()
            .unwrap()
    }

    /// Pushes something, in effect.
    async fn deploy(&self, tag: &str, procfile: &str) -> Slug {
        let slug = self.build(tag, procfile).await;
        let plan = ReleasePlan {
            slug: slug.id,
            reason: format!("Deploy {tag}"),
            author: "owner@localhost".to_owned(),
        };
        self.mar.release(&self.app(), plan, &()).await.unwrap();
        slug
    }

    /// Calls as the owner.
    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call_as("account", method, path, body).await
    }

    /// `path` goes on from the app's own.
    async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        self.send(token, method, &format!("/v1/apps/{APP}{path}"), body)
            .await
    }

    /// An empty token is none.
    async fn send(&self, token: &str, method: &str, path: &str, body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let arrival = Arrival::in_process("mar.localhost:8080", RequestId::from_bytes([1; 16]));
        let response = self.door.call(request.body(body).unwrap(), arrival).await;
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers[CONTENT_TYPE], "application/json");
        assert!(parts.headers.contains_key(CONTENT_LENGTH));
        let bytes = to_bytes(body, 4 << 20).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).expect("every answer is JSON"),
        }
    }

    async fn wait_for_state(&self, state: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.get("").await.must_be(200)["state"] != state {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the app is never {state}"
            );
        }
    }

    /// Waits until what goes on in the background has come to its end.
    async fn wait_for_background(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.tasks.running() > 0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the background never rests"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn addresses() -> Addresses {
    Addresses {
        apps_domain: "apps.localhost".to_owned(),
        http_port: 8080,
        https_port: 8443,
        ssh: Some(SshAddress {
            host: "127.0.0.1".to_owned(),
            port: 2222,
        }),
        https_origin: "https://localhost:8443".to_owned(),
        own_hosts: vec!["pilvi.example".to_owned()],
        own_names_are_known: true,
    }
}

/// A gzip tar.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}
