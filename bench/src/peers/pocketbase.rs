//! PocketBase: one logged-in user, a collection whose rules let only the owner in, an index on the property that is
//! asked for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::postgresql::PostgreSql;
use super::store::{ROWS, Store};
use crate::http::client::{Client, text};
use crate::http::request::{Request, encode};
use crate::install;
use crate::server::{Ready, Server};
use crate::world::World;

const EMAIL: &str = "bench@example.org";
const PASSWORD: &str = "bench-password";

/// PocketBase with a session.
pub(crate) struct PocketBase {
    server: Server,
    user: String,
    session: String,
}

impl PocketBase {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let folder = world.empty_folder("pocketbase")?;
        make_superuser(&folder)?;
        let server = serve(world, &folder)?;
        let mut client = Client::connect(server.address)?;
        let (_, superuser) = log_in(&mut client, "_superusers")?;
        client
            .ask(authorized(Request::post("/api/collections"), &superuser).json(&collection()))
            .context("the collection cannot be made")?;
        let account = json!({"email": EMAIL, "password": PASSWORD, "passwordConfirm": PASSWORD});
        let sign_up = Request::post("/api/collections/users/records");
        client
            .ask(authorized(sign_up, &superuser).json(&account))
            .context("the user cannot be made")?;
        let (user, session) = log_in(&mut client, "users")?;
        Ok(Self {
            server,
            user,
            session,
        })
    }
}

/// PocketBase in this folder. Its data is one folder further down, because it keeps migrations beside its data.
pub(crate) fn serve(world: &World, folder: &Path) -> Result<Server> {
    let program = install::pocketbase()?;
    world.start("pocketbase", &Ready::Answers("/api/health"), |address| {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .args(["serve", "--http", &address.to_string(), "--dir"])
            .arg(data_of(folder));
        command
    })
}

/// Before the first start, else it would wait for a browser to come and make one.
fn make_superuser(folder: &Path) -> Result<()> {
    let output = Command::new(install::pocketbase()?)
        .current_dir(folder)
        .args(["superuser", "upsert", EMAIL, PASSWORD, "--dir"])
        .arg(data_of(folder))
        .stdin(Stdio::null())
        .output()
        .context("could not start PocketBase")?;
    if !output.status.success() {
        bail!("no superuser: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn data_of(folder: &Path) -> PathBuf {
    folder.join("pb_data")
}

fn collection() -> Value {
    let owner = "owner = @request.auth.id";
    json!({
        "name": "items",
        "type": "base",
        "fields": [
            {"name": "title", "type": "text"},
            {"name": "value", "type": "text"},
            {"name": "number", "type": "number"},
            {"name": "flag", "type": "bool"},
            {"name": "text", "type": "text"},
            {"name": "owner", "type": "text"},
            {"name": "created", "type": "autodate", "onCreate": true},
            {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
        ],
        "indexes": ["create index item_value on items (value)"],
        "listRule": owner,
        "viewRule": owner,
        "createRule": "@request.body.owner = @request.auth.id",
    })
}

/// Id and token of who logs in.
fn log_in(client: &mut Client, collection: &str) -> Result<(String, String)> {
    let path = format!("/api/collections/{collection}/auth-with-password");
    let request = Request::post(&path).json(&json!({"identity": EMAIL, "password": PASSWORD}));
    let answer = client
        .ask(request)
        .with_context(|| format!("nobody can log in as one of {collection}"))?;
    Ok((text(&answer, "/record/id")?, text(&answer, "/token")?))
}

fn authorized(request: Request, token: &str) -> Request {
    request.header("Authorization", token)
}

impl Store for PocketBase {
    fn server(&self) -> &Server {
        &self.server
    }

    fn stop_server(self: Box<Self>) -> Option<PostgreSql> {
        None
    }

    fn create(&self, object: &Value) -> Request {
        let mut object = object.clone();
        object["owner"] = json!(self.user);
        let request = Request::post("/api/collections/items/records");
        authorized(request, &self.session).json(&object)
    }

    fn get(&self, id: &str) -> Request {
        let path = format!("/api/collections/items/records/{id}");
        authorized(Request::get(&path), &self.session)
    }

    fn query(&self, value: &str) -> Request {
        let filter = encode(&format!("value = '{value}'"));
        let target = format!(
            "/api/collections/items/records?filter={filter}&sort=-created&perPage={ROWS}&skipTotal=1"
        );
        authorized(Request::get(&target), &self.session)
    }

    fn id_pointer(&self) -> &'static str {
        "/id"
    }

    fn rows_pointer(&self) -> &'static str {
        "/items"
    }
}
