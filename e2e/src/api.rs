//! The few calls that most tests make, as a client of each service would make them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::{Reply, Request};
use crate::socket::Socket;

/// An account of the platform, with a person's token.
#[derive(Clone)]
pub struct Cloud {
    http: SocketAddr,
    pub account_id: String,
    pub token: String,
}

impl Cloud {
    pub fn new(http: SocketAddr, account_id: &str, token: &str) -> Self {
        Self {
            http,
            account_id: account_id.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Sends with the person's token.
    #[track_caller]
    pub fn send(&self, request: Request) -> Reply {
        request.bearer(&self.token).send(self.http)
    }

    /// Makes a data backend.
    #[track_caller]
    pub fn create_backend(&self, name: &str) -> Backend {
        let (id, token) = self.create_instance("eds", name);
        Backend::new(self.http, &id, &token)
    }

    /// Makes a gateway.
    #[track_caller]
    pub fn create_gateway(&self, name: &str) -> Gateway {
        let (id, token) = self.create_instance("mws", name);
        Gateway::new(self.http, &id, &token)
    }

    #[track_caller]
    fn create_instance(&self, provider: &str, name: &str) -> (String, String) {
        let path = format!("/v1/accounts/{}/instances", self.account_id);
        let body = json!({"name": name, "serviceProviderId": provider});
        let instance = self.send(Request::post(path).json(&body)).must_be(201);
        let id = text(&instance, "/id");
        let path = format!("/v1/instances/{id}/authorizations");
        let tokens = self.send(Request::get(path)).must_be(200);
        (id, text(&tokens, "/results/0/access_token"))
    }
}

/// A data backend, with its security token.
#[derive(Clone)]
pub struct Backend {
    http: SocketAddr,
    pub id: String,
    pub token: String,
}

impl Backend {
    pub fn new(http: SocketAddr, id: &str, token: &str) -> Self {
        Self {
            http,
            id: id.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Sends to this backend as anybody.
    #[track_caller]
    pub fn send(&self, request: Request) -> Reply {
        request.backend(&self.id).send(self.http)
    }

    /// Sends to this backend with its security token.
    #[track_caller]
    pub fn send_as_admin(&self, request: Request) -> Reply {
        self.send(request.bearer(&self.token))
    }

    /// Stores an object and returns it.
    #[track_caller]
    pub fn create(&self, object_type: &str, properties: &Value) -> Value {
        self.send(Request::post(format!("/v1/objects/{object_type}")).json(properties))
            .must_be(201)
    }

    /// Sets properties of an object and returns all of it.
    #[track_caller]
    pub fn update(&self, object: &Value, properties: &Value) -> Value {
        self.send(Request::put(path_of(object)).json(properties))
            .must_be(200)
    }

    #[track_caller]
    pub fn delete(&self, object: &Value) {
        let reply = self.send(Request::delete(path_of(object))).must_be(200);
        assert_eq!(
            reply,
            json!({}),
            "a delete is answered with an empty object"
        );
    }

    /// Makes a webhook and returns it.
    #[track_caller]
    pub fn create_webhook(&self, webhook: &Value) -> Value {
        self.send_as_admin(Request::post("/v1/webhooks").json(webhook))
            .must_be(201)
    }
}

/// A WebSocket gateway, with its security token.
#[derive(Clone)]
pub struct Gateway {
    http: SocketAddr,
    pub id: String,
    pub token: String,
}

impl Gateway {
    pub fn new(http: SocketAddr, id: &str, token: &str) -> Self {
        Self {
            http,
            id: id.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Where it is.
    pub fn server(&self) -> SocketAddr {
        self.http
    }

    /// The full path of a resource of this gateway.
    pub fn path(&self, resource: &str) -> String {
        format!("/v1/gateways/{}/{resource}", self.id)
    }

    /// Sends as anybody.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        request.send(self.http)
    }

    /// Sends with the security token.
    #[track_caller]
    pub fn send_as_admin(&self, request: Request) -> Reply {
        request.bearer(&self.token).send(self.http)
    }

    /// Asks for an address as a browser does, and opens it.
    #[track_caller]
    pub fn connect(&self) -> Socket {
        let reply = self
            .send(&Request::get(self.path("websocket_uri")))
            .must_be(200);
        Socket::open(&text(&reply, "/uri"))
    }
}

/// `/v1/objects/todos/<id>` of a stored object.
#[track_caller]
pub fn path_of(object: &Value) -> String {
    format!(
        "/v1/{}/{}",
        text(object, "/objectType").replace('.', "/"),
        text(object, "/id")
    )
}

/// The text at a JSON pointer.
#[track_caller]
pub fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no text at {pointer} in {value}"))
        .to_owned()
}
