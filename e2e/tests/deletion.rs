//! Deleted instances on the real server: what ran has stopped, nobody gets in, also after a restart; what is restored
//! is there as it was.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use pilvi_e2e::api::{Backend, Cloud, Gateway, path_of, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::Heard;
use pilvi_e2e::uploaded::{STARTED_WITHIN, Uploaded};
use pilvi_e2e::{shape, wait};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

fn delete(cloud: &Cloud, id: &str) {
    let path = format!("/v1/instances/{id}");
    cloud.send(Request::delete(path)).must_be(200);
}

fn restore(cloud: &Cloud, id: &str) -> Value {
    let path = format!("/v1/instances/{id}/restore");
    cloud.send(Request::post(path).body("{}")).must_be(200)
}

#[test]
fn an_app_that_was_deleted_does_not_run_until_it_is_restored() {
    let data = TempDir::new().unwrap();
    let start = || {
        Server::start(&Options {
            data: Some(data.path().to_owned()),
            ..Options::serve()
        })
    };
    let server = start();
    let cloud = server.cloud();
    let app = Uploaded::create(&cloud, server.http);
    app.run();
    let vars = json!({"COLOUR": "green"});
    app.send(Request::put(app.path("/env_vars")).json(&vars))
        .must_be(200);
    let tokens = Request::get(format!("/v1/instances/{}/authorizations", app.id));
    let own = text(&app.send(tokens).must_be(200), "/results/0/access_token");

    delete(&cloud, &app.id);
    assert_eq!(app.visit(None).status, 404);
    shape::error(&app.send(Request::get(app.path(""))), 404, "NotFound");
    let status = Request::get(app.path("/status")).bearer(&own);
    shape::error(&status.send(server.http), 401, "AccessDenied");
    assert!(refuses_git(&server, &cloud, &app.id).contains("no app"));
    let folder = data.path().join("mar").join(&app.id);
    assert!(folder.is_dir());
    server.stop();

    // A start brings up what is to run, and this is not.
    let server = start();
    let cloud = Cloud::new(server.http, &cloud.account_id, &cloud.token);
    let app = app.at(&cloud, server.http);
    assert_eq!(app.visit(None).status, 404);
    assert!(folder.is_dir());
    let path = format!("/v1/accounts/{}/instances?deleted=true", cloud.account_id);
    let listed = cloud.send(Request::get(path)).must_be(200);
    assert_eq!(listed["results"][0]["id"], *app.id);
    assert!(text(&listed, "/results/0/removedAt").ends_with('Z'));

    restore(&cloud, &app.id);
    wait::until("the restored app answers", STARTED_WITHIN, || {
        (app.visit(None).text() == "hi").then_some(())
    });
    let shown = app.send(Request::get(app.path("/env_vars"))).must_be(200);
    assert_eq!(shown["COLOUR"], "green");
    let status = Request::get(app.path("/status")).bearer(&own);
    status.send(server.http).must_be(200);

    let now = format!("/v1/instances/{}?now=true", app.id);
    cloud.send(Request::delete(now)).must_be(200);
    assert!(!folder.exists());
    assert_eq!(app.visit(None).status, 404);
    server.stop();
}

/// What git says to whoever asks what a repository holds.
fn refuses_git(server: &Server, cloud: &Cloud, app: &str) -> String {
    let remote = format!("http://git:{}@{}/git/{app}", cloud.token, server.http);
    let asked = Command::new("git")
        .args(["ls-remote", &remote])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(!asked.status.success());
    String::from_utf8_lossy(&asked.stderr).into_owned()
}

#[test]
fn a_backend_that_was_deleted_tells_nobody_anything_until_it_is_restored() {
    let server = Server::serve();
    let cloud = server.cloud();
    let backend = cloud.create_backend("told");
    let receiver = Receiver::start();
    // It fails until the backend is deleted, so that something is left to tell.
    receiver.answer_always(503);
    backend.create_webhook(&json!({"url": receiver.url()}));
    let object = backend.create("notes", &json!({"text": "kept"}));
    receiver.wait_for(1);

    delete(&cloud, &backend.id);
    let before = receiver.arrived().len();
    receiver.recover();
    let path = path_of(&object);
    let refused = backend.send(Request::get(&*path));
    shape::eds_error(&refused, 400, "BadRequest");

    restore(&cloud, &backend.id);
    wait::until("what waited is delivered", STARTED_WITHIN, || {
        let arrived = receiver.arrived();
        let last = arrived.last()?;
        (arrived.len() > before && last.answered == 201).then_some(())
    });
    let kept = backend.send(Request::get(&*path)).must_be(200);
    assert_eq!(kept["text"], "kept");
    server.stop();
}

