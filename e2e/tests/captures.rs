//! Replays what old clients were recorded to send, byte for byte, against the real server.
//!
//! One table says for every recorded request how it must be answered. A request without a row and a row without a
//! request both fail, so nothing is forgotten and nothing rots.

use std::cell::OnceCell;

use pilvi_e2e::api::{Backend, Cloud, path_of, text};
use pilvi_e2e::captures::{self, Captured};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::Server;
use pilvi_e2e::shape;
use pilvi_e2e::uploaded::Uploaded;
use serde_json::{Value, json};

#[path = "captures/account.rs"]
mod account;
#[path = "captures/apps.rs"]
mod apps;
#[path = "captures/files.rs"]
mod files;

use account::Tooling;

/// Looks at the reply to a recorded request.
type Check = fn(&Replayed<'_>);

/// A method, or `*`; a target as it was recorded, or its beginning with `*` at the end; and what its reply must be.
/// The first row that fits counts.
type Row = (&'static str, &'static str, Check);

/// What holds for every reply to one client.
type Judge = fn(&Captured, &Reply);

const QT_LIBRARY: &[Row] = &[
    ("GET", "/v1/objects/CustomObject1?limit=1", lists_one),
    (
        "GET",
        "/v1/objects/todos?q=%7B%22completed%22:true%7D",
        lists_completed,
    ),
    ("GET", "/v1/objects/CustomObject1", lists_all),
    ("GET", "/v1/objects/todos/<24 hex>", reads_one),
    ("POST", "/v1/objects/*", creates),
    ("PUT", "/v1/objects/todos/INVALID_ID", finds_no_such_object),
    ("PUT", "/v1/objects/CustomObject1/<24 hex>", updates),
    ("DELETE", "/v1/objects/CustomObject1/<24 hex>", deletes),
    ("POST", "/v1/account/auth/oauth2/token", account::signs_in),
    ("POST", "/v1/account/apps", account::creates_an_app),
    ("GET", "/v1/account/apps", account::lists_apps),
    ("GET", "/v1/account/apps/<24 hex>", account::shows_the_app),
    ("DELETE", "/v1/account/apps/<24 hex>", deletes),
    ("POST", "/v1/object_types", account::describes_a_type),
    ("POST", "/v1/auth/oauth2/token", signs_in),
    ("POST", "/v1/usergroups/<24 hex>/members", adds_a_member),
    ("GET", "/v1/usergroups/<24 hex>/members?count=", counts),
    ("GET", "/v1/usergroups/<24 hex>/members*", lists_members),
    ("GET", "/v1/usergroups?count=", counts),
    ("GET", "/v1/usergroups*", lists_groups),
    ("POST", "/v1/usergroups", creates_a_group),
    ("PUT", "/v1/usergroups/<24 hex>", describes_a_group),
    ("DELETE", "/v1/usergroups/<24 hex>", deletes),
    ("GET", "/v1/users*", lists_users),
    ("POST", "/v1/users", registers),
    ("PUT", "/v1/users/<24 hex>", changes_a_user),
    ("DELETE", "/v1/users/<24 hex>", deletes),
    ("GET", "/v1/search*", searches),
    ("GET", "/v1/stream_url*", files::opens_a_stream),
    (
        "GET",
        "/v1/files/<24 hex>/download_url",
        files::says_where_the_bytes_are,
    ),
    ("POST", "/v1/files", files::uploads),
];

const RUBY_CLI: &[Row] = &[
    ("GET", "/v1/user/accounts", lists_accounts),
    ("GET", "/v1/user/accounts?", lists_accounts),
    ("POST", "/v1/accounts?", creates_account),
    ("GET", "/v1/accounts/c1", shows_account),
    (
        "GET",
        "/v1/accounts/c1/authorizations",
        lists_account_tokens,
    ),
    (
        "GET",
        "/v1/accounts/c1/instances?provider=eds",
        lists_backends,
    ),
    (
        "GET",
        "/v1/accounts/c1/instances?provider=mar",
        apps::lists_apps,
    ),
    (
        "GET",
        "/v1/accounts/c1/instances?provider=mdb",
        lists_nothing,
    ),
    (
        "POST",
        "/v1/accounts/c1/instances?",
        apps::creates_an_app_and_no_database,
    ),
    ("GET", "/v1/datacenters", lists_datacenters),
    (
        "GET",
        "/v1/instances/mar-eu-1-abcd1234",
        apps::shows_the_instance,
    ),
    (
        "GET",
        "/v1/instances/mdb-eu-1-abcd1234",
        finds_no_such_instance,
    ),
    ("GET", "/v1/user/ssh_keys", apps::lists_keys),
    ("POST", "/v1/user/ssh_keys?", apps::refuses_the_key),
    ("GET", "/v1/apps/mar-eu-1-abcd1234", apps::shows),
    ("PUT", "/v1/apps/mar-eu-1-abcd1234", apps::sets_the_stack),
    (
        "GET",
        "/v1/apps/mar-eu-1-abcd1234/status",
        apps::shows_the_status,
    ),
    (
        "GET",
        "/v1/apps/mar-eu-1-abcd1234/env_vars?",
        apps::lists_vars,
    ),
    (
        "PUT",
        "/v1/apps/mar-eu-1-abcd1234/env_vars?",
        apps::sets_vars,
    ),
    ("POST", "/v1/apps/mar-eu-1-abcd1234/scale?", apps::scales),
    ("POST", "/v1/apps/mar-eu-1-abcd1234/restart", apps::is_done),
    (
        "GET",
        "/v1/apps/mar-eu-1-abcd1234/logs?*",
        apps::lists_lines,
    ),
    (
        "POST",
        "/v1/apps/mar-eu-1-abcd1234/exec?",
        apps::runs_a_command,
    ),
    (
        "GET",
        "/v1/apps/mar-eu-1-abcd1234/domains",
        apps::lists_domains,
    ),
    (
        "POST",
        "/v1/apps/mar-eu-1-abcd1234/domains?",
        apps::adds_the_domain,
    ),
    (
        "DELETE",
        "/v1/apps/mar-eu-1-abcd1234/domains/www.x.com?",
        apps::is_done,
    ),
    (
        "POST",
        "/v1/apps/mar-eu-1-abcd1234/ssl_certificate?",
        apps::refuses_the_certificate,
    ),
    (
        "DELETE",
        "/v1/apps/mar-eu-1-abcd1234/ssl_certificate?",
        apps::finds_no_certificate,
    ),
    (
        "DELETE",
        "/v1/apps/mar-eu-1-abcd1234/build_cache?",
        apps::is_done,
    ),
    (
        "DELETE",
        "/v1/apps/mar-eu-1-abcd1234/repository?",
        apps::is_done,
    ),
    (
        "GET",
        "/v1/apps/mar-eu-1-abcd1234/slugs/?",
        apps::lists_slugs,
    ),
    (
        "POST",
        "/v1/apps/mar-eu-1-abcd1234/slugs?",
        apps::announces_the_slug,
    ),
    ("PUT", "/put/slug?sig=1", apps::takes_a_slug),
    (
        "POST",
        "/v1/apps/mar-eu-1-abcd1234/slugs/v1/deploy?",
        apps::deploys_the_slug,
    ),
    (
        "DELETE",
        "/v1/apps/mar-eu-1-abcd1234/slugs/v1?",
        apps::is_done,
    ),
    ("*", "/v1/services/*", is_not_there_yet),
    ("*", "/v1/vpn_containers/*", is_not_there_yet),
    ("*", "/v1/vpn_containers?", is_not_there_yet),
];

#[test]
fn the_qt_library_is_answered() {
    let server = Server::demo();
    let world = World::new(&server);
    replay_all(&world, &captures::qt_library(), QT_LIBRARY, |_, _| {});
    server.stop();
}

#[test]
fn the_ruby_command_line_is_answered() {
    let server = Server::demo();
    let world = World::new(&server);
    replay_all(&world, &captures::ruby_cli(), RUBY_CLI, is_for_ruby);
    server.stop();
}

/// The client asks for its account token before every command; where there is none it makes one and asks again, for
/// ever and without a pause.
#[test]
fn the_ruby_command_line_has_its_token_at_once() {
    let server = Server::serve();
    let world = World::new(&server);
    let recorded = captures::ruby_cli();
    let ask = recorded
        .iter()
        .find(|captured| captured.target == "/v1/accounts/c1/authorizations")
        .expect("the question is recorded");
    let mut make = ask.clone();
    "POST".clone_into(&mut make.method);
    make.target.push('?');
    "{}".clone_into(&mut make.body);
    let length = ("Content-Length".to_owned(), String::new());
    make.headers.insert(make.headers.len() - 1, length);

    let mut connection = Connection::open(server.http);
    let mut say = |captured: &Captured| {
        connection.write(&captured.bytes(|text| world.fill(text, "")));
        let reply = connection.reply();
        is_for_ruby(captured, &reply);
        reply
    };
    let there = say(ask).must_be(200);
    let own = text(&there, "/results/0/access_token");
    let number = &there["results"][0]["id"];
    let path = format!(
        "/v1/accounts/{}/authorizations/{number}",
        world.cloud.account_id
    );
    world.cloud.send(Request::delete(path)).must_be(200);
    for _ in 0..3 {
        assert_eq!(say(ask).must_be(200)["results"], json!([]));
    }
    let made = text(&say(&make).must_be(201), "/access_token");
    assert_ne!(made, own, "a token that was removed stays removed");
    for _ in 0..3 {
        let listed = say(ask).must_be(200);
        assert_eq!(shape::results(&listed).len(), 1, "{listed}");
        assert_eq!(listed["results"][0]["access_token"], made);
    }
    // Whoever makes one where there is one gets that one.
    let again = text(&say(&make).must_be(200), "/access_token");
    assert_eq!(again, made);
    server.stop();
}

/// What the client takes for an answer at all (`platform.md` §2): it looks for `Content-Type` in this spelling, knows
/// few statuses, and reads JSON or nothing.
#[track_caller]
fn is_for_ruby(captured: &Captured, reply: &Reply) {
    let name = captured.name();
    let kinds: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .collect();
    assert_eq!(kinds.len(), 1, "{name}: {:?}", reply.headers);
    assert_eq!(kinds[0].0, "Content-Type", "{name}");
    assert!(kinds[0].1.starts_with("application/json"), "{name}");
    let success: &[u16] = match captured.method.as_str() {
        "GET" | "DELETE" => &[200],
        _ => &[200, 201],
    };
    assert!(
        success.contains(&reply.status) || reply.status >= 400,
        "{name}: {}",
        reply.status
    );
    let said: Value = serde_json::from_slice(&reply.body)
        .unwrap_or_else(|error| panic!("{name}: {error}: {}", reply.text()));
    assert!(said.is_object(), "{name}: {said}");
}

/// What the placeholders of the recordings stand for.
struct World {
    http: std::net::SocketAddr,
    cloud: Cloud,
    account_token: String,
    backend: Backend,
    app: Uploaded,
    tooling: OnceCell<Tooling>,
}

/// A request as it was sent, and what came back.
struct Replayed<'a> {
    world: &'a World,
    captured: &'a Captured,
    /// The object that `<24 hex>` in the target stands for.
    object: Option<Value>,
    reply: Reply,
}

