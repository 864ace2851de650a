//! One instance: out while it is used, and back as a copy, under its own id, or in its own place.

use std::collections::BTreeMap;

use pilvi_e2e::api::text;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::uploaded::{STARTED_WITHIN, Uploaded};
use pilvi_e2e::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{
    Writers, back_up, backend_of, expect_one_moment, instances, names_in, restore, verified,
};

#[test]
fn a_backend_is_backed_up_while_people_write_and_nothing_acknowledged_is_missing() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let (cli, backend) = (Cli::of(&server), server.cloud().create_backend("busy"));
    let writers = Writers::start(&backend, server.http, 4);
    let mut archives = Vec::new();
    for round in 1..=3 {
        writers.wait_for(round * 20);
        let before = writers.acknowledged();
        let file = back_up(&cli, &backend.id, folder.path());
        archives.push((file, before, writers.acknowledged()));
    }
    writers.stop();
    for (file, before, after) in archives {
        let copy = restore(&cli, &file, &["--name", "copy"]);
        assert_eq!(copy["name"], "copy");
        assert_ne!(copy["id"], backend.id);
        assert_eq!(copy["restored"]["origin"], backend.id);
        assert_eq!(copy["restored"]["missing"], json!([]));
        let copy = backend_of(&server, &text(&copy, "/id"));
        let counts = expect_one_moment(&copy, &before, &after);
        let said = verified(&file);
        let types: BTreeMap<String, u64> =
            serde_json::from_value(said["databases"]["backend.db"]["types"].clone()).unwrap();
        assert_eq!(types, counts);
    }
    server.stop();
}

#[test]
fn a_backend_comes_back_in_its_place_with_its_webhooks_and_tokens() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let (cli, backend) = (Cli::of(&server), server.cloud().create_backend("kept"));
    let first = backend.create("todos", &json!({"n": 1}));
    let hook =
        json!({"targetUrl": "http://127.0.0.1:9/x", "headers": {"Authorization": "Bearer s3cret"}});
    let hook = backend.send_as_admin(Request::post("/v1/webhooks").json(&hook));
    let hook = match hook.status {
        201 => hook.must_be(201),
        _ => backend.create_webhook(
            &json!({"url": "http://127.0.0.1:9/x", "headers": {"Authorization": "Bearer s3cret"}}),
        ),
    };
    let file = back_up(&cli, &backend.id, folder.path());
    let archive = std::fs::read(&file).unwrap();
    assert!(
        !archive.windows(6).any(|window| window == b"s3cret"),
        "secrets are sealed"
    );

    backend.update(&first, &json!({"n": 2}));
    backend.create("todos", &json!({"n": 3}));
    let restored = restore(&cli, &file, &["--in-place", "--yes"]);
    assert_eq!(restored["id"], backend.id);
    let list = backend
        .send_as_admin(Request::get("/v1/objects/todos"))
        .must_be(200);
    assert_eq!(list["results"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["results"][0]["n"], 1);
    let path = format!("/v1/webhooks/{}", text(&hook, "/id"));
    let again = backend.send_as_admin(Request::get(path)).must_be(200);
    let mut shown = hook.clone();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(again, shown, "only the reply that made it shows the secret");

    // As a copy, its headers belong to the copy.
    let copy = restore(&cli, &file, &[]);
    assert_eq!(copy["restored"]["missing"], json!([]));
    let copy = backend_of(&server, &text(&copy, "/id"));
    let hooks = copy
        .send_as_admin(Request::get("/v1/webhooks"))
        .must_be(200);
    assert_eq!(hooks["results"].as_array().unwrap().len(), 1);
    server.stop();
}

