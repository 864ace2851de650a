//! Full-text search on the real server: the published Node client, a server that is killed while it indexes, and what
//! is found while others write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::node;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is written must be found within this time (`eds.md` §11).
const FOUND_WITHIN: Duration = Duration::from_secs(1);

fn search(backend: &Backend, search: &Value, more: &str) -> Value {
    let search: String = form_urlencoded::byte_serialize(search.to_string().as_bytes()).collect();
    let target = format!("/v1/search?objectTypes[]=objects.notes&search={search}{more}");
    backend.send(Request::get(target)).must_be(200)
}

fn count(backend: &Backend, phrase: &str) -> u64 {
    let answer = search(backend, &json!({ "phrase": phrase }), "&count=");
    answer["count"].as_u64().unwrap()
}

#[test]
fn the_node_client_finds_words() {
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
    let result = node::run(
        "search.cjs",
        &[
            ("ADDRESS", &format!("https://{}", server.https().ip())),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
        ],
    );
    assert_eq!(result, json!({"found": true}));
    server.stop();
}

fn options(data: &Path) -> Options {
    Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    }
}

/// Writers that note what was acknowledged, searches beside them, and a kill in the middle, again and again.
#[test]
fn a_killed_server_finds_everything_that_was_acknowledged() {
    const ROUNDS: u64 = 3;
    const EACH: u64 = 150;
    let data = TempDir::new().unwrap();
    let mut server = Server::start(&options(data.path()));
    let cloud = server.cloud();
    let backend = cloud.create_backend("searched");
    let (id, token) = (backend.id.clone(), backend.token.clone());
    let mut acknowledged = 0;
    let mut deleted = 0;
    for round in 0..ROUNDS {
        let backend = Backend::new(server.http, &id, &token);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // The index is being made and followed while objects come and go.
            let searcher = scope.spawn(|| {
                let mut searches = 0;
                while !done.load(Ordering::Relaxed) {
                    count(&backend, "every*");
                    searches += 1;
                }
                searches
            });
            for number in 0..EACH {
                let word = format!("r{round}n{number}");
                let note =
                    backend.create("notes", &json!({"text": format!("everything {word} end")}));
                if number % 10 == 0 {
                    backend.delete(&note);
                    deleted += 1;
                } else if number % 10 == 1 {
                    backend.update(
                        &note,
                        &json!({"text": format!("everything changed{word} end")}),
                    );
                }
                acknowledged += 1;
            }
            done.store(true, Ordering::Relaxed);
            assert!(searcher.join().unwrap() > 0);
        });
        server.kill();
        server = Server::start(&options(data.path()));
        let backend = Backend::new(server.http, &id, &token);
        assert_eq!(
            count(&backend, "everything"),
            acknowledged - deleted,
            "round {round}"
        );
        let last = format!("r{round}n{}", EACH - 1);
        assert_eq!(count(&backend, &last), 1);
        assert_eq!(
            count(&backend, &format!("r{round}n0")),
            0,
            "what was deleted is not found"
        );
        assert_eq!(
            count(&backend, &format!("r{round}n1")),
            0,
            "nor what a text was before"
        );
        assert_eq!(count(&backend, &format!("changedr{round}n1")), 1);
    }
    server.stop();
}

#[test]
fn what_others_write_is_found_within_a_second() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("busy");
    backend.create("notes", &json!({"text": "first"}));
    assert_eq!(count(&backend, "first"), 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                backend.create(
                    "notes",
                    &json!({"text": "noise of many words that nobody looks for"}),
                );
            }
        });
        let mut slowest = Duration::ZERO;
        for number in 0..30 {
            let note = backend.create("notes", &json!({"text": format!("needle{number}")}));
            let started = Instant::now();
            let phrase = json!({"phrase": format!("needle{number}"), "properties": ["text"]});
            // Nobody waits for the index longer than for an answer; so it may take a second search.
            let found = loop {
                let found = search(&backend, &phrase, "");
                if found["results"]
                    .as_array()
                    .is_some_and(|found| !found.is_empty())
                {
                    break found;
                }
                assert!(started.elapsed() < FOUND_WITHIN, "{number} is not found");
            };
            slowest = slowest.max(started.elapsed());
            assert_eq!(text(&found, "/results/0/id"), text(&note, "/id"));
        }
        done.store(true, Ordering::Relaxed);
        assert!(slowest < FOUND_WITHIN, "{slowest:?}");
    });
    server.stop();
}

/// Phrases made to be slow are refused or answered, and others are served meanwhile.
#[test]
fn no_phrase_is_slow() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("bounded");
    for number in 0..300 {
        let words: Vec<String> = (0..60)
            .map(|place| format!("w{number}x{place}ing"))
            .collect();
        backend.create("notes", &json!({"text": words.join(" ")}));
    }
    assert_eq!(count(&backend, "w7x7ing"), 1);
    let nested = format!("{}w1*{}", "(".repeat(15), ")".repeat(15));
    let phrases = [
        "*in*".to_owned(),
        "w* ".repeat(64),
        "*ing ".repeat(8),
        format!("NOT {}", "w* ".repeat(60)),
        nested,
    ];
    for phrase in phrases {
        let started = Instant::now();
        let found = count(&backend, &phrase);
        assert!(found <= 300);
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{phrase} took {:?}",
            started.elapsed()
        );
    }
    for phrase in [
        "w ".repeat(65),
        "*i".to_owned(),
        "(".repeat(500),
        "a".repeat(3000),
        "*ing ".repeat(9),
    ] {
        let search: String =
            form_urlencoded::byte_serialize(json!({ "phrase": phrase }).to_string().as_bytes())
                .collect();
        let target = format!("/v1/search?objectTypes=objects.notes&search={search}");
        let refused = backend.send(Request::get(target)).must_be(400);
        assert_eq!(text(&refused, "/errors/0/reason"), "BadRequest");
    }
    server.stop();
}