impl World {
    #[track_caller]
    fn new(server: &Server) -> Self {
        let cloud = server.cloud();
        let account_token = account_token(&cloud);
        let backend = cloud.create_backend("replay");
        // Whom the recorded logins are by.
        register(&backend, "logintest");
        Self {
            http: server.http,
            app: Uploaded::create(&cloud, server.http),
            account_token,
            backend,
            cloud,
            tooling: OnceCell::new(),
        }
    }

    /// Whoever runs the Qt library's tests, signed in.
    #[track_caller]
    fn tooling(&self) -> &Tooling {
        self.tooling
            .get_or_init(|| Tooling::new(&self.cloud, self.http))
    }

    /// Sends a recorded request and gives its reply to `check`.
    #[track_caller]
    fn replay(&self, captured: &Captured, check: Check, judge: Judge) {
        let object = match captured.target.contains("<24 hex>") {
            true => Some(self.existing_object(captured)),
            false => files::names_a_target(captured).then(|| files::target(self, captured)),
        };
        apps::prepare(&self.app, captured);
        let object_id = object
            .as_ref()
            .map_or_else(String::new, |object| text(object, "/id"));
        let mut connection = Connection::open(self.http);
        connection.write(
            &self
                .with_backend(captured)
                .bytes(|text| self.fill(text, &object_id)),
        );
        let reply = connection.reply();
        judge(captured, &reply);
        check(&Replayed {
            world: self,
            captured,
            object,
            reply,
        });
    }

