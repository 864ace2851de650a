//! Stock WebSocket libraries, unmodified, against the gateway, in the clear and over TLS: npm `ws` and Python
//! `websockets`. What each does is in `node/websocket.cjs` and `python/websocket.py`.

use std::time::Duration;

use pilvi_e2e::child::Client;
use pilvi_e2e::server::Server;
use pilvi_e2e::{node, python};
use serde_json::json;

/// How long a script may take until the server may go.
const DONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn npm_ws_in_the_clear() {
    let server = Server::demo();
    let address = format!("http://{}", server.http);
    with_npm_ws(server, &address);
}

#[test]
fn npm_ws_over_tls() {
    let server = Server::demo();
    let address = format!("https://{}", server.https());
    with_npm_ws(server, &address);
}

#[test]
fn python_websockets_in_the_clear() {
    let server = Server::demo();
    let address = format!("http://{}", server.http);
    with_python_websockets(server, &address);
}

#[test]
fn python_websockets_over_tls() {
    let server = Server::demo();
    let address = format!("https://{}", server.https());
    with_python_websockets(server, &address);
}

#[track_caller]
fn with_npm_ws(server: Server, address: &str) {
    if !node::is_ready() {
        return;
    }
    run(server, address, |variables| {
        node::start("websocket.cjs", variables)
    });
}

#[track_caller]
fn with_python_websockets(server: Server, address: &str) {
    if !python::is_ready() {
        return;
    }
    run(server, address, |variables| {
        python::start("websocket.py", variables)
    });
}

/// The script goes through its checks, then hears the server say goodbye.
#[track_caller]
fn run(server: Server, address: &str, start: impl FnOnce(&[(&str, &str)]) -> Client) {
    let gateway = server.gateway();
    let mut script = start(&[
        ("ADDRESS", address),
        ("NODE_EXTRA_CA_CERTS", server.ca()),
        ("CA", server.ca()),
        ("GATEWAY_ID", &gateway.id),
        ("TOKEN", &gateway.token),
    ]);
    script.expect_line("stop the server", DONE_WITHIN);
    server.stop();
    assert_eq!(script.result(DONE_WITHIN), json!({"texts": 6}));
}
