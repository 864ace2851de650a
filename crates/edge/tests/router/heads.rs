//! Requests that two readers could understand differently are refused.

use crate::apps::App;
use crate::world::{HOST, World, last_get};
use std::sync::atomic::Ordering;

#[tokio::test]
async fn ambiguous_requests_are_refused_and_reach_no_app() {
    let world = World::default().await;
    let app = App::echoing(&world).await;
    let post = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n");
    for (request, status) in [
        (
            format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
            400,
        ),
        (format!("{post}Content-Length: 4, 4\r\n\r\nabcd"), 400),
        (format!("{post}Content-Length: +4\r\n\r\nabcd"), 400),
        (format!("{post}Content-Length: \r\n\r\n"), 400),
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
        ),
        (
            format!("{post}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (format!("{post}A: b\r\n folded: c\r\n\r\n"), 400),
        (format!("{post}A: b\0c\r\n\r\n"), 400),
        (format!("{post}A: b\rc\r\n\r\n"), 400),
        (format!("{post}Host: {HOST}\r\n\r\n"), 400),
        (format!("{post}: no name\r\n\r\n"), 400),
        (
            format!(
                "POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (format!("GET / HTTP/2.0\r\nHost: {HOST}\r\n\r\n"), 505),
        (format!("GET  / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400),
        (format!("GET x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400),
        (
            format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            405,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n",
                "A: b\r\n".repeat(100)
            ),
            431,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {HOST}\r\nA: {}\r\n\r\n",
                "b".repeat(66_000)
            ),
            431,
        ),
    ] {
        let response = world.ask(&request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {response}"
        );
        assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
        assert!(response.contains("{\"error\":{"), "{response}");
    }
    assert_eq!(app.dials.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_broken_body_never_reaches_its_end() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.gone().await;
    })
    .await;
    world.publish(&[app]);
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX\r\n",
        "-1\r\n",
        "0\r\nHost: x\r\n\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let response = world.ask(&request).await;
        assert!(
            response.starts_with("HTTP/1.1 400 "),
            "{body:?}: {response}"
        );
        assert!(
            response.contains("is not framed as its head announces"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let world = World::default().await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = world.connect().await;
    for byte in last_get("/").bytes() {
        client.send([byte]).await;
    }
    assert!(client.rest().await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let settings = pilvi_edge::Settings {
        head_timeout: std::time::Duration::from_millis(50),
        ..pilvi_edge::Settings::default()
    };
    let world = World::start(settings).await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let response = world.ask("GET / HTTP/1.1\r\nHo").await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
}

#[tokio::test]
async fn responses_that_cannot_be_trusted_are_not_passed_on() {
    let world = World::default().await;
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ] {
        App::answering(&world, answer).await;
        let response = world.ask(&last_get("/")).await;
        assert!(
            response.starts_with("HTTP/1.1 502 "),
            "{answer:?}: {response}"
        );
    }
    world
        .journal
        .with(&["code=H17", "status=502", "process=web.1"])
        .await;
}