    /// In the backend header the placeholder is the backend; elsewhere it is an object.
    fn with_backend(&self, captured: &Captured) -> Captured {
        let mut captured = captured.clone();
        for (name, value) in &mut captured.headers {
            if name == "Enginio-Backend-Id" {
                value.clone_from(&self.backend.id);
            }
            // The token of whoever was signed in before.
            if name == "Authorization" && value == "Bearer <24 hex>" {
                "Bearer 51cdbc08989e975ec300772a".clone_into(value);
            }
        }
        if captured.method == "POST" && captured.target.ends_with("/members") {
            let user = register(&self.backend, "member");
            captured.body = captured.body.replace("<24 hex>", &text(&user, "/id"));
        }
        account::prepare(self, &mut captured);
        files::restore(&mut captured);
        captured
    }

    fn fill(&self, text: &str, object_id: &str) -> String {
        text.replace("HOST:PORT", &self.http.to_string())
            .replace("<24 hex>", object_id)
            .replace("<32 hex>", "00112233445566778899aabbccddeeff")
            .replace("Bearer PAT1", &format!("Bearer {}", self.cloud.token))
            .replace("Bearer CT", &format!("Bearer {}", self.account_token))
            .replace("mar-eu-1-abcd1234", &self.app.id)
            .replace("/put/slug?sig=1", &self.app.place())
            .replace(
                "/accounts/c1",
                &format!("/accounts/{}", self.cloud.account_id),
            )
    }

