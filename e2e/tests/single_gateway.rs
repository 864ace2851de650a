//! `pilvi gateway` in the place of the open-source server (`mws.md` §10): its variables, its paths, its clients.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::app::{App, Source};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::process::binary;
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::Server;
use pilvi_e2e::single::{Single, TOKEN};
use pilvi_e2e::socket::{Heard, Socket};
use pilvi_e2e::{node, search_path, shape, skip, wait};
use serde_json::{Value, json};

fn message(data: &str, tags: &[&str]) -> Request {
    let body = json!({"data": data, "receivers": {"sockets": null, "tags": tags}});
    Request::post("/v1/messages").json(&body)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn it_answers_where_the_open_source_server_did() {
    let gateway = Single::start(&[]);
    let named = gateway.send(&Request::get("/"));
    assert_eq!((named.status, &*named.text()), (200, r#"{"name":"MWS"}"#));

    let uri = gateway
        .send(&Request::get("/v1/websocket_uri"))
        .must_be(200);
    assert_eq!(keys(&uri), ["expiresAt", "tags", "uri"]);
    let start = format!("ws://{}/?token=", gateway.http);
    assert!(text(&uri, "/uri").starts_with(&start), "{uri}");

    let tags = Request::post("/v1/sockets").json(&json!({"tags": ["a", 5]}));
    let made = gateway.send_as_admin(tags).must_be(201);
    assert_eq!(keys(&made), ["expiresAt", "id", "tags", "uri"]);
    assert_eq!(made["tags"], json!(["a", "5"]));
    let mut socket = Socket::open(&text(&made, "/uri"));
    let listed = gateway
        .send_as_admin(Request::get("/v1/sockets"))
        .must_be(200);
    assert_eq!(listed["results"][0]["id"], made["id"], "{listed}");
    let sent = gateway.send(&message("hello", &["5"]));
    assert_eq!(sent.status, 201);
    assert_eq!(
        sent.text(),
        r#"{"data":"hello","receivers":{"sockets":null,"tags":["5"]}}"#
    );
    assert_eq!(socket.hear(), Heard::Text("hello".to_owned()));

    let path = format!("/v1/sockets/{}", text(&made, "/id"));
    let shown = gateway.send_as_admin(Request::get(&path)).must_be(200);
    assert_eq!(shown, listed["results"][0]);
    let deleted = gateway.send_as_admin(Request::delete(&path)).must_be(200);
    assert_eq!(deleted, json!({}));
    assert_eq!(socket.hear(), Heard::Closed(1000));
    shape::error(&gateway.send_as_admin(Request::get(&path)), 404, "NotFound");
    gateway.stop();
}

#[test]
fn its_health_and_metrics_are_at_an_address_of_their_own() {
    let without = Single::start(&[]);
    assert_eq!(without.ready["health"], Value::Null);
    without.stop();
    let gateway = Single::start(&[("PILVI_HEALTH", "127.0.0.1:0")]);
    let health = text(&gateway.ready, "/health");
    let health = health.strip_prefix("http://").unwrap().parse().unwrap();
    for (path, state) in [("/healthz", "alive"), ("/readyz", "ready")] {
        let reply = Request::get(path).send(health).must_be(200);
        assert_eq!(reply, json!({"status": state}));
    }
    let socket = gateway.connect(None);
    gateway.send(&message("hello", &["nobody"])).must_be(201);
    let metrics = Request::get("/metrics").send(health).text();
    for line in ["pilvi_mws_sockets 1", "pilvi_mws_messages_total 1"] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(!metrics.contains(TOKEN));
    drop(socket);
    gateway.stop();
}

#[test]
fn nothing_else_is_there() {
    let gateway = Single::start(&[]);
    for path in [
        "/v1/configuration",
        "/v1/gateways/000000000000000000000000/websocket_uri",
        "/v1/instances/000000000000000000000000/messages",
        "/v1/accounts",
        "/v1/objects/todos",
        "/v1/events/secret",
        "/console",
        "/todo",
        "/git/a/info/refs?service=git-upload-pack",
    ] {
        let request = Request::get(path).backend("5417e5485a3d8b418a01adb7");
        shape::error(&gateway.send_as_admin(request), 404, "NotFound");
    }
    gateway.stop();
}

#[test]
fn who_has_no_token_administers_nothing() {
    let admin = [
        Request::get("/v1/sockets"),
        Request::post("/v1/sockets").json(&json!({})),
        Request::get("/v1/sockets/1"),
        Request::delete("/v1/sockets/1"),
        Request::post("/v1/webhook_receivers/enginio").json(&json!({})),
    ];
    let message = |reply: &Reply, message: &str| {
        let body = shape::error(reply, 401, "AccessDenied");
        assert_eq!(body["error"]["message"], message);
    };
    let with_one = Single::start(&[]);
    let without = Single::start_with(&["--http", "127.0.0.1:0"], &[]);
    let with_empty = Single::start_with(&["--http", "127.0.0.1:0"], &[("SECURITY_TOKEN", "")]);
    for gateway in [&with_one, &without, &with_empty] {
        for request in &admin {
            message(&gateway.send(request), "Authorization header is required");
            for wrong in [
                "Bearer",
                "Bearer ",
                "Bearer wrong",
                "bearer 5e75-hunter2-c0de",
                "Basic eA==",
            ] {
                let request = request.clone().header("Authorization", wrong);
                message(&gateway.send(&request), "Access denied");
            }
        }
    }
    assert!(
        without.log().contains("SECURITY_TOKEN is not set"),
        "{}",
        without.log()
    );
    for gateway in [with_one, without, with_empty] {
        gateway.stop();
    }
}

#[test]
fn modes_are_those_of_the_original() {
    let listens = |gateway: &Single| gateway.send(&Request::get("/v1/websocket_uri")).status;
    let speaks = |gateway: &Single| gateway.send(&message("x", &[])).status;
    let custom = Single::start(&[("ACCESS_CONTROL", "custom")]);
    assert_eq!((listens(&custom), speaks(&custom)), (401, 401));
    custom.send_as_admin(message("x", &[])).must_be(201);
    let odd = Single::start(&[("ACCESS_CONTROL", "Custom")]);
    assert_eq!((listens(&odd), speaks(&odd)), (200, 201));
    assert!(
        odd.log().contains("ANYBODY CAN LISTEN AND SEND"),
        "{}",
        odd.log()
    );
    for gateway in [custom, odd] {
        gateway.stop();
    }
}

#[test]
fn broken_rules_are_told_in_both_forms() {
    let gateway = Single::start(&[]);
    let rows = [
        (
            json!({"receivers": {}}),
            json!({"data": "Data can't be nil"}),
        ),
        (
            json!({"data": "x"}),
            json!({"receivers": "Receivers can't be nil"}),
        ),
        (
            json!({"data": "x", "receivers": []}),
            json!({"receivers": "Receivers isn't a hash"}),
        ),
        (
            json!({"data": "x", "receivers": {"sockets": "*"}}),
            json!({"receivers": {"sockets": "Sockets isn't an array"}}),
        ),
        (
            json!({"data": "x", "receivers": {"tags": ["a", []]}}),
            json!({"receivers": {"tags": [null, "Tags[1] isn't a string"]}}),
        ),
    ];
    for (body, old) in rows {
        let mut told = gateway
            .send(&Request::post("/v1/messages").json(&body))
            .must_be(422);
        let errors = told.as_object_mut().unwrap().remove("errors").unwrap();
        assert!(errors[0]["message"].is_string(), "{errors}");
        assert_eq!(told, old, "{body}");
    }
    gateway.stop();
}

#[test]
fn the_public_name_is_that_of_the_router_in_front() {
    let named = Single::start(&[("APP_DOMAIN", "mws.example.org")]);
    let base = |gateway: &Single, request: &Request| {
        let uri = text(&gateway.send(request).must_be(200), "/uri");
        uri.split("/?token=").next().unwrap().to_owned()
    };
    let ask = Request::get("/v1/websocket_uri");
    assert_eq!(base(&named, &ask), "wss://mws.example.org");
    let plain = Single::start(&[]);
    let ask = ask.header("Host", "chat.example.org:81");
    assert_eq!(base(&plain, &ask), "ws://chat.example.org:81");
    let forwarded = |proto: &str| ask.clone().header("X-Forwarded-Proto", proto);
    assert_eq!(
        base(&plain, &forwarded("https")),
        "wss://chat.example.org:81"
    );
    assert_eq!(base(&plain, &forwarded("http")), "ws://chat.example.org:81");
    assert_eq!(
        base(&plain, &forwarded("https, http")),
        "wss://chat.example.org:81"
    );
    for gateway in [named, plain] {
        gateway.stop();
    }
}

/// The address of a socket and the name of the server share a path.
#[test]
fn an_address_can_be_read_as_an_event_stream() {
    let gateway = Single::start(&[]);
    let uri = gateway
        .send(&Request::get("/v1/websocket_uri"))
        .must_be(200);
    let uri = text(&uri, "/uri");
    let target = uri.strip_prefix(&format!("ws://{}", gateway.http)).unwrap();
    let ask = || Request::get(target).header("Accept", "text/event-stream");
    let mut stream = Connection::open(gateway.http);
    stream.write(&ask().bytes("any"));
    let head = stream.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/event-stream"), "{head}");
    let everyone = json!({"data": "hello", "receivers": {"sockets": ["*"]}});
    gateway
        .send(&Request::post("/v1/messages").json(&everyone))
        .must_be(201);
    let mut came = String::new();
    while !came.contains("data: hello\n\n") {
        came.push(char::from(stream.exactly(1)[0]));
    }
    shape::error(&gateway.send(&ask()), 410, "Gone");
    assert_eq!(gateway.send(&Request::get("/")).text(), r#"{"name":"MWS"}"#);
    drop(stream);
    gateway.stop();
}

#[test]
fn it_runs_and_stops_as_an_app_of_a_platform_does() {
    let variables = [
        ("SECURITY_TOKEN", TOKEN),
        ("PORT", "0"),
        ("REDIS_HOST", "redis.internal"),
        ("REDIS_PASSWORD", "redis-hunter3"),
        ("LOG_LEVEL", "debug"),
    ];
    let gateway = Single::start_with(&[], &variables);
    let mut socket = gateway.connect(None);
    gateway
        .send_as_admin(Request::get("/v1/sockets"))
        .must_be(200);
    let log = wait::until("the request to be logged", Duration::from_secs(10), || {
        Some(gateway.log()).filter(|log| log.contains("answered"))
    });
    assert!(log.contains("REDIS_HOST is not used"), "{log}");
    assert!(!log.contains("hunter"), "a secret is in the log: {log}");
    let stopping = std::thread::spawn(move || gateway.stop());
    assert_eq!(socket.hear(), Heard::Closed(1001));
    drop(socket);
    stopping.join().unwrap();
}

#[test]
fn what_cannot_be_meant_does_not_start() {
    let rows: [(&[(&str, &str)], &str); 6] = [
        (&[("ACCESS_CONTROL", "eds")], "EDS_BACKEND_ID must name"),
        (
            &[("ACCESS_CONTROL", "eds"), ("EDS_BACKEND_ID", "x")],
            "EDS_BACKEND_ID is `x`",
        ),
        (
            &[("APP_DOMAIN", "https://a.example")],
            "write the host alone",
        ),
        (
            &[("MWS_CONFIGURATION", "{")],
            "MWS_CONFIGURATION must be a JSON object",
        ),
        (
            &[("MWS_CONFIGURATION", r#"{"presence":{"tags":"x"}}"#)],
            "MWS_CONFIGURATION: `presence`",
        ),
        (
            &[("MWS_CONFIGURATION", r#"{"compresion":true}"#)],
            "`compresion`: is not a key",
        ),
    ];
    for (variables, expected) in rows {
        let output = Single::refuse(variables);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{variables:?}: {said}");
    }
}

/// A user of the backend, signed in.
struct User {
    id: String,
    token: String,
}

#[track_caller]
fn sign_up(backend: &Backend, name: &str) -> User {
    let credentials = json!({"username": name, "password": "a long password"});
    let user = backend
        .send(Request::post("/v1/users").json(&credentials))
        .must_be(201);
    let grant = json!({"grant_type": "password", "username": name, "password": "a long password"});
    let tokens = backend
        .send(Request::post("/v1/auth/oauth2/token").json(&grant))
        .must_be(200);
    User {
        id: text(&user, "/id"),
        token: text(&tokens, "/access_token"),
    }
}

#[test]
fn users_of_a_data_backend_elsewhere_come_by_their_permissions() {
    let server = Server::demo();
    let backend = server.backend();
    let (anna, bert) = (sign_up(&backend, "anna"), sign_up(&backend, "bert"));
    let group = backend.send_as_admin(Request::post("/v1/usergroups").json(&json!({"name": "g"})));
    let group = text(&group.must_be(201), "/id");
    let member = json!({"id": anna.id, "objectType": "users"});
    let members = Request::post(format!("/v1/usergroups/{group}/members")).json(&member);
    backend.send_as_admin(members).must_be(201);

    let uri = format!("http://{}", server.http);
    let permissions = json!({"read": ["*"], "write": [format!("usergroups.{group}")]}).to_string();
    let gateway = Single::start(&[
        ("ACCESS_CONTROL", "eds"),
        ("EDS_BACKEND_ID", &backend.id),
        ("EDS_URI", &uri),
        ("EDS_PERMISSIONS", &permissions),
    ]);
    let ask = |request: Request, token: &str| gateway.send(&request.bearer(token));
    let listen = || Request::get("/v1/websocket_uri");
    shape::error(&gateway.send(&listen()), 401, "AccessDenied");
    shape::error(&ask(listen(), "nobody"), 401, "AccessDenied");
    let reserved = ask(listen(), &anna.token).must_be(200);
    let tags = reserved["tags"].as_array().unwrap();
    for tag in [format!("users.{}", anna.id), format!("usergroups.{group}")] {
        assert!(tags.contains(&json!(tag)), "{reserved}");
    }
    ask(message("x", &[]), &anna.token).must_be(201);
    shape::error(&ask(message("x", &[]), &bert.token), 403, "Forbidden");
    shape::error(
        &ask(Request::get("/v1/sockets"), &anna.token),
        401,
        "AccessDenied",
    );

    // What one stores reaches whoever may read it, through a webhook as the original's users set it up.
    let mut annas = Socket::open(&text(&reserved, "/uri"));
    let mut berts = gateway.connect(Some(&bert.token));
    let created = Request::post("/v1/objects/notes").json(&json!({"title": "first"}));
    let path = path_of(&backend.send(created.bearer(&anna.token)).must_be(201));
    let hers = json!([{"id": anna.id, "objectType": "users"}]);
    let access = json!({"read": hers, "update": hers, "delete": hers, "admin": hers});
    let access = Request::post(format!("{path}/access")).json(&access);
    backend.send(access.bearer(&anna.token)).must_be(200);
    backend.create_webhook(&json!({
        "url": format!("http://{}/v1/webhook_receivers/enginio", gateway.http),
        "events": ["update"],
        "headers": {"Authorization": format!("Bearer {TOKEN}")},
    }));
    let change = Request::put(&path).json(&json!({"title": "mine"}));
    backend.send(change.bearer(&anna.token)).must_be(200);
    let heard = annas.hear_json();
    assert_eq!(heard["object"]["title"], "mine", "{heard}");
    assert_eq!(heard["meta"]["eventName"], "update", "{heard}");
    gateway
        .send_as_admin(message("for all", &["aclSubject.authenticated"]))
        .must_be(201);
    assert_eq!(
        berts.hear(),
        Heard::Text("for all".to_owned()),
        "and nothing before it"
    );

    // A backend that is gone cannot say who somebody is.
    server.stop();
    shape::error(&ask(listen(), "somebody else"), 503, "Unavailable");
    gateway.stop();
}

#[test]
fn the_published_client_needs_no_id() {
    if !node::is_ready() {
        return;
    }
    let gateway = Single::start(&[]);
    let address = format!("http://{}", gateway.http);
    let result = node::run("mws.cjs", &[("ADDRESS", &*address), ("TOKEN", TOKEN)]);
    assert_eq!(result, json!({"heard": 6}));
    gateway.stop();
}

/// What goes beyond the original comes by one variable more.
#[test]
fn additions_are_set_up_in_the_environment() {
    let configuration = json!({"presence": {"tags": ["room.*"]}, "history": [{"tag": "room.*"}]});
    let gateway = Single::start(&[("MWS_CONFIGURATION", &configuration.to_string())]);
    gateway.send(&message("kept", &["room.1"])).must_be(201);
    let kept = gateway
        .send_as_admin(Request::get("/v1/history?tag=room.1"))
        .must_be(200);
    assert_eq!(kept["results"][0]["data"], "kept", "{kept}");
    let tags = json!({"tags": ["room.1"]});
    let made = gateway
        .send_as_admin(Request::post("/v1/sockets").json(&tags))
        .must_be(201);
    let _socket = Socket::open(&text(&made, "/uri"));
    wait::until("the member to be there", Duration::from_secs(10), || {
        let present = gateway
            .send_as_admin(Request::get("/v1/presence?tag=room.1"))
            .must_be(200);
        (present["count"] == 1).then_some(())
    });
    gateway.stop();
}

/// As the original's users ran theirs: pushed, with config vars, behind the router.
#[test]
fn it_runs_as_an_app_of_a_platform() {
    let Some(source) = Source::of(&[("Procfile", "web: ./pilvi gateway\n")]) else {
        return;
    };
    if !copy_stripped(&source.path().join("pilvi")) {
        return;
    }
    source.commit();
    let server = Server::serve();
    let app = App::create(&server, "gateway");
    let host = app.host();
    let token = format!("SECURITY_TOKEN={TOKEN}");
    app.set(&[&token, "ACCESS_CONTROL=custom", "LOG_LEVEL=info"]);
    app.deploy(&source);

    let send = |request: Request| request.header("Host", &host).send(server.http);
    assert_eq!(send(Request::get("/")).text(), r#"{"name":"MWS"}"#);
    shape::error(
        &send(Request::get("/v1/websocket_uri")),
        401,
        "AccessDenied",
    );
    let uri = send(Request::get("/v1/websocket_uri").bearer(TOKEN)).must_be(200);
    let uri = text(&uri, "/uri");
    let rest = uri
        .strip_prefix(&format!("ws://{host}/"))
        .unwrap_or_else(|| panic!("{uri}"));
    // The name of an app is none that a machine has to know.
    let mut socket = Socket::open_at(server.http, &host, &format!("/{rest}"));
    let hello = message("hello", &[]);
    let everyone = json!({"data": "hello", "receivers": {"sockets": ["*"]}});
    shape::error(&send(hello), 401, "AccessDenied");
    send(Request::post("/v1/messages").json(&everyone).bearer(TOKEN)).must_be(201);
    assert_eq!(socket.hear(), Heard::Text("hello".to_owned()));
    assert!(
        !app.log().contains(TOKEN),
        "the token is in the log of the app"
    );
    server.stop();
}

/// The program without what only debuggers read, which is most of it.
fn copy_stripped(to: &Path) -> bool {
    if search_path::find("strip").is_none() {
        skip::report("strip is not installed: as root, run apt-get install binutils");
        return false;
    }
    let mut strip = Command::new("strip");
    let status = strip.arg("-o").arg(to).arg(binary()).status();
    status.unwrap().success()
}

/// The secret comes with the environment, because there is nowhere to keep one.
#[test]
fn events_are_signed_with_the_secret_that_was_given() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let app = Receiver::start();
    let configuration = json!({"events": {"url": app.url(), "events": ["connect"]}}).to_string();
    let unsigned = Single::start(&[("MWS_CONFIGURATION", &configuration)]);
    unsigned
        .send_as_admin(Request::post("/v1/events/test"))
        .must_be(200);
    assert!(
        unsigned.log().contains("MWS_EVENTS_SECRET is not set"),
        "{}",
        unsigned.log()
    );
    let variables = [
        ("MWS_CONFIGURATION", &*configuration),
        ("MWS_EVENTS_SECRET", SECRET),
    ];
    let signed = Single::start(&variables);
    let _socket = signed.connect(None);
    let arrived = app.wait_for(2);
    assert_eq!(arrived[0].header("webhook-signature"), None);
    assert_eq!(arrived[1].body["type"], "connect");
    assert!(arrived[1].header("webhook-signature").is_some());
    assert!(!signed.log().contains(SECRET), "a secret is in the log");
    if node::is_ready() {
        let wrong = json!([format!("whsec_{}", "A".repeat(32))]).to_string();
        let arrived = arrived[1].signed().to_string();
        let variables = [
            ("ARRIVED", &*arrived),
            ("SECRETS", &json!([SECRET]).to_string()),
            ("WRONG_SECRETS", &wrong),
        ];
        let checked = node::run("standard_webhooks.cjs", &variables);
        assert_eq!(checked, json!({"verified": 1, "refused": 1}));
    }
    for gateway in [unsigned, signed] {
        gateway.stop();
    }
}
