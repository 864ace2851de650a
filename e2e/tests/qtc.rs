//! The published Node client `qtc` 0.6.10, unmodified, against the real server.
//!
//! Its data and platform classes take a host name and nothing else: they speak HTTPS on port 443 whatever they are
//! told. So each server here has a loopback address of its own, and the client trusts it through
//! `NODE_EXTRA_CA_CERTS`.

use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{node, shape};
use serde_json::json;

/// Options with HTTPS on port 443 of an address of its own; none where this machine lacks something, which is then
/// reported as skipped.
fn reachable_by_qtc(options: Options) -> Option<Options> {
    if !node::is_ready() {
        return None;
    }
    let https = loopback_with_port_443()?;
    Some(Options { https, ..options })
}

fn https_address(server: &Server) -> String {
    format!("https://{}", server.https().ip())
}

#[test]
fn the_platform_class_makes_instances_that_work() {
    let Some(options) = reachable_by_qtc(Options::serve()) else {
        return;
    };
    let server = Server::start(&options);
    let cloud = server.cloud();
    let result = node::run(
        "platform.cjs",
        &[
            ("ADDRESS", &https_address(&server)),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("ACCOUNT_ID", &cloud.account_id),
            ("TOKEN", &cloud.token),
        ],
    );
    assert!(shape::is_hex(result["backendId"].as_str().unwrap(), 24));
    server.stop();
}

#[test]
fn the_mar_class_looks_after_an_app() {
    let Some(options) = reachable_by_qtc(Options::serve()) else {
        return;
    };
    let server = Server::start(&options);
    let cloud = server.cloud();
    let result = node::run(
        "mar.cjs",
        &[
            ("ADDRESS", &https_address(&server)),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("ACCOUNT_ID", &cloud.account_id),
            ("TOKEN", &cloud.token),
        ],
    );
    assert!(result["id"].as_str().unwrap().starts_with("mar-eu-1-"));
    server.stop();
}

#[test]
fn the_eds_class_stores_finds_and_removes() {
    let Some(options) = reachable_by_qtc(Options::demo()) else {
        return;
    };
    let server = Server::start(&options);
    let backend = server.backend();
    let result = node::run(
        "eds.cjs",
        &[
            ("ADDRESS", &https_address(&server)),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
        ],
    );
    assert_eq!(result, json!({"inserted": 5}));
    server.stop();
}

#[test]
fn the_eds_class_acts_for_users_in_groups() {
    let Some(options) = reachable_by_qtc(Options::demo()) else {
        return;
    };
    let server = Server::start(&options);
    let backend = server.cloud().create_backend("people");
    let result = node::run(
        "people.cjs",
        &[
            ("ADDRESS", &https_address(&server)),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
        ],
    );
    assert_eq!(result, json!({"users": 0}));
    server.stop();
}

#[test]
fn the_mws_class_hears_what_is_sent_over_tls() {
    let Some(options) = reachable_by_qtc(Options::demo()) else {
        return;
    };
    let server = Server::start(&options);
    run_mws(&server, &https_address(&server));
    server.stop();
}

#[test]
fn the_mws_class_hears_what_is_sent_in_the_clear() {
    // Alone among the classes it honours scheme and port.
    if !node::is_ready() {
        return;
    }
    let server = Server::demo();
    run_mws(&server, &format!("http://{}", server.http));
    server.stop();
}

fn run_mws(server: &Server, address: &str) {
    let gateway = server.gateway();
    let result = node::run(
        "mws.cjs",
        &[
            ("ADDRESS", address),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("GATEWAY_ID", &gateway.id),
            ("TOKEN", &gateway.token),
        ],
    );
    assert_eq!(result, json!({"heard": 6}));
}
