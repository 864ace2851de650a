//! A program of ours does with Qt 5's own classes what the Qt library does with files and with the notification stream.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::child::Client;
use pilvi_e2e::http::Request;
use pilvi_e2e::qt;
use pilvi_e2e::server::Server;
use serde_json::json;

/// Longer than the program waits for each answer.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// What each of these lines stands for is in `qt/enginio-files/main.cpp`.
#[test]
fn files_and_the_stream_are_those_that_the_qt_library_knows() {
    let server = Server::demo();
    let backend = server.backend();
    let photos = json!({"name": "photos", "settings": {"websocket": true}, "properties": [
        {"name": "title", "type": "string"},
        {"name": "file", "type": "ref", "objectType": "files"},
    ]});
    backend
        .send_as_admin(Request::post("/v1/object_types").json(&photos))
        .must_be(201);
    if let Some(program) = qt::enginio_files(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        let mut command = Command::new(program);
        command.args([format!("http://{}", server.http), backend.id.clone()]);
        let ended = Client::start("enginio-files", &mut command).ended(DONE_WITHIN);
        assert!(ended.status.success(), "{}", ended.report());
        assert_eq!(
            ended.lines,
            [
                "connected",
                "uploaded",
                "downloaded",
                "own writes",
                "goodbye"
            ]
        );
        assert_eq!(ended.errors, "");
    }
    server.stop();
}
