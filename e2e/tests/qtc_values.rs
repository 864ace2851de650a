//! The published Node client `qtc`, unmodified: its typed values, references that are expanded, and places.

use pilvi_e2e::node;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use serde_json::json;

#[test]
fn typed_values_are_stored_found_and_expanded() {
    if !node::is_ready() {
        return;
    }
    // Its data class speaks HTTPS on port 443, whatever it is told.
    let Some(https) = loopback_with_port_443() else {
        return;
    };
    let server = Server::start(&Options {
        https,
        ..Options::demo()
    });
    let backend = server.backend();
    let result = node::run(
        "values.cjs",
        &[
            ("ADDRESS", &format!("https://{}", server.https().ip())),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
        ],
    );
    assert_eq!(result, json!({"checked": true}));
    server.stop();
}
