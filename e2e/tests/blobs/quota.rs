//! The bytes of files count against what an account may have.

use pilvi_e2e::api::text;
use pilvi_e2e::http::Request;
use serde_json::json;
use tempfile::TempDir;

use crate::world::{announce, content, piece, start, upload};

#[test]
fn who_has_as_much_as_they_may_uploads_nothing_more() {
    let data = TempDir::new().unwrap();
    let server = start(data.path(), &[]);
    let cloud = server.cloud();
    let backend = cloud.create_backend("full");
    let large = content(3 << 20);
    upload(&backend, &large).must_be(201);
    let quotas = format!("/v1/accounts/{}/quotas", cloud.account_id);
    let set = |bytes: serde_json::Value| {
        let body = json!({"edsStorageBytes": bytes});
        cloud
            .send(Request::put(quotas.clone()).json(&body))
            .must_be(200)
    };
    let said = set(json!(8 << 20));
    let used = said["edsStorageBytes"]["used"].as_u64().unwrap();
    assert!((3 << 20..5 << 20).contains(&used), "{said}");

    // One more has room, and a third has not, however it comes.
    let mut other = large.clone();
    other[0] ^= 1;
    upload(&backend, &other).must_be(201);
    other[0] ^= 2;
    let refused = upload(&backend, &other).must_be(429);
    let message = text(&refused, "/errors/0/message");
    assert!(message.contains("quota"), "{message}");
    let id = announce(&backend);
    let refused = backend.send_as_admin(piece(&id, 0, &other, other.len()));
    refused.must_be(429);
    // A small one and an object have.
    upload(&backend, b"small").must_be(201);
    backend.create("notes", &json!({}));

    let usage = format!("/v1/instances/{}/usage", backend.id);
    let usage = cloud.send(Request::get(usage)).must_be(200);
    assert!(usage["storageBytes"].as_u64().unwrap() > 3 << 20, "{usage}");
    set(json!(null));
    upload(&backend, &other).must_be(201);
    server.stop();
}
