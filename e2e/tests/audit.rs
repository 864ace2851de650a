//! The audit log of an account tells of what was done in every service, by whom, and not what was secret about it.

use pilvi_e2e::api::{Cloud, text};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::shape;
use pilvi_e2e::uploaded::Uploaded;
use serde_json::{Value, json};
use tempfile::TempDir;

fn log(cloud: &Cloud, query: &str) -> Vec<Value> {
    let path = format!("/v1/accounts/{}/log{query}", cloud.account_id);
    let reply = cloud.send(Request::get(path)).must_be(200);
    shape::results(&reply).to_vec()
}

fn events(cloud: &Cloud, query: &str) -> Vec<String> {
    log(cloud, query)
        .iter()
        .map(|event| text(event, "/event"))
        .collect()
}

#[test]
fn what_administrators_do_to_a_backend_is_written_down() {
    let server = Server::serve();
    let cloud = server.cloud();
    let backend = cloud.create_backend("watched");
    let hook = json!({
        "url": "https://example.org/told",
        "headers": {"Authorization": "Bearer top secret"},
    });
    let made = backend.create_webhook(&hook);
    let id = text(&made, "/id");
    let path = format!("/v1/webhooks/{id}");
    let change = json!({"url": "https://example.org/other"});
    backend
        .send_as_admin(Request::put(&*path).json(&change))
        .must_be(200);
    backend.send_as_admin(Request::delete(&*path)).must_be(200);
    let user = json!({"username": "made", "password": "a secret password"});
    let made = backend
        .send_as_admin(Request::post("/v1/users").json(&user))
        .must_be(201);
    // What users do is the app's own business.
    let own = json!({"username": "registered", "password": "another password"});
    backend
        .send(Request::post("/v1/users").json(&own))
        .must_be(201);
    let types = json!({"name": "objects.note"});
    backend
        .send_as_admin(Request::post("/v1/object_types").json(&types))
        .must_be(201);
    // A refusal is no act.
    let refused = backend.send(Request::post("/v1/webhooks").json(&hook));
    assert!(refused.status >= 400);

    let told = log(&cloud, "");
    let names: Vec<_> = told.iter().map(|event| text(event, "/event")).collect();
    assert_eq!(
        names,
        [
            "collection.change",
            "user.create",
            "webhook.remove",
            "webhook.change",
            "webhook.create",
            "instance.create"
        ]
    );
    for event in &told[2..5] {
        assert_eq!(event["subject"], *id, "{event}");
        assert_eq!(event["detail"]["backend"], *backend.id);
        assert_eq!(event["by"], "instance");
        assert_eq!(event["instanceId"], *backend.id);
    }
    assert_eq!(told[1]["subject"], made["id"]);
    let all = json!(told).to_string();
    for secret in ["top secret", "a secret password"] {
        assert!(!all.contains(secret), "{all}");
    }
    server.stop();
}

#[test]
fn the_configuration_of_a_gateway_is_written_down() {
    let server = Server::serve();
    let cloud = server.cloud();
    let gateway = cloud.create_gateway("watched");
    let body = json!({"name": "new", "accessControl": "custom"});
    let configure = Request::put(gateway.path("configuration")).json(&body);
    gateway.send_as_admin(configure).must_be(200);
    let told = &log(&cloud, "?event=gateway")[0];
    assert_eq!(told["event"], "gateway.configure");
    assert_eq!(told["subject"], *gateway.id);
    assert_eq!(told["detail"]["changed"], json!(["name", "accessControl"]));
    server.stop();
}

#[test]
fn what_is_done_to_an_app_is_written_down_and_outlives_a_restart() {
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
    let vars = json!({"PASSWORD": "hunter2", "GONE": null});
    app.send(Request::put(app.path("/env_vars")).json(&vars))
        .must_be(200);
    let domain = json!({"name": "www.watched.example"});
    app.send(Request::post(app.path("/domains")).json(&domain))
        .must_be(201);
    let scale = json!({"web": 2});
    app.send(Request::post(app.path("/scale")).json(&scale))
        .must_be(200);
    app.send(Request::post(app.path("/stop")).body("{}"))
        .must_be(200);
    let expected = [
        "app.stop",
        "app.scale",
        "app.domain.create",
        "app.vars.change",
        "app.deploy",
        "app.slug.upload",
        "app.slug.create",
    ];
    assert_eq!(events(&cloud, "?event=app"), expected);
    let told = log(&cloud, "?event=app.vars");
    assert_eq!(
        told[0]["detail"],
        json!({"set": ["PASSWORD"], "removed": ["GONE"]})
    );
    assert!(!json!(log(&cloud, "")).to_string().contains("hunter2"));
    server.kill();

    let server = start();
    let cloud = Cloud::new(server.http, &cloud.account_id, &cloud.token);
    assert_eq!(events(&cloud, "?event=app"), expected);
    server.stop();
}

#[test]
fn the_command_line_reads_the_log_page_by_page() {
    let server = Server::serve();
    let (cloud, cli) = (server.cloud(), Cli::of(&server));
    let gateway = cloud.create_gateway("watched");
    let path = format!("/v1/instances/{}", gateway.id);
    for number in 0..6 {
        let change = json!({"name": format!("name {number}")});
        cloud.send(Request::put(&*path).json(&change)).must_be(200);
    }
    let page = |more: &[&str]| {
        let words = [&["clouds", "log", "-n", "3"], more].concat();
        let said = cli.json(&words);
        shape::results(&said).to_vec()
    };
    let mut pages = vec![page(&[])];
    while let Some(last) = pages.last().and_then(|page| page.last()) {
        let before = last["id"].to_string();
        pages.push(page(&["--before", &before]));
    }
    let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 3, 1, 0]);
    assert_eq!(pages.concat(), log(&cloud, ""));
    assert_eq!(pages[2][0]["event"], "instance.create");
    assert_eq!(page(&["--event", "instance.create"]).len(), 1);
    // On a terminal the newest stands last.
    let shown = cli.run(&["clouds", "log", "-n", "2"]).lines.join("\n");
    let places = ["name 4", "name 5"].map(|name| shown.find(name).expect("it is shown"));
    assert!(
        places[0] < places[1] && !shown.contains("name 3"),
        "{shown}"
    );
    server.stop();
}