#[test]
fn a_gateway_that_was_deleted_lets_go_of_its_sockets() {
    let server = Server::serve();
    let cloud = server.cloud();
    let gateway = cloud.create_gateway("listened to");
    let mut socket = gateway.connect();
    delete(&cloud, &gateway.id);
    let heard = socket.hear();
    assert!(matches!(heard, Heard::Closed(_)), "{heard:?}");
    let reserve = Request::get(gateway.path("websocket_uri"));
    assert_eq!(gateway.send(&reserve).status, 404);

    restore(&cloud, &gateway.id);
    gateway.connect();
    server.stop();
}

/// The power fails between the row's change and what the services do about it: the next start goes by the row.
#[test]
fn a_crash_while_deleting_or_restoring_ends_as_the_row_says() {
    let data = TempDir::new().unwrap();
    let start = || {
        Server::start(&Options {
            data: Some(data.path().to_owned()),
            ..Options::serve()
        })
    };
    let server = start();
    let cloud = server.cloud();
    let app = Uploaded::create(&cloud, server.http);
    app.run();
    let gateway = cloud.create_gateway("listened to");
    let backend = cloud.create_backend("told");
    let receiver = Receiver::start();
    receiver.answer_always(503);
    backend.create_webhook(&json!({"url": receiver.url()}));
    let object = backend.create("notes", &json!({"text": "kept"}));
    receiver.wait_for(1);
    server.kill();

    // Deleted, and nothing was stopped.
    mark_all(data.path(), "deleted_at = 1000 * unixepoch()");
    receiver.recover();
    let server = start();
    let before = receiver.arrived().len();
    let cloud = Cloud::new(server.http, &cloud.account_id, &cloud.token);
    let app = app.at(&cloud, server.http);
    assert_eq!(app.visit(None).status, 404);
    assert!(refuses_git(&server, &cloud, &app.id).contains("no app"));
    let backend = Backend::new(server.http, &backend.id, &backend.token);
    let path = path_of(&object);
    shape::eds_error(&backend.send(Request::get(&*path)), 400, "BadRequest");
    let gateway = Gateway::new(server.http, &gateway.id, &gateway.token);
    let reserve = Request::get(gateway.path("websocket_uri"));
    assert_eq!(gateway.send(&reserve).status, 404);
    let listed = Request::get(format!(
        "/v1/accounts/{}/instances?deleted=true",
        cloud.account_id
    ));
    let listed = cloud.send(listed).must_be(200);
    assert_eq!(shape::results(&listed).len(), 3, "{listed}");
    assert_eq!(
        receiver.arrived().len(),
        before,
        "what is deleted tells nobody anything"
    );
    server.kill();

    // Restored, and nothing was started.
    mark_all(data.path(), "deleted_at = NULL");
    let server = start();
    let app = app.at(&cloud, server.http);
    wait::until("the restored app answers", STARTED_WITHIN, || {
        (app.visit(None).text() == "hi").then_some(())
    });
    Gateway::new(server.http, &gateway.id, &gateway.token).connect();
    let backend = Backend::new(server.http, &backend.id, &backend.token);
    assert_eq!(
        backend.send(Request::get(&*path)).must_be(200)["text"],
        "kept"
    );
    wait::until("what waited is delivered", STARTED_WITHIN, || {
        let arrived = receiver.arrived();
        (arrived.len() > before && arrived.last()?.answered == 201).then_some(())
    });
    server.stop();
}

/// Writes what a server that is not running had written last.
fn mark_all(data: &Path, change: &str) {
    let database = Connection::open(data.join("pilvi.db")).unwrap();
    let changed = database.execute(&format!("UPDATE instances SET {change}"), []);
    assert_eq!(changed.unwrap(), 3);
}
