//! The published descriptions, by clients that know nothing else: `node/openapi.cjs` and `node/openapi_mws.cjs`.

use std::path::Path;
use std::process::{Command, Stdio};

use pilvi_e2e::node;
use pilvi_e2e::process::binary;
use pilvi_e2e::server::{Options, Server};
use serde_json::{Value, json};

/// What is described, each in a file of this name.
const SERVICES: [&str; 2] = ["eds", "mws"];

#[test]
fn every_call_takes_and_gives_what_is_described() {
    if !node::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Options {
        data: Some(folder.path().to_owned()),
        ..Options::demo()
    });
    let backend = server.backend();
    let result = node::run(
        "openapi.cjs",
        &[
            ("ADDRESS", &*format!("http://{}", server.http)),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
            ("MAILS", folder.path().join("mail").to_str().unwrap()),
        ],
    );
    assert_eq!(
        result["statuses"],
        json!([200, 201, 206, 400, 401, 403, 404, 429])
    );
    server.stop();
}

#[test]
fn every_call_to_a_gateway_takes_and_gives_what_is_described() {
    if !node::is_ready() {
        return;
    }
    let server = Server::demo();
    let gateway = server.cloud().create_gateway("described");
    let result = node::run(
        "openapi_mws.cjs",
        &[
            ("ADDRESS", &*format!("http://{}", server.http)),
            ("GATEWAY_ID", &gateway.id),
            ("TOKEN", &gateway.token),
        ],
    );
    assert_eq!(
        result["statuses"],
        json!([200, 201, 401, 403, 404, 410, 413, 422])
    );
    server.stop();
}

/// The same as in the server's own tests, but of the program.
#[test]
fn the_program_prints_its_descriptions() {
    for service in SERVICES {
        let output = Command::new(binary()).args(["openapi", service]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let copy = format!("../docs/openapi/{service}.json");
        let copy = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(copy)).unwrap();
        assert_eq!(printed, serde_json::from_slice::<Value>(&copy).unwrap());
    }
}

/// As `pilvi openapi eds | head` does.
#[test]
fn a_reader_who_has_seen_enough_is_no_fault() {
    let mut child = Command::new(binary())
        .args(["openapi", "eds"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}