    /// An object of the type that the target names, for a request that needs one.
    #[track_caller]
    fn existing_object(&self, captured: &Captured) -> Value {
        let mut segments = captured.target.split('/').skip(2);
        let collection = segments.next().expect("a target names its collection");
        match collection {
            "users" => register(&self.backend, "before"),
            "usergroups" => self.group_with_a_member(),
            "files" => files::existing(self),
            "account" => account::create_app(self),
            _ => {
                let name = segments.next().expect("a target with an id names its type");
                self.backend
                    .create(name, &json!({"title": "before", "kept": true}))
            }
        }
    }

    #[track_caller]
    fn group_with_a_member(&self) -> Value {
        let create = Request::post("/v1/usergroups").json(&json!({"name": "before", "kept": true}));
        let group = self.backend.send(create).must_be(201);
        let user = register(&self.backend, "in the group");
        let add = Request::post(format!("{}/members", path_of(&group))).json(&user);
        self.backend.send(add).must_be(201);
        group
    }
}

/// Makes a user whose password is the name. A name that is taken already gets a number.
#[track_caller]
fn register(backend: &Backend, name: &str) -> Value {
    let count = backend.send(Request::get("/v1/users?count=")).must_be(200);
    let name = match name {
        "logintest" => name.to_owned(),
        name => format!("{name} {}", count["count"]),
    };
    let user = json!({"username": name, "password": name, "kept": true});
    backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201)
}

