//! The calls about apps against the real server, where the real thing shows more than the service alone: processes that
//! run, requests that reach them, and what is left when an app is removed.

use pilvi_e2e::api::text;
use pilvi_e2e::http::{Connection, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::uploaded::{STARTED_WITHIN, Uploaded};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

fn running(server: &Server) -> Uploaded {
    let app = Uploaded::create(&server.cloud(), server.http);
    app.run();
    app
}

#[test]
fn an_app_that_is_removed_leaves_nothing() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        ..Options::serve()
    });
    let app = running(&server);
    let folder = data.path().join("mar").join(&app.id);
    assert!(folder.join("repository.git").is_dir());
    let body = json!({"name": "www.removed.example"});
    app.send(Request::post(app.path("/domains")).json(&body))
        .must_be(201);
    let tokens = Request::get(format!("/v1/instances/{}/authorizations", app.id));
    let token = text(&app.send(tokens).must_be(200), "/results/0/access_token");

    let instance = format!("/v1/instances/{}", app.id);
    let now = format!("{instance}?now=true");
    app.send(Request::delete(now)).must_be(200);
    assert!(!folder.exists());
    shape::error(&app.send(Request::get(app.path(""))), 404, "NotFound");
    let with_its_token = Request::get(app.path("")).bearer(&token);
    shape::error(&with_its_token.send(server.http), 401, "AccessDenied");
    assert_eq!(app.visit(None).status, 404);

    // Its domain is free again.
    let other = running(&server);
    other
        .send(Request::post(other.path("/domains")).json(&body))
        .must_be(201);
    assert_eq!(other.visit(Some("www.removed.example")).text(), "hi");
    server.stop();
}

#[test]
fn an_app_is_reached_at_its_domains_as_long_as_they_are_its_own() {
    let server = Server::serve();
    let app = running(&server);
    for name in ["www.example.com", "todo.localhost"] {
        let body = json!({ "name": name });
        app.send(Request::post(app.path("/domains")).json(&body))
            .must_be(201);
        wait::until("the domain leads to the app", STARTED_WITHIN, || {
            let reply = app.visit(Some(name));
            (reply.status == 200 && reply.text() == "hi").then_some(())
        });
        let remove = Request::delete(app.path(&format!("/domains/{name}")));
        app.send(remove).must_be(200);
        wait::until("the domain leads nowhere", STARTED_WITHIN, || {
            (app.visit(Some(name)).status == 404).then_some(())
        });
    }
    for taken in ["api.localhost", "mws-eu-1.localhost", "localhost"] {
        let body = json!({ "name": taken });
        let add = Request::post(app.path("/domains")).json(&body);
        shape::invalid(&app.send(add), "name");
    }
    server.stop();
}

#[test]
fn a_stopped_app_says_so_and_starts_again() {
    let server = Server::serve();
    let app = running(&server);
    app.send(Request::post(app.path("/stop")).body("{}"))
        .must_be(200);
    let page = wait::until("the app is stopped", STARTED_WITHIN, || {
        let reply = app.visit(None);
        (reply.status == 503).then(|| reply.text())
    });
    assert!(page.contains("stopped by its owner"), "{page}");
    wait::until("no process is left", STARTED_WITHIN, || {
        let status = app.send(Request::get(app.path("/status"))).must_be(200);
        (status == json!({"state": "stopped", "processes": []})).then_some(())
    });
    app.send(Request::post(app.path("/start")).body("{}"))
        .must_be(200);
    wait::until("the app answers again", STARTED_WITHIN, || {
        (app.visit(None).status == 200).then_some(())
    });
    server.stop();
}

#[test]
fn a_command_is_bounded_and_gives_both_texts() {
    let server = Server::serve();
    let app = running(&server);
    let run = |command: &str| {
        let body = json!({"cmd": command, "processId": "web.1"});
        app.send(Request::post(app.path("/exec")).json(&body))
    };
    let done = run("echo out; echo err >&2; exit 3").must_be(200);
    assert_eq!(
        done,
        json!({"stderr": "err\n", "stdout": "out\n", "exitCode": 3})
    );
    // It is where the web process is, with the same environment and files.
    let done = run("echo $MAR_APP_ID $PORT; ls /app").must_be(200);
    assert_eq!(done["stdout"], format!("{} 5000\nx.pl\n", app.id));
    // It has nobody to ask.
    let done = run("cat").must_be(200);
    assert_eq!(
        (&done["stdout"], &done["exitCode"]),
        (&json!(""), &json!(0))
    );
    let done = run("yes | head -c 3000000").must_be(200);
    let length = text(&done, "/stdout").len();
    assert!((900_000..1_200_000).contains(&length), "{length}");
    let done = run("printf '\\377\\000x'").must_be(200);
    assert!(text(&done, "/stdout").ends_with('x'), "{done}");
    let body = json!({"cmd": "true", "processId": "web.2"});
    let wrong = app.send(Request::post(app.path("/exec")).json(&body));
    shape::error(&wrong, 404, "NotFound");
    server.stop();
}

#[test]
fn a_log_is_followed_while_it_is_written() {
    let server = Server::serve();
    let app = running(&server);
    let mut connection = Connection::open(server.http);
    let follow = Request::get(app.path("/logs?follow=1&limit=1")).bearer(&server.cloud().token);
    connection.write(&follow.bytes(&server.http.to_string()));
    let head = connection.head().expect("the log begins");
    assert!(head.contains("application/x-ndjson"), "{head}");
    // A process that starts says so on its standard output.
    app.send(Request::post(app.path("/restart")).body("{}"))
        .must_be(200);
    let mut seen = String::new();
    while !seen.contains("listening on port 5000") {
        let next = connection.exactly(1);
        seen.push_str(&String::from_utf8_lossy(&next));
    }
    // Its lines are objects of their own, whatever pieces they came in.
    let line = seen.lines().find(|line| line.starts_with('{')).unwrap();
    let first: Value = serde_json::from_str(line).unwrap();
    assert!(
        first["log"].is_string() && first["time"].is_string(),
        "{first}"
    );
    server.stop();
}