#[test]
fn an_id_is_kept_only_while_nobody_has_it() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let (cli, backend) = (Cli::of(&server), server.cloud().create_backend("one"));
    backend.create("todos", &json!({"n": 1}));
    let file = back_up(&cli, &backend.id, folder.path());
    let path = crate::world::name(&file).to_owned();
    let refused = cli.run_in(folder.path(), &["backup", "restore", &path, "--same-id"]);
    assert_eq!(refused.status.code(), Some(5), "{}", refused.report());
    assert!(
        refused.errors.contains("--in-place"),
        "{}",
        refused.report()
    );

    let gone = format!("/v1/instances/{}?now=true", backend.id);
    server.cloud().send(Request::delete(gone)).must_be(200);
    let restored = restore(&cli, &file, &["--same-id"]);
    assert_eq!(restored["id"], backend.id);
    // Its tokens are those that it had.
    let list = backend
        .send_as_admin(Request::get("/v1/objects/todos"))
        .must_be(200);
    assert_eq!(list["results"][0]["n"], 1);
    assert_eq!(backend_of(&server, &backend.id).token, backend.token);
    server.stop();
}

#[test]
fn an_app_comes_back_as_a_copy_that_runs() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let (cli, cloud) = (Cli::of(&server), server.cloud());
    let app = Uploaded::create(&cloud, server.http);
    app.run();
    cli.run(&["mar", "--app", &app.id, "envs", "set", "GREETING=s3cret"]);
    let file = back_up(&cli, &app.id, folder.path());
    let archive = std::fs::read(&file).unwrap();
    assert!(
        !archive.windows(6).any(|window| window == b"s3cret"),
        "secrets are sealed"
    );

    let copy = restore(&cli, &file, &["--name", "copy"]);
    assert_eq!(copy["restored"]["missing"], json!([]));
    expect_running(&app, &text(&copy, "/id"));
    let vars = cli.run(&["mar", "--app", &text(&copy, "/id"), "envs"]);
    assert!(
        vars.lines.join("\n").contains("s3cret"),
        "{}",
        vars.report()
    );

    let restored = restore(&cli, &file, &["--in-place", "--yes"]);
    assert_eq!(restored["id"], app.id);
    expect_running(&app, &app.id);
    server.stop();
}

#[track_caller]
fn expect_running(app: &Uploaded, id: &str) {
    let host = format!("{id}.localhost");
    wait::until("the restored app answers", STARTED_WITHIN, || {
        let reply = app.visit(Some(&host));
        (reply.status == 200 && reply.text() == "hi").then_some(())
    });
}

#[test]
fn a_gateway_comes_back_with_its_settings() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let (cli, gateway) = (Cli::of(&server), server.cloud().create_gateway("bell"));
    let config = json!({"authentication_mode": "custom"});
    let set = Request::put(gateway.path("configuration")).json(&config);
    let set = gateway.send_as_admin(set);
    let file = back_up(&cli, &gateway.id, folder.path());
    let copy = restore(&cli, &file, &[]);
    let shown = |id: &str| -> Value {
        let path = format!("/v1/instances/{id}");
        server.cloud().send(Request::get(path)).must_be(200)["config"].clone()
    };
    assert_eq!(
        shown(&text(&copy, "/id")),
        shown(&gateway.id),
        "{}",
        set.text()
    );
    let restored = restore(&cli, &file, &["--in-place", "--yes"]);
    assert_eq!(restored["id"], gateway.id);
    gateway.connect();
    server.stop();
}

#[test]
fn a_file_that_is_there_is_not_written_over_and_nothing_is_left_of_a_failure() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let cli = Cli::of(&server);
    let file = folder.path().join("kept.tar");
    std::fs::write(&file, "mine").unwrap();
    let path = crate::world::name(&file).to_owned();
    let refused = cli.run_in(folder.path(), &["backup", "create", &path]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.report());
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let missing = [
        "backup",
        "create",
        "--instance",
        "5417e5485a3d8b418a01adb7",
        "no.tar",
    ];
    let refused = cli.run_in(folder.path(), &missing);
    assert_eq!(refused.status.code(), Some(4), "{}", refused.report());
    assert_eq!(names_in(folder.path()), ["kept.tar"]);
    assert_eq!(instances(&server).len(), 0);
    server.stop();
}
