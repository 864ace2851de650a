//! The log.

use axum::body::Body;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt;
use pilvi_model::RequestId;
use pilvi_web::Arrival;
use serde_json::{Value, json};

use super::{APP, World};
use crate::Limits;
use crate::journal::{Entry, Stream};

impl World {
    fn write(&self, stream: Stream, process: &str, text: &str) {
        let entry = Entry {
            time: super::now(),
            stream,
            process: process.to_owned(),
            text: text.to_owned(),
        };
        self.mar.parts().journal.append(&self.app(), entry);
    }

    async fn lines(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/logs{query}")).await.must_be(200);
        let lines = page["results"].as_array().unwrap().iter();
        lines
            .map(|line| line["log"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn follow(&self, accept: &str) -> http::Response<Body> {
        let request = Request::get(format!("/v1/apps/{APP}/logs?follow=1&limit=1"))
            .header(AUTHORIZATION, "Bearer account")
            .header(ACCEPT, accept)
            .body(Body::empty())
            .unwrap();
        let arrival = Arrival::in_process("localhost", RequestId::from_bytes([1; 16]));
        self.door.call(request, arrival).await
    }
}

async fn piece(response: &mut http::Response<Body>) -> Option<String> {
    let frame = response.body_mut().frame().await?;
    let bytes = frame.unwrap().into_data().unwrap();
    Some(String::from_utf8(bytes.into()).unwrap())
}

#[tokio::test]
async fn the_last_lines_come_in_reading_order() {
    let world = World::new().await;
    assert_eq!(
        world.get("/logs").await.must_be(200),
        json!({"results": []})
    );
    for number in 0..150 {
        world.write(Stream::Stdout, "web.1", &format!("line {number}"));
    }
    world.write(Stream::Stderr, "worker.1", "oh");
    let page = world.get("/logs?offset=0&limit=1").await.must_be(200);
    assert_eq!(
        page["results"][0],
        json!({"time": "2015-03-18T09:00:00.000Z", "log": "oh", "stream": "stderr", "process": "worker.1"})
    );
    let lines = world.lines("?").await;
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[99].as_str()),
        (100, "line 51", "oh")
    );
    assert_eq!(
        world.lines("?offset=2&limit=2").await,
        ["line 147", "line 148"]
    );
    assert_eq!(world.lines("?stream=stderr").await, ["oh"]);
    assert_eq!(world.lines("?process=worker.1&limit=5").await, ["oh"]);
    assert_eq!(world.lines("?limit=2000").await.len(), 151);
    for wrong in ["?limit=x", "?offset=-1", "?stream=all"] {
        world.get(&format!("/logs{wrong}")).await.must_be(422);
    }
}

#[tokio::test]
async fn a_log_is_followed_as_it_is_written() {
    let world = World::new().await;
    world.write(Stream::Stdout, "web.1", "before");
    let mut lines = world.follow("*/*").await;
    assert_eq!(lines.headers()[CONTENT_TYPE], "application/x-ndjson");
    let first: Value = serde_json::from_str(&piece(&mut lines).await.unwrap()).unwrap();
    assert_eq!(first["log"], "before");
    let mut events = world.follow("text/event-stream").await;
    assert_eq!(events.headers()[CONTENT_TYPE], "text/event-stream");
    piece(&mut events).await.unwrap();

    world.write(Stream::Stdout, "web.1", "after");
    let line = piece(&mut lines).await.unwrap();
    assert!(line.ends_with("}\n") && line.contains("after"), "{line}");
    let event = piece(&mut events).await.unwrap();
    assert!(
        event.starts_with("data: {") && event.ends_with("}\n\n"),
        "{event}"
    );

    world.tasks.stop();
    assert_eq!(piece(&mut lines).await, None);
    assert_eq!(piece(&mut events).await, None);
}

#[tokio::test]
async fn few_follow_at_the_same_time() {
    let limits = Limits {
        followers: 1,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let first = world.follow("*/*").await;
    assert_eq!(world.follow("*/*").await.status(), 429);
    drop(first);
    assert_eq!(world.follow("*/*").await.status(), 200);
}
