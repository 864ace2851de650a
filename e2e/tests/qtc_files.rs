//! The published Node client `qtc` with files, unmodified: what it uploads, looks at and fetches.

use std::fs;

use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{node, picture};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn what_the_eds_class_attaches_comes_back() {
    if !node::is_ready() {
        return;
    }
    let Some(https) = loopback_with_port_443() else {
        return;
    };
    let server = Server::start(&Options {
        https,
        ..Options::demo()
    });
    let backend = server.backend();
    let gallery = json!({"name": "gallery", "properties": [
        {"name": "file", "type": "ref", "objectType": "files",
         "processors": [{"type": "image", "variants": {"thumbnail": {"crop": "20x20"}}}]}]});
    let describe = Request::post("/v1/object_types").json(&gallery);
    backend.send_as_admin(describe).must_be(201);

    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("picture.png"), picture::png(181, 54, 7)).unwrap();
    let large: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
    fs::write(folder.path().join("large.bin"), large).unwrap();
    let result = node::run(
        "files.cjs",
        &[
            ("ADDRESS", &format!("https://{}", server.https().ip())),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
            ("FOLDER", folder.path().to_str().unwrap()),
        ],
    );
    assert_eq!(result, json!({"objects": 1}));
    server.stop();
}
