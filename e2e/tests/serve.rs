//! `pilvi serve`: a durable folder, one token at the first start, a line of JSON for scripts.

use std::process::Command;

use pilvi_e2e::api::path_of;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{process, shape, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let start = || {
        Server::start(&Options {
            data: Some(folder.path().to_owned()),
            ..Options::serve()
        })
    };

    let first = start();
    let backend = first.cloud().create_backend("shop");
    let stored = backend.create("goods", &json!({"name": "bell"}));
    let account_id = first.ready["accountId"].clone();
    let token = first.cloud().token;
    first.stop();

    let second = start();
    assert_eq!(
        second.ready.get("token").unwrap_or(&Value::Null),
        &Value::Null,
        "the token is printed once"
    );
    assert_eq!(second.ready["accountId"], account_id);
    let reply = Request::get(path_of(&stored))
        .backend(&backend.id)
        .bearer(&backend.token)
        .send(second.http);
    assert_eq!(reply.must_be(200), stored);
    Request::get("/v1/user/accounts")
        .bearer(&token)
        .send(second.http)
        .must_be(200);
    second.stop();
}

#[test]
fn the_ready_line_names_all_that_a_script_needs() {
    let server = Server::serve();
    let mut keys = shape::keys(&server.ready);
    keys.sort_unstable();
    assert_eq!(keys, ["accountId", "ca", "http", "https", "ssh", "token"]);
    assert!(server.https().ip().is_loopback());
    let certificate = std::fs::read_to_string(server.ca()).unwrap();
    assert!(
        certificate.starts_with("-----BEGIN CERTIFICATE-----"),
        "{certificate}"
    );
    server.stop();

    let demo = Server::demo();
    for key in ["eds", "mws", "page"] {
        assert!(
            !demo.ready[key].is_null(),
            "{key} is missing in {}",
            demo.ready
        );
    }
    demo.stop();
}

#[test]
fn the_ca_can_be_printed() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(folder.path().to_owned()),
        ..Options::serve()
    });
    let printed = Command::new(process::binary())
        .arg("ca")
        .arg("--data")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(printed.status.success());
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        std::fs::read_to_string(server.ca()).unwrap()
    );
    server.stop();
}

#[test]
fn curl_trusts_the_local_ca() {
    let server = Server::demo();
    let url = format!("https://{}/v1/user/accounts", server.https());
    let token = format!("Authorization: Bearer {}", server.cloud().token);
    let answered = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "30",
            "--cacert",
            server.ca(),
            "-H",
            &token,
            &url,
        ])
        .output();
    // curl is on every machine that this project builds on: `cargo xtask test` installs it where root runs it.
    let Ok(answered) = answered else {
        skip::report("curl is not installed");
        return;
    };
    assert!(
        answered.status.success(),
        "{}",
        String::from_utf8_lossy(&answered.stderr)
    );
    let body: Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert!(body["results"].is_array(), "{body}");
    server.stop();
}
