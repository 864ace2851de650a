//! Walking a long list by `next` and `after`, while others write.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

const SORT: &str = r#"[{"sortBy":"rank","direction":"desc"},{"sortBy":"title"}]"#;

fn page(backend: &Backend, parameters: &str) -> Value {
    backend
        .send(Request::get(format!("/v1/objects/songs?{parameters}")))
        .must_be(200)
}

fn refusal(backend: &Backend, parameters: &str) -> String {
    let reply = backend
        .send(Request::get(format!("/v1/objects/songs?{parameters}")))
        .must_be(400);
    text(&reply, "/errors/0/message")
}

fn titles(page: &Value) -> Vec<String> {
    page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|song| text(song, "/title"))
        .collect()
}

/// Some ranks are equal, some missing, and some are no numbers.
fn fill(backend: &Backend, songs: usize) {
    for number in 0..songs {
        let rank = match number % 5 {
            0 => json!(null),
            1 => json!("high"),
            2 => json!(number as f64 / 2.0),
            _ => json!(number % 3),
        };
        backend.create(
            "songs",
            &json!({"title": format!("song-{number:03}"), "rank": rank}),
        );
    }
}

#[test]
fn a_walk_by_cursor_is_the_whole_list() {
    let server = Server::demo();
    let backend = server.backend();
    fill(&backend, 23);
    for sort in ["", SORT] {
        let whole = titles(&page(&backend, &format!("sort={sort}&limit=1000")));
        let (mut walked, mut after) = (Vec::new(), String::new());
        let mut pages = 0;
        loop {
            let page = page(&backend, &format!("sort={sort}&limit=5&after={after}"));
            walked.extend(titles(&page));
            pages += 1;
            assert_eq!(
                page["results"].as_array().unwrap().len() == 5,
                page.get("next").is_some(),
                "{page}"
            );
            if page.get("next").is_none() {
                break;
            }
            after = text(&page, "/next");
        }
        assert_eq!(walked, whole, "{sort}");
        assert_eq!(pages, 5);
    }
}

#[test]
fn nothing_is_lost_or_repeated_while_others_write() {
    let server = Server::demo();
    let backend = server.backend();
    fill(&backend, 20);
    let whole: BTreeSet<String> = titles(&page(&backend, "limit=1000")).into_iter().collect();
    let (mut walked, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&backend, &format!("sort={SORT}&limit=4&after={after}"));
        walked.extend(titles(&page));
        let Some(next) = page.get("next") else { break };
        after = next.as_str().unwrap().to_owned();
        // What comes first shifts every offset; what the cursor stands on goes away.
        backend.create("songs", &json!({"title": "a-new-one", "rank": true}));
        backend.delete(page["results"].as_array().unwrap().last().unwrap());
    }
    let seen: BTreeSet<String> = walked.iter().cloned().collect();
    assert_eq!(seen.len(), walked.len(), "nothing came twice: {walked:?}");
    assert_eq!(seen, whole, "all came that were there from the beginning");
}

#[test]
fn a_cursor_that_does_not_fit_is_refused_with_what_to_do() {
    let server = Server::demo();
    let backend = server.backend();
    fill(&backend, 3);
    let next = text(&page(&backend, &format!("sort={SORT}&limit=2")), "/next");
    assert!(refusal(&backend, &format!("limit=2&after={next}")).contains("another query"));
    assert!(
        refusal(
            &backend,
            &format!(r#"q={{"rank":1}}&sort={SORT}&after={next}"#)
        )
        .contains("another query")
    );
    assert!(
        refusal(&backend, &format!("sort={SORT}&offset=2&after={next}"))
            .contains("leave offset out")
    );
    for garbage in ["x", "%00", "AAAA", "%F0%9F%98%80", &"A".repeat(20_000)] {
        assert!(
            refusal(&backend, &format!("after={garbage}")).contains("start over"),
            "{garbage}"
        );
    }
    // What is not about pages does not care.
    let count = page(&backend, &format!("sort={SORT}&count&after={next}"));
    assert_eq!(count["count"], 3);
}

#[test]
fn a_sort_by_long_texts_goes_on_as_well() {
    let server = Server::demo();
    let backend = server.backend();
    for number in 0..4 {
        backend.create(
            "songs",
            &json!({"title": format!("{}{number}", "x".repeat(5000))}),
        );
    }
    let sort = r#"{"sortBy":"title"}"#;
    let first = page(&backend, &format!("sort={sort}&limit=2"));
    let next = text(&first, "/next");
    assert!(next.len() < 500, "{next}");
    let second = page(&backend, &format!("sort={sort}&limit=2&after={next}"));
    assert_eq!(
        [titles(&first), titles(&second)].concat(),
        titles(&page(&backend, &format!("sort={sort}")))
    );
    backend.delete(first["results"].as_array().unwrap().last().unwrap());
    assert!(refusal(&backend, &format!("sort={sort}&limit=2&after={next}")).contains("is gone"));
}
