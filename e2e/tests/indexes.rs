//! Indexes: made while a server is used, killed in the middle of it, and offered to whoever asks slowly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::Backend;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(60);
const OBJECTS: u64 = 12_000;

/// Creates objects with these numbers, a hundred at a time; `n` of each is its number modulo 100.
#[track_caller]
fn fill(backend: &Backend, numbers: std::ops::Range<u64>, text: &str) {
    let numbers: Vec<u64> = numbers.collect();
    for some in numbers.chunks(100) {
        let operations = some.iter().map(|number| {
            json!({"method": "POST", "path": "/v1/objects/todos",
                "body": {"n": number % 100, "m": number % 100, "k": number % 100, "text": text}})
        });
        let body = json!({"operations": operations.collect::<Vec<_>>()});
        backend
            .send(Request::post("/v1/batch").json(&body))
            .must_be(200);
    }
}

#[track_caller]
fn index(backend: &Backend, property: &str) -> Value {
    let body = json!({"objectType": "objects.todos", "property": property});
    let reply = backend.send_as_admin(Request::post("/v1/indexes").json(&body));
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[track_caller]
fn shown(backend: &Backend, index: &Value) -> Value {
    let path = format!("/v1/indexes/{}", index["id"].as_str().unwrap());
    backend.send_as_admin(Request::get(path)).must_be(200)
}

#[track_caller]
fn wait_until_ready(backend: &Backend, index: &Value) -> Value {
    wait::until("the index is ready", WITHIN, || {
        Some(shown(backend, index)).filter(|index| index["state"] == "ready")
    })
}

#[track_caller]
fn count(backend: &Backend, q: &Value) -> u64 {
    let target = format!("/v1/objects/todos?count=&q={q}");
    backend.send(Request::get(target)).must_be(200)["count"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_server_that_is_killed_while_an_index_is_made_makes_it_whole_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let of = |options: Options| Options {
        data: Some(folder.path().to_owned()),
        ..options
    };
    let mut server = Server::start(&of(Options::demo()));
    let Backend { id, token, .. } = server.backend();
    let backend_of = |server: &Server| Backend::new(server.http, &id, &token);
    fill(&backend_of(&server), 0..OBJECTS, "x");
    // At once, while it reads, and while it writes.
    let is_at: [fn(&Value) -> bool; 3] = [
        |_| true,
        |index| index["progress"]["total"] != 0 || index["state"] == "ready",
        |index| index["progress"]["done"] != 0 || index["state"] == "ready",
    ];
    for (property, is_at) in ["n", "m", "k"].into_iter().zip(is_at) {
        let backend = backend_of(&server);
        let made = index(&backend, property);
        wait::until("the work has come so far", WITHIN, || {
            is_at(&shown(&backend, &made)).then_some(())
        });
        server.kill();
        server = Server::start(&of(Options::serve()));
        let backend = backend_of(&server);
        // What is written before anybody looks at the index is in it, too.
        let first = backend
            .send(Request::get("/v1/objects/todos?limit=1"))
            .must_be(200);
        backend.update(&first["results"][0], &json!({property: 1000}));
        let ready = wait_until_ready(&backend, &made);
        assert_eq!(
            ready["progress"]["done"], ready["progress"]["total"],
            "{ready}"
        );
        assert_eq!(count(&backend, &json!({property: 1000})), 1, "{property}");
        let mut total = 0;
        for value in 0..100 {
            let found = count(&backend, &json!({property: value}));
            assert!(
                (OBJECTS / 100 - 1..=OBJECTS / 100).contains(&found),
                "{property} {value}: {found}"
            );
            total += found;
        }
        assert_eq!(total, OBJECTS - 1);
    }
    server.stop();
}

#[test]
fn a_slow_query_is_told_of_and_gets_its_index() {
    let server = Server::demo();
    let backend = server.backend();
    fill(&backend, 0..1500, &"long ".repeat(2000));
    let ask = || {
        backend.send(Request::get(
            r#"/v1/objects/todos?q={"n":7,"text":"no"}&sort={"sortBy":"m"}"#,
        ))
    };
    let advice = wait::until("the query is told of", WITHIN, || {
        ask().must_be(200);
        let advice = backend
            .send_as_admin(Request::get("/v1/index_advice"))
            .must_be(200);
        (advice["results"] != json!([])).then_some(advice)
    });
    let slow = &advice["results"][0];
    assert_eq!(slow["query"], "n = … and text = …, by m", "{advice}");
    assert!(
        slow["worstMs"].as_u64().unwrap() >= 10 && slow["count"].as_u64().unwrap() >= 1,
        "{advice}"
    );
    assert!(
        !advice.to_string().contains("\"no\""),
        "values are the callers' own"
    );
    let own = wait::until("the index is there", WITHIN, || {
        ask().must_be(200);
        let all = backend
            .send_as_admin(Request::get("/v1/indexes"))
            .must_be(200);
        let all = all["results"].as_array().unwrap().clone();
        all.into_iter()
            .find(|index| index["property"] == "n" && index["state"] == "ready")
    });
    assert_eq!(
        (&own["origin"], &own["objectType"]),
        (&json!("slow"), &json!("objects.todos"))
    );
    assert_eq!(count(&backend, &json!({"n": 7})), 15);
    backend
        .send_as_admin(Request::delete("/v1/index_advice"))
        .must_be(200);
    let none = backend
        .send_as_admin(Request::get("/v1/index_advice"))
        .must_be(200);
    assert_eq!(none["results"], json!([]));
    server.stop();
}

#[test]
fn indexes_are_for_administrators_and_refusals_say_what_to_do() {
    let server = Server::demo();
    let backend = server.backend();
    shape::eds_error(
        &backend.send(Request::get("/v1/indexes")),
        401,
        "Unauthorized",
    );
    for (body, status, part) in [
        (json!({}), 400, "objectType"),
        (json!({"objectType": "objects.todos"}), 400, "property"),
        (
            json!({"objectType": "todos!", "property": "a"}),
            400,
            "objectType",
        ),
        (
            json!({"objectType": "objects.todos", "property": "it's"}),
            400,
            "plain",
        ),
        (
            json!({"objectType": "objects.todos", "property": "a".repeat(500)}),
            400,
            "bytes",
        ),
    ] {
        let reply = backend.send_as_admin(Request::post("/v1/indexes").json(&body));
        assert_eq!(reply.status, status, "{body}");
        assert!(reply.text().contains(part), "{body}: {}", reply.text());
    }
    let missing = backend.send_as_admin(Request::delete("/v1/indexes/000000000000000000000000"));
    shape::eds_error(&missing, 404, "NotFound");
    server.stop();
}

#[test]
fn the_command_line_looks_after_indexes() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let made = cli.json(&["eds", "create", "notes"]);
    let id = made["id"].as_str().unwrap();
    let run = |words: &[&str]| cli.run(&[&["eds", "--backend", id], words].concat()).lines;
    run(&["insert", "todos", "title=Milk"]);
    assert_eq!(
        run(&["indexes", "create", "todos", "title", "--wait"]),
        ["The index of todos title is ready."]
    );
    let listed = run(&["indexes"]);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(
        listed[1].contains("title") && listed[1].contains("ready"),
        "{listed:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    run(&["types", "set", "todos", "--file", &schema(folder.path())]);
    let declared = cli.json(&["eds", "--backend", id, "indexes"]);
    let origins: Vec<(&str, &str)> = declared["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|index| {
            (
                index["property"].as_str().unwrap(),
                index["origin"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(origins, [("author.id", "schema"), ("title", "asked")]);
    assert_eq!(
        run(&["indexes", "remove", "todos", "title"]),
        ["Removed the index of todos title."]
    );
    server.stop();
}

/// A file with a description in which a reference is indexed.
fn schema(folder: &Path) -> String {
    let path = folder.join("todos.json");
    let schema = json!({"properties": [
        {"name": "author", "type": "ref", "objectType": "users", "indexed": true},
        {"name": "title", "type": "string", "indexed": false},
    ]});
    std::fs::write(&path, schema.to_string()).unwrap();
    path.display().to_string()
}