/// The account token of an account; made where there is none, as the Ruby client does.
#[track_caller]
fn account_token(cloud: &Cloud) -> String {
    let path = format!("/v1/accounts/{}/authorizations", cloud.account_id);
    let list = || cloud.send(Request::get(&*path)).must_be(200);
    if shape::results(&list()).is_empty() {
        cloud.send(Request::post(&*path).body("{}")).must_be(201);
    }
    text(&list(), "/results/0/access_token")
}

#[track_caller]
fn replay_all(world: &World, recorded: &[Captured], rows: &[Row], judge: Judge) {
    let mut used = vec![false; rows.len()];
    for captured in recorded {
        let fits = rows.iter().position(|row| row_fits(row, captured));
        let index =
            fits.unwrap_or_else(|| panic!("no row says what becomes of {}", captured.name()));
        used[index] = true;
        world.replay(captured, rows[index].2, judge);
    }
    let unused: Vec<_> = rows
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(row, _)| (row.0, row.1))
        .collect();
    assert!(
        unused.is_empty(),
        "rows without a recorded request: {unused:?}"
    );
}

fn row_fits(&(method, target, _): &Row, captured: &Captured) -> bool {
    let target_fits = match target.strip_suffix('*') {
        Some(beginning) => captured.target.starts_with(beginning),
        None => captured.target == target,
    };
    target_fits && (method == "*" || method == captured.method)
}

impl Replayed<'_> {
    #[track_caller]
    fn must_be(&self, status: u16) -> Value {
        assert_eq!(
            self.reply.status,
            status,
            "{}: {}",
            self.captured.name(),
            self.reply.text()
        );
        self.reply.must_be(status)
    }

    fn sent(&self) -> Value {
        serde_json::from_str(&self.captured.body).unwrap_or_default()
    }
}

// The Qt library.

fn lists_all(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    for object in shape::list(&reply, &json!({})) {
        shape::object(object, "objects.CustomObject1", &json!({}));
    }
}

fn lists_one(replayed: &Replayed<'_>) {
    for title in ["a", "b"] {
        replayed
            .world
            .backend
            .create("CustomObject1", &json!({"title": title}));
    }
    let again = replayed
        .world
        .backend
        .send(Request::get(&*replayed.captured.target))
        .must_be(200);
    assert_eq!(shape::list(&again, &json!({})).len(), 1);
    let reply = replayed.must_be(200);
    assert!(shape::list(&reply, &json!({})).len() <= 1);
    assert_eq!(reply["query"]["limit"], 1);
}

fn lists_completed(replayed: &Replayed<'_>) {
    replayed
        .world
        .backend
        .create("todos", &json!({"completed": true}));
    replayed
        .world
        .backend
        .create("todos", &json!({"completed": false}));
    let filter = json!({"completed": true});
    shape::list(&replayed.must_be(200), &filter);
    let again = replayed
        .world
        .backend
        .send(Request::get(&*replayed.captured.target))
        .must_be(200);
    let found = shape::list(&again, &filter);
    assert!(
        !found.is_empty() && found.iter().all(|object| object["completed"] == true),
        "{again}"
    );
}

fn searches(replayed: &Replayed<'_>) {
    assert_eq!(
        replayed.must_be(200)["results"],
        json!([]),
        "nobody used the type yet"
    );
    let backend = &replayed.world.backend;
    for text in ["A cat", "cat and dog", "category"] {
        backend.create("fullTextSearch1", &json!({ "stringValue": text }));
    }
    let again = Request::get(&*replayed.captured.target);
    let found = backend.send(again).must_be(200);
    assert_eq!(shape::results(&found).len(), 2, "{found}");
    for object in shape::results(&found) {
        assert_eq!(object["objectType"], "objects.fullTextSearch1");
    }
}

