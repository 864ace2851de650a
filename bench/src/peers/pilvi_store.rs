//! One EDS backend of Pilvi, asked with its security token.

use anyhow::Result;
use serde_json::{Value, json};

use super::pilvi::{Instance, Pilvi};
use super::postgresql::PostgreSql;
use super::store::{ROWS, Store};
use crate::http::request::{Request, encode};
use crate::server::Server;
use crate::world::World;

/// A backend, and the server that it is on.
pub(crate) struct PilviStore {
    pub(crate) cloud: Pilvi,
    pub(crate) backend: Instance,
}

impl PilviStore {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let cloud = Pilvi::start(world)?;
        let backend = cloud.create("eds", "bench")?;
        Ok(Self { cloud, backend })
    }
}

/// One backend of several.
pub(crate) struct BackendStore<'a> {
    pub(crate) server: &'a Server,
    pub(crate) backend: &'a Instance,
}

impl Store for BackendStore<'_> {
    fn server(&self) -> &Server {
        self.server
    }

    fn stop_server(self: Box<Self>) -> Option<PostgreSql> {
        None
    }

    fn create(&self, object: &Value) -> Request {
        self.backend.create_object(object)
    }

    fn get(&self, id: &str) -> Request {
        self.backend.get_object(id)
    }

    fn query(&self, value: &str) -> Request {
        self.backend.query_objects(value)
    }

    fn id_pointer(&self) -> &'static str {
        "/id"
    }

    fn rows_pointer(&self) -> &'static str {
        "/results"
    }
}

impl Store for PilviStore {
    fn server(&self) -> &Server {
        &self.cloud.server
    }

    fn stop_server(self: Box<Self>) -> Option<PostgreSql> {
        None
    }

    fn create(&self, object: &Value) -> Request {
        self.backend.create_object(object)
    }

    fn get(&self, id: &str) -> Request {
        self.backend.get_object(id)
    }

    fn query(&self, value: &str) -> Request {
        self.backend.query_objects(value)
    }

    fn id_pointer(&self) -> &'static str {
        "/id"
    }

    fn rows_pointer(&self) -> &'static str {
        "/results"
    }
}

impl Instance {
    pub(crate) fn create_object(&self, object: &Value) -> Request {
        self.authorized(Request::post("/v1/objects/items"))
            .json(object)
    }

    pub(crate) fn update_object(&self, id: &str, change: &Value) -> Request {
        let target = format!("/v1/objects/items/{id}");
        self.authorized(Request::new("PUT", &target)).json(change)
    }

    /// Asks for an address at which a live query can be followed.
    pub(crate) fn live_url(&self, filter: &Value) -> Request {
        let filter = encode(&filter.to_string());
        let target = format!("/v1/live_url?objectType=objects.items&q={filter}");
        self.authorized(Request::get(&target))
    }

    pub(crate) fn get_object(&self, id: &str) -> Request {
        self.authorized(Request::get(&format!("/v1/objects/items/{id}")))
    }

    pub(crate) fn query_objects(&self, value: &str) -> Request {
        self.authorized(Request::get(&query_target(value)))
    }

    /// Names the backend and shows its token.
    pub(crate) fn authorized(&self, request: Request) -> Request {
        request
            .header("Enginio-Backend-Id", &self.id)
            .header("Authorization", &format!("Bearer {}", self.token))
    }
}

/// Where the newest [`ROWS`] objects with this value are asked for.
pub(crate) fn query_target(value: &str) -> String {
    let filter = encode(&json!({"value": value}).to_string());
    let sort = encode(&json!([{"sortBy": "createdAt", "direction": "desc"}]).to_string());
    format!("/v1/objects/items?q={filter}&sort={sort}&limit={ROWS}")
}
