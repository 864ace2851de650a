//! Stock WebSocket libraries with compression on, at a gateway that allows it, in the clear and over TLS: npm `ws` and
//! Python `websockets`. What each does is in `node/compression.cjs` and `python/compression.py`; what is on the wire is
//! held to RFC 7692 in `rfc6455/deflate.rs`.

use std::time::Duration;

use pilvi_e2e::child::Client;
use pilvi_e2e::server::Server;
use pilvi_e2e::{node, python};
use serde_json::{Value, json};

const DONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn npm_ws_hears_little_and_understands_all() {
    if !node::is_ready() {
        return;
    }
    let start = |variables: &[(&str, &str)]| node::start("compression.cjs", variables);
    both_ways(start, &json!({"messages": 6}));
}

#[test]
fn python_websockets_understands_every_window() {
    if !python::is_ready() {
        return;
    }
    let start = |variables: &[(&str, &str)]| python::start("compression.py", variables);
    both_ways(start, &json!({"sizes": 13}));
}

#[track_caller]
fn both_ways(start: impl Fn(&[(&str, &str)]) -> Client, expected: &Value) {
    let server = Server::demo();
    let clear = format!("http://{}", server.http);
    let tls = format!("https://{}", server.https());
    for address in [clear, tls] {
        let gateway = server.cloud().create_gateway("compressing");
        let script = start(&[
            ("ADDRESS", &address),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("CA", server.ca()),
            ("GATEWAY_ID", &gateway.id),
            ("TOKEN", &gateway.token),
        ]);
        assert_eq!(&script.result(DONE_WITHIN), expected);
    }
    server.stop();
}