fn reads_one(replayed: &Replayed<'_>) {
    assert_eq!(Some(replayed.must_be(200)), replayed.object);
}

fn creates(replayed: &Replayed<'_>) {
    let (sent, created) = (replayed.sent(), replayed.must_be(201));
    shape::object(&created, &text(&sent, "/objectType"), &sent);
    assert_eq!(created["createdAt"], created["updatedAt"]);
}

fn finds_no_such_object(replayed: &Replayed<'_>) {
    shape::eds_error(&replayed.reply, 404, "NotFound");
}

/// The client sends back the whole object; what belongs to the server stays the server's.
fn updates(replayed: &Replayed<'_>) {
    let (sent, updated) = (replayed.sent(), replayed.must_be(200));
    let before = replayed
        .object
        .as_ref()
        .expect("an update has an object in its target");
    for key in ["id", "objectType", "createdAt", "kept"] {
        assert_eq!(updated[key], before[key], "{key}");
    }
    for key in ["title", "count"] {
        if let Some(value) = sent.get(key) {
            assert_eq!(&updated[key], value, "{key}");
        }
    }
    assert!(
        text(&updated, "/updatedAt") > text(before, "/updatedAt"),
        "updatedAt grows strictly"
    );
}

fn signs_in(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let data = &reply["enginio_data"];
    shape::object(&data["user"], "users", &json!({"username": "logintest"}));
    assert_eq!(data["usergroups"], json!([]));
    for key in ["access_token", "refresh_token"] {
        assert!(!text(&reply, &format!("/{key}")).is_empty());
    }
}

fn registers(replayed: &Replayed<'_>) {
    let mut sent = replayed.sent();
    if sent == json!({}) {
        let blank = "can't be blank";
        let fault =
            |name: &str| json!({"message": blank, "property": name, "reason": "ValidationFailed"});
        let faults = [fault("username"), fault("password")];
        assert_eq!(replayed.must_be(400), json!({ "errors": faults }));
        return;
    }
    let created = replayed.must_be(201);
    let sent = sent.as_object_mut().expect("a user is an object");
    assert!(sent.remove("password").is_some() && created.get("password").is_none());
    shape::object(&created, "users", &json!(sent));
}

fn changes_a_user(replayed: &Replayed<'_>) {
    let (sent, changed) = (replayed.sent(), replayed.must_be(200));
    let before = replayed.object.as_ref().expect("there is a user to change");
    for key in ["id", "objectType", "username", "kept", "creator"] {
        assert_eq!(changed[key], before[key], "{key}");
    }
    assert!(changed.get("password").is_none());
    if let Some(email) = sent.get("email") {
        assert_eq!(&changed["email"], email);
    }
    if let Some(password) = sent.get("password").and_then(Value::as_str) {
        let name = text(&changed, "/username").replace(' ', "%20");
        let login = format!("grant_type=password&username={name}&password={password}");
        let login = Request::post("/v1/auth/oauth2/token").body(login);
        replayed.world.backend.send(login).must_be(200);
    }
}

fn lists_users(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let users = shape::results(&reply);
    assert!(!users.is_empty(), "{reply}");
    for user in users {
        shape::object(user, "users", &json!({}));
        assert!(user.get("password").is_none());
    }
    if replayed.captured.target.contains("?q=") {
        let filter = json!({"username": "logintest"});
        assert_eq!(shape::list(&reply, &filter).len(), 1);
        assert_eq!(users[0]["username"], "logintest");
    }
    if replayed.captured.target.contains("limit=1") {
        assert_eq!(users.len(), 1);
    }
}

fn creates_a_group(replayed: &Replayed<'_>) {
    shape::object(&replayed.must_be(201), "usergroups", &replayed.sent());
}

