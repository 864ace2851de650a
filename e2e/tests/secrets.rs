//! What must stay secret is neither in the log, however much is logged, nor in the clear on the disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use pilvi_e2e::api::text;
use pilvi_e2e::http::Request;
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::{Options, Server};
use serde_json::json;
use tempfile::TempDir;

const HEADER_SECRET: &str = "webhook-header-secret-4711";
const OBJECT_TEXT: &str = "a-text-in-an-object-0815";

#[test]
fn no_secret_reaches_the_log_or_the_disk() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        log: Some("trace"),
        ..Options::demo()
    });
    let (cloud, backend, gateway) = (server.cloud(), server.backend(), server.gateway());
    let receiver = Receiver::start();
    backend.create_webhook(&json!({
        "url": receiver.url(),
        "headers": {"Authorization": HEADER_SECRET},
    }));
    let made = cloud.send(Request::post("/v1/authorizations")).must_be(201);
    let fresh_token = text(&made, "/access_token").to_owned();
    cloud.send(Request::get("/v1/user/accounts")).must_be(200);
    let mut socket = gateway.connect();
    backend.create("todos", &json!({"title": OBJECT_TEXT}));
    socket.hear_json();
    receiver.wait_for(1);
    backend.send(Request::get("/v1/objects/todos").bearer("a-wrong-token-1234"));

    let log = server.log();
    assert!(
        log.contains("/v1/objects/todos"),
        "the log says what was asked"
    );
    let tokens = [&cloud.token, &backend.token, &gateway.token, &fresh_token];
    let secrets = tokens.map(String::as_str).into_iter();
    for secret in secrets
        .clone()
        .chain([HEADER_SECRET, OBJECT_TEXT, "a-wrong-token-1234"])
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is in the log");
    }
    server.stop();

    for secret in secrets.chain([HEADER_SECRET]) {
        assert_nowhere_in(data.path(), secret);
    }
}

fn assert_nowhere_in(folder: &Path, secret: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere_in(&path, secret);
            continue;
        }
        // A socket holds nothing.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "a secret is in {}", path.display());
    }
}
