//! The service in process: its real routes and rules over real SQLite, behind the real door.

mod access;
mod downloads;
mod files;
mod live;
mod people;
mod rights;
mod search;
mod transfers;

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, StatusCode};
use pilvi_base::disk::Reserve;
use pilvi_base::{Clock, Keyring, Secret, TaskGroup};
use pilvi_blobs::Blobs;
use pilvi_core::egress::Policy;
use pilvi_core::mail::Post;
use pilvi_core::passwords::Cost;
use pilvi_core::{Directory, Egress, Identity, Mailer, Passwords, Provisioner};
use pilvi_model::{AccountId, Error, Instance, PersonId, Provider, RequestId, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{Account, FirstRecords, Holder, NewToken, Person};
use pilvi_web::circles::{Circle, Circles, Farewell, Pushing};
use pilvi_web::{Arrival, Door, Hosts, Refusal, Service, Upgrade};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{Eds, People};

/// Nobody comes with a web socket.
struct NoSockets;

impl Circles for NoSockets {
    fn frame(&self, text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn sockets_max(&self, _: AccountId) -> Pushing<'_, usize> {
        Box::pin(ready(Ok(0)))
    }

    fn join(
        &self,
        upgrade: Upgrade,
        _: Circle,
        _: usize,
        _: &[Bytes],
    ) -> Result<(), Box<(Upgrade, Refusal)>> {
        let refusal = Error::unavailable("there are no sockets here").into();
        Err(Box::new((upgrade, refusal)))
    }

    fn push(&self, _: Circle, _: Bytes) -> Pushing<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn end(&self, _: Circle, _: Farewell) {}

    fn len(&self, _: Circle) -> usize {
        0
    }
}

/// A server with two backends: one for the test, and a foreign one.
struct World {
    door: Door,
    backend: String,
    /// The security token of the backend.
    token: String,
    foreign: String,
    foreign_token: String,
    folder: TempDir,
    /// It stands still unless a test moves it.
    clock: Clock,
    tasks: TaskGroup,
    store: Store,
    blobs: Blobs,
}

/// What a request carries to say who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Credential {
    Nothing,
    Bearer(String),
    MasterKey(String),
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn must_be(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_426_669_200_123)
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

impl World {
    async fn new(openness: &str) -> Self {
        Self::with_file_bytes_max(openness, 1 << 30).await
    }

    async fn with_file_bytes_max(openness: &str, file_bytes_max: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default())
            .await
            .unwrap();
        let tasks = TaskGroup::new();
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_millis(1_426_669_200_123));
        let post = Post::Folder(folder.path().join("mail"));
        let mailer = Mailer::new(post, "app@localhost", clock.clone(), tasks.clone()).unwrap();
        let cost = Cost {
            memory_kib: 8,
            passes: 1,
        };
        let people = People::new(Passwords::new(cost).unwrap(), mailer, &clock, tasks.clone());
        let no_reserve = Reserve {
            bytes: 0,
            percent: 0,
        };
        let blobs = Blobs::folder(&folder.path().join("files"), no_reserve)
            .await
            .unwrap();
        let eds = Eds::new(
            store.clone(),
            blobs.clone(),
            Identity::new(store.clone()),
            Directory::new(store.clone(), tasks.clone()),
            Keyring::from_bytes([7; 32]),
            clock.clone(),
            people,
        )
        .with_tasks(tasks.clone())
        .with_file_bytes_max(file_bytes_max)
        .with_transfers(
            crate::Transfers::open(folder.path().join("transfers"), no_reserve).unwrap(),
        );
        let account = AccountId::random();
        let person = PersonId::random();
        let first = FirstRecords {
            person: Person::new(person, "operator@localhost", "Operator", now()),
            account: Account {
                id: account,
                name: "My Cloud".to_owned(),
                datacenter: "eu-1".to_owned(),
                vpc: false,
                created_at: now(),
            },
            person_token: new_token(Holder::Person(person), "person"),
            account_token: new_token(Holder::Member { account, person }, "account"),
        };
        assert!(store.insert_first_records(first).await.unwrap());
        let backends = ["532831a2698b3c6ae8091d6d", "532831a2698b3c6ae8091d6e"];
        for (id, token) in backends.into_iter().zip(["own token", "foreign token"]) {
            let asked = Map::from_iter([("openness".to_owned(), json!(openness))]);
            let instance = Instance {
                id: id.to_owned(),
                provider: Provider::Eds,
                account,
                name: "app".to_owned(),
                tags: Vec::new(),
                config: eds.initial_config(asked).unwrap(),
                datacenter: "eu-1".to_owned(),
                created_at: now(),
            };
            store.insert_instance(instance.clone(), 10).await.unwrap();
            Provisioner::create(&eds, &instance).await.unwrap();
            let token = new_token(Holder::Instance(id.to_owned()), token);
            assert!(store.release_instance(id, token).await.unwrap());
        }
        eds.deliverer(Egress::outward(Policy::default()), tasks.clone())
            .start();
        eds.open_streams(Arc::new(NoSockets), tasks.clone(), 8080);
        let door =
            Door::new(Hosts::shared(), pilvi_web::Limits::default()).site(Service::Eds, eds.site());
        Self {
            door,
            backend: backends[0].to_owned(),
            token: "own token".to_owned(),
            foreign: backends[1].to_owned(),
            foreign_token: "foreign token".to_owned(),
            folder,
            clock,
            tasks,
            store,
            blobs,
        }
    }

    fn admin(&self) -> Credential {
        Credential::Bearer(self.token.clone())
    }

    async fn send(&self, who: &Credential, method: &str, path: &str, body: &Value) -> Answer {
        self.send_with(who, method, path, body, &[]).await
    }

    async fn send_with(
        &self,
        who: &Credential,
        method: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        self.send_body(who, method, path, body, headers).await
    }

    /// The same with a body of whatever kind.
    async fn send_body(
        &self,
        who: &Credential,
        method: &str,
        path: &str,
        body: Body,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers
            .iter()
            .any(|(name, _)| *name == "enginio-backend-id")
        {
            request = request.header("enginio-backend-id", &self.backend);
        }
        request = match who {
            Credential::Nothing => request,
            Credential::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
            Credential::MasterKey(key) => request.header("enginio-backend-masterkey", key),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        let response = self.door.call(request.body(body).unwrap(), arrival).await;
        let (parts, body) = response.into_parts();
        // It has no end, or is no JSON.
        let kind = parts.headers.get("content-type");
        if kind.is_some_and(|kind| kind == "text/event-stream" || kind == "application/x-tar") {
            return Answer {
                status: parts.status,
                body: Value::Null,
            };
        }
        let bytes = to_bytes(body, 4 << 20).await.unwrap();
        Answer {
            status: parts.status,
            body: serde_json::from_slice(&bytes).expect("every answer is JSON"),
        }
    }

    async fn post(&self, who: &Credential, path: &str, body: Value) -> Value {
        self.send(who, "POST", path, &body).await.must_be(201)
    }

    /// Registers somebody and signs them in: the user, and what they carry.
    async fn sign_up(&self, name: &str) -> (Value, Credential) {
        self.sign_up_at(&self.backend, name).await
    }

    async fn sign_up_at(&self, backend: &str, name: &str) -> (Value, Credential) {
        let at = [("enginio-backend-id", backend)];
        let login = json!({"username": name, "password": "secret", "grant_type": "password"});
        let user =
            json!({"username": name, "password": "secret", "email": format!("{name}@example.org")});
        let nobody = Credential::Nothing;
        let user = self
            .send_with(&nobody, "POST", "/v1/users", &user, &at)
            .await
            .must_be(201);
        let path = "/v1/auth/oauth2/token";
        let tokens = self
            .send_with(&nobody, "POST", path, &login, &at)
            .await
            .must_be(200);
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        (user, Credential::Bearer(token))
    }
}

fn reference(object: &Value) -> Value {
    json!({"id": object["id"], "objectType": object["objectType"]})
}

/// `/v1/objects/todos/<id>` of a stored object.
fn path_of(object: &Value) -> String {
    let object_type = object["objectType"].as_str().unwrap().replace('.', "/");
    format!("/v1/{object_type}/{}", object["id"].as_str().unwrap())
}

fn everyone() -> Value {
    json!([{"id": "*", "objectType": "aclSubject"}])
}