fn describes_a_group(replayed: &Replayed<'_>) {
    let (sent, changed) = (replayed.sent(), replayed.must_be(200));
    let before = replayed
        .object
        .as_ref()
        .expect("there is a group to change");
    assert_eq!(
        (&changed["id"], &changed["kept"]),
        (&before["id"], &json!(true))
    );
    assert_eq!(changed["description"], sent["description"]);
}

fn lists_groups(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    for group in shape::results(&reply) {
        shape::object(group, "usergroups", &json!({}));
    }
    if replayed.captured.target.contains("?q=") {
        shape::list(&reply, &json!({"name": "usergroup"}));
    }
}

/// The client checks that it gets the user.
fn adds_a_member(replayed: &Replayed<'_>) {
    shape::object(&replayed.must_be(201), "users", &json!({"kept": true}));
}

fn lists_members(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let members = shape::list(&reply, &json!({}));
    assert_eq!(members.len(), 1, "{reply}");
    shape::object(&members[0], "users", &json!({"kept": true}));
}

fn counts(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    assert!(
        reply["count"].is_u64() && reply.get("results").is_none(),
        "{reply}"
    );
}

fn deletes(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(200), json!({}));
}

// The Ruby command line.

fn lists_accounts(replayed: &Replayed<'_>) {
    if replayed
        .captured
        .headers
        .iter()
        .any(|(_, value)| value == "Bearer X")
    {
        shape::error(&replayed.reply, 401, "AccessDenied");
        return;
    }
    let reply = replayed.must_be(200);
    let own = &replayed.world.cloud.account_id;
    let account = shape::results(&reply)
        .iter()
        .find(|account| account["id"] == **own)
        .expect("the operator's own account is listed");
    is_account(account);
}

fn is_account(account: &Value) {
    assert!(!text(account, "/name").is_empty());
    assert_eq!(
        account["datacenter"]["id"], "eu-1",
        "the client reads an object here: {account}"
    );
}

fn creates_account(replayed: &Replayed<'_>) {
    let account = replayed.must_be(201);
    is_account(&account);
    assert_eq!(account["name"], "my new cloud");
    assert_eq!(account["vpc"], true);
}

fn shows_account(replayed: &Replayed<'_>) {
    let account = replayed.must_be(200);
    is_account(&account);
    assert_eq!(account["id"], *replayed.world.cloud.account_id);
}

fn lists_account_tokens(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    assert_eq!(
        reply["results"][0]["access_token"],
        *replayed.world.account_token
    );
}

fn lists_backends(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let instances = shape::results(&reply);
    assert!(
        instances
            .iter()
            .any(|instance| instance["id"] == *replayed.world.backend.id),
        "{reply}"
    );
    for instance in instances {
        assert!(shape::is_hex(&text(instance, "/id"), 24));
        assert!(instance["name"].is_string());
        assert!(
            instance["tags"].is_array(),
            "null tags crash this client: {instance}"
        );
    }
}

fn lists_nothing(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(200)["results"], json!([]));
}

fn lists_datacenters(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let datacenter = shape::results(&reply)
        .iter()
        .find(|datacenter| datacenter["id"] == "eu-1")
        .expect("the default datacenter is listed");
    assert!(datacenter["description"].is_string());
    let services = datacenter["services"].as_array();
    for service in services.expect("a datacenter lists its services") {
        assert!(service["id"].is_string());
        let url = text(service, "/url");
        // The client appends /v1/… itself.
        assert!(
            url.starts_with("http") && !url.ends_with('/') && !url.ends_with("/v1"),
            "{url}"
        );
    }
}

/// Managed databases and their VPN. The client shows the words of an error as they are.
fn is_not_there_yet(replayed: &Replayed<'_>) {
    shape::error(&replayed.reply, 404, "NotFound");
}

fn finds_no_such_instance(replayed: &Replayed<'_>) {
    shape::error(&replayed.reply, 404, "NotFound");
}
