//! Parse Server on PostgreSQL: one logged-in user, objects that only their owner may read, an index on the property
//! that is asked for.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::postgresql::PostgreSql;
use super::store::{ROWS, Store};
use crate::http::client::{Client, text};
use crate::http::request::{Request, encode};
use crate::install;
use crate::server::{Ready, Server};
use crate::usage::Tree;
use crate::world::World;

const APPLICATION: &str = "bench";
const MASTER_KEY: &str = "bench-master";

/// Parse Server, its database, and a session.
pub(crate) struct Parse {
    // Before the database, so that it is stopped first.
    server: Server,
    pub(crate) database: PostgreSql,
    person: Person,
}

/// A user who is signed in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    session: String,
}

impl Parse {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let database = PostgreSql::start(world)?;
        let server = start_on(world, &database)?;
        let mut client = Client::connect(server.address)?;
        let parse = Self {
            person: Person::sign_up(&mut client, "bench")?,
            server,
            database,
        };
        parse.define(&mut client)?;
        Ok(parse)
    }

    /// Makes a role with one user.
    pub(crate) fn create_role(client: &mut Client, name: &str, user: &Person) -> Result<()> {
        let user = json!({"__type": "Pointer", "className": "_User", "objectId": user.id});
        let role = json!({
            "name": name,
            "ACL": {"*": {"read": true}},
            "users": {"__op": "AddRelation", "objects": [user]},
        });
        let request = application(Request::post("/parse/roles"))
            .header("X-Parse-Master-Key", MASTER_KEY)
            .json(&role);
        client
            .ask(request)
            .map(drop)
            .context("the role cannot be made")
    }

    fn define(&self, client: &mut Client) -> Result<()> {
        let schema = json!({"className": "Item", "fields": {
            "title": {"type": "String"},
            "value": {"type": "String"},
            "number": {"type": "Number"},
            "flag": {"type": "Boolean"},
            "text": {"type": "String"},
        }});
        let request = application(Request::post("/parse/schemas/Item"))
            .header("X-Parse-Master-Key", MASTER_KEY)
            .json(&schema);
        client.ask(request).context("the class cannot be defined")?;
        self.database
            .execute("create index item_value on \"Item\" (value)")
    }
}

/// Parse Server with its LiveQuery server, and objects that everybody may read and change: nobody is signed in.
pub(crate) struct LiveParse {
    // Before the database, so that it is stopped first.
    pub(crate) server: Server,
    database: PostgreSql,
}

impl LiveParse {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let database = PostgreSql::start(world)?;
        let server = start_with(world, &database, &["live"])?;
        Ok(Self { server, database })
    }

    pub(crate) fn trees(&self) -> Vec<Tree> {
        vec![self.server.tree(), self.database.server.tree()]
    }

    pub(crate) fn create(object: &Value) -> Request {
        application(Request::post("/parse/classes/Item")).json(object)
    }

    pub(crate) fn update(id: &str, change: &Value) -> Request {
        application(Request::new("PUT", &format!("/parse/classes/Item/{id}"))).json(change)
    }

    /// What a socket says first.
    pub(crate) fn connect() -> Value {
        json!({"op": "connect", "applicationId": APPLICATION})
    }

    /// What it says once it has been answered.
    pub(crate) fn subscribe(filter: &Value) -> Value {
        let query = json!({"className": "Item", "where": filter});
        json!({"op": "subscribe", "requestId": 1, "query": query})
    }
}

impl Person {
    pub(crate) fn sign_up(client: &mut Client, name: &str) -> Result<Self> {
        let user = json!({"username": name, "password": "bench-password"});
        let request = application(Request::post("/parse/users")).json(&user);
        let user = client.ask(request).context("nobody can sign up")?;
        Ok(Self {
            id: text(&user, "/objectId")?,
            session: text(&user, "/sessionToken")?,
        })
    }

    /// Stores an object that only this user may read and write.
    pub(crate) fn create(&self, object: &Value) -> Request {
        let mut object = object.clone();
        object["ACL"] = json!({&self.id: {"read": true, "write": true}});
        self.logged_in(Request::post("/parse/classes/Item"))
            .json(&object)
    }

    pub(crate) fn get(&self, id: &str) -> Request {
        self.logged_in(Request::get(&format!("/parse/classes/Item/{id}")))
    }

    pub(crate) fn query(&self, value: &str) -> Request {
        let filter = encode(&json!({"value": value}).to_string());
        let target = format!("/parse/classes/Item?where={filter}&order=-createdAt&limit={ROWS}");
        self.logged_in(Request::get(&target))
    }

    /// How many objects there are for this user.
    pub(crate) fn count(&self) -> Request {
        self.logged_in(Request::get("/parse/classes/Item?count=1&limit=0"))
    }

    fn logged_in(&self, request: Request) -> Request {
        application(request).header("X-Parse-Session-Token", &self.session)
    }
}

/// Parse Server alone, on a database that runs.
pub(crate) fn start_on(world: &World, database: &PostgreSql) -> Result<Server> {
    start_with(world, database, &[])
}

/// The same with more arguments for its script.
fn start_with(world: &World, database: &PostgreSql, arguments: &[&str]) -> Result<Server> {
    let scripts = install::node_packages()?;
    world.start("parse", &Ready::Answers("/parse/health"), |address| {
        let mut command = Command::new("node");
        command
            .current_dir(&scripts)
            .arg(scripts.join("parse.cjs"))
            .arg(address.port().to_string())
            .arg(database.url())
            .args(arguments);
        command
    })
}

fn application(request: Request) -> Request {
    request.header("X-Parse-Application-Id", APPLICATION)
}

impl Store for Parse {
    fn server(&self) -> &Server {
        &self.server
    }

    fn trees(&self) -> Vec<Tree> {
        vec![self.server.tree(), self.database.server.tree()]
    }

    fn stop_server(self: Box<Self>) -> Option<PostgreSql> {
        Some(self.database)
    }

    fn create(&self, object: &Value) -> Request {
        self.person.create(object)
    }

    fn get(&self, id: &str) -> Request {
        self.person.get(id)
    }

    fn query(&self, value: &str) -> Request {
        self.person.query(value)
    }

    fn id_pointer(&self) -> &'static str {
        "/objectId"
    }

    fn rows_pointer(&self) -> &'static str {
        "/results"
    }
}
