//! The three demos of the talk, pushed to a real server: sources are in `examples`, what the clients do is in
//! `node/talk_*.cjs`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::app::{App, Source};
use pilvi_e2e::child::Client;
use pilvi_e2e::http::Request;
use pilvi_e2e::names::Names;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{browser, node, packages, qt};
use serde_json::json;

/// After how many seconds without a byte the router cuts a connection, in the gate; `PILVI_IDLE_SECONDS` sets another
/// number, and a full run the real one.
const IDLE_SECONDS: u64 = 2;

/// How long a script may take beside the time that it spends waiting for the router.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Chromium gives up its connections whenever a network device comes or goes, and every process of an app has one. So
/// nothing is deployed while it looks at a page: the other tests share this, and that one has it alone.
static DEVICES: RwLock<()> = RwLock::new(());

#[test]
fn an_echo_server_keeps_its_clients_by_pings_and_one_without_loses_them() {
    if !node::is_ready() || !qt::has_both() {
        return;
    }
    let Some(source) = Source::of_example("echo-server") else {
        return;
    };
    let _devices = DEVICES.read().unwrap_or_else(PoisonError::into_inner);
    let idle = idle_seconds();
    let server = Server::start(&Options {
        more: vec!["--apps-idle-timeout".into(), idle.to_string()],
        ..Options::serve()
    });
    let pinging = deployed(
        &server,
        "echo",
        &source,
        &[&format!("PING_INTERVAL={}", idle * 5 / 6)],
    );
    // The same sources with the other Qt.
    let silent = deployed(
        &server,
        "silent",
        &source,
        &["PING_INTERVAL=0", "QT_VERSION=6"],
    );

    let [plain, secure] = [server.http, server.https()].map(|address| address.port().to_string());
    let variables = [
        ("SERVER_ADDRESS", server.http.ip().to_string()),
        ("NODE_EXTRA_CA_CERTS", server.ca().to_owned()),
        ("PINGING", format!("{}.localhost", pinging.id)),
        ("SILENT", format!("{}.localhost", silent.id)),
        ("PLAIN_PORT", plain),
        ("SECURE_PORT", secure),
        ("IDLE_SECONDS", idle.to_string()),
    ];
    let within = DONE_WITHIN + Duration::from_secs(2 * idle);
    assert_eq!(
        result("talk_echo.cjs", &variables, within),
        json!({"echoed": 6})
    );
    // The router tells the developer what it did.
    let log = silent.log();
    assert!(log.contains("H15"), "{log}");
    assert!(!pinging.log().contains("H15"));
    server.stop();
}

#[test]
fn private_sockets_tell_each_user_of_their_own_todos() {
    if !node::is_ready() {
        return;
    }
    let Some(source) = Source::of_example("private-sockets") else {
        return;
    };
    let Some(https) = loopback_with_port_443() else {
        return;
    };
    let _devices = DEVICES.read().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&Options {
        http: SocketAddr::from((https.ip(), 0)),
        https,
        more: packages::arguments(),
        ..Options::serve()
    });
    let backend = private_backend(&server);
    let gateway = server.cloud().create_gateway("messages");
    let closed =
        Request::put(gateway.path("configuration")).json(&json!({"accessControl": "custom"}));
    gateway.send_as_admin(closed).must_be(200);

    let vars = [
        "EDS_ADDRESS=https://eds.localhost",
        "MWS_ADDRESS=https://mws-eu-1.localhost",
        "WEBHOOK_SECRET=sesame",
        &format!("EDS_BACKEND_ID={}", backend.id),
        &format!("MWS_GATEWAY_ID={}", gateway.id),
        &format!("MWS_SECRET={}", gateway.token),
    ];
    let app = deployed(&server, "private-sockets", &source, &vars);
    backend.create_webhook(&json!({
        "url": format!("http://{}/webhook", app.host()),
        "events": ["create", "update", "delete"],
        "objectTypes": ["objects.todos"],
        "headers": {"Authorization": "Bearer sesame"},
    }));

    let variables = [
        ("SERVER_ADDRESS", https.ip().to_string()),
        ("NODE_EXTRA_CA_CERTS", server.ca().to_owned()),
        ("ADDRESS", format!("https://{}", https.ip())),
        ("BACKEND_ID", backend.id.clone()),
        ("APP", format!("http://{}", app.host())),
    ];
    assert_eq!(
        result("talk_private.cjs", &variables, DONE_WITHIN),
        json!({"heard": 6})
    );
    server.stop();
}

#[test]
fn a_page_uses_an_object_of_a_program_through_a_relay() {
    let Some(browser) = browser::find() else {
        return;
    };
    let Some(source) = Source::of_example("webchannel/relay") else {
        return;
    };
    let Some(thermostat) = qt::thermostat(Path::new(env!("CARGO_TARGET_TMPDIR"))) else {
        return;
    };
    let server = Server::start(&Options {
        more: packages::arguments(),
        ..Options::serve()
    });
    let relay = deployed(&server, "relay", &source, &["RELAY_SECRET=sesame"]);
    let host = format!("{}.localhost", relay.id);
    let Some(names) = Names::of(&[(&host, server.http.ip())]) else {
        return;
    };

    let _devices = DEVICES.write().unwrap_or_else(PoisonError::into_inner);
    let secure = text(&relay.facts, "/httpsUrl");
    let mut publisher = names.command(&thermostat);
    publisher
        .env("RELAY_SECRET", "sesame")
        .args(["--ca", server.ca()]);
    publisher.arg(secure.replace("https://", "wss://") + "/publish");
    let mut publisher = Client::start("thermostat", &mut publisher);
    publisher.expect_line("published", DONE_WITHIN);

    let variables = [
        ("CHROMIUM", browser.display().to_string()),
        ("PLAIN", text(&relay.facts, "/url")),
        ("SECURE", secure),
    ];
    assert_eq!(
        result("talk_webchannel.cjs", &variables, DONE_WITHIN),
        json!({"windows": 2})
    );
    publisher.expect_line("asked for 23.5: accepted", DONE_WITHIN);
    publisher.expect_line("asked for 99: refused", DONE_WITHIN);
    server.stop();
}

/// An app with these config vars that runs what is in the repository.
#[track_caller]
fn deployed(server: &Server, name: &str, source: &Source, vars: &[&str]) -> App {
    let app = App::create(server, name);
    app.set(vars);
    app.deploy(source);
    app
}

/// A backend in which everybody sees only what is theirs.
#[track_caller]
fn private_backend(server: &Server) -> Backend {
    let cloud = server.cloud();
    let body =
        json!({"name": "todos", "serviceProviderId": "eds", "config": {"openness": "private"}});
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let instance = cloud.send(Request::post(path).json(&body)).must_be(201);
    let id = text(&instance, "/id");
    let path = format!("/v1/instances/{id}/authorizations");
    let tokens = cloud.send(Request::get(path)).must_be(200);
    Backend::new(server.http, &id, &text(&tokens, "/results/0/access_token"))
}

#[track_caller]
fn result(script: &str, variables: &[(&str, String)], within: Duration) -> serde_json::Value {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    node::start(script, &variables).result(within)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a full run waits as long as the router really does, and says so from outside"
)]
fn idle_seconds() -> u64 {
    match std::env::var("PILVI_IDLE_SECONDS") {
        Ok(seconds) => seconds
            .parse()
            .expect("PILVI_IDLE_SECONDS is a whole number"),
        Err(_) => IDLE_SECONDS,
    }
}
