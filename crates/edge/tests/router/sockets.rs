//! Connections that become something else than HTTP.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pilvi_edge::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::apps::App;
use crate::world::{Client, HOST, PATIENCE, World, eventually};

fn upgrade() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// An app that accepts every upgrade and echoes bytes until the other side has finished.
async fn echo(world: &World) -> std::sync::Arc<App> {
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        let head = wire.head().await.unwrap();
        assert!(
            head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
            "{head}"
        );
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        )
        .await;
        loop {
            let read = std::mem::take(&mut wire.read);
            wire.send(&read).await;
            if !wire.more().await {
                break;
            }
        }
        wire.send("bye").await;
    })
    .await;
    world.run(&app);
    app
}

async fn open(world: &World) -> Client {
    let mut client = world.connect().await;
    client.send(upgrade() + "ahead").await;
    let head = client.until("\r\n\r\n").await;
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(client.until("ahead").await, "helloahead");
    client
}

#[tokio::test]
async fn bytes_pass_in_both_directions_until_both_sides_are_done() {
    let world = World::start(Settings {
        access_lines: true,
        ..Settings::default()
    })
    .await;
    let app = echo(&world).await;
    let mut client = open(&world).await;
    client.send("one").await;
    assert_eq!(client.until("one").await, "one");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "bye");
    eventually("the app is done", || app.open.load(Ordering::SeqCst) == 0).await;
    world
        .journal
        .with(&["at=info", "path=\"/chat\"", "status=101"])
        .await;
}

#[tokio::test]
async fn only_a_socket_over_which_nothing_goes_is_cut() {
    let limit = Duration::from_millis(250);
    let world = World::start(Settings {
        idle_timeout: limit,
        ..Settings::default()
    })
    .await;
    echo(&world).await;
    let (mut lively, mut quiet) = (open(&world).await, open(&world).await);
    let started = Instant::now();
    while started.elapsed() < limit * 3 {
        tokio::time::sleep(limit / 5).await;
        lively.send("ping").await;
        lively.until("ping").await;
    }
    assert_eq!(quiet.more().await, 0, "the quiet one has been cut");
    world.journal.with(&["code=H15", "status=101"]).await;
    let last = Instant::now();
    assert_eq!(lively.more().await, 0);
    assert!(
        last.elapsed() >= limit / 2,
        "it was cut only after the limit"
    );
}

#[tokio::test]
async fn an_app_that_goes_takes_its_sockets_along() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )
        .await;
        wire.more().await;
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    client.send(upgrade()).await;
    client.until("\r\n\r\n").await;
    client.send("x").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "");
}

/// However a process ends, its clients are told so at once and in order, and not by a reset.
#[tokio::test]
async fn the_sockets_of_a_process_that_ends_are_closed_properly() {
    let world = World::default().await;
    for abruptly in [false, true] {
        let app = App::start(&world.tasks, "web.1", move |mut wire| async move {
            wire.head().await;
            wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .await;
            wire.more().await;
            if abruptly {
                // What is left unread when a socket is closed makes a reset of its end.
                while wire.stream.try_read(&mut [0; 1]).is_err() {
                    wire.stream.readable().await.unwrap();
                }
            }
        })
        .await;
        world.publish(&[app]);
        let mut client = world.connect().await;
        client.send(upgrade()).await;
        client.until("\r\n\r\n").await;
        client.send("end").await;
        if abruptly {
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.send("more").await;
        }
        let mut rest = Vec::new();
        let read = client.stream.read_to_end(&mut rest);
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap();
        assert_eq!(read.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_socket_stays_with_a_removed_process_and_is_waited_for() {
    let world = World::default().await;
    echo(&world).await;
    let mut client = open(&world).await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(
        !world
            .edge
            .drained("app", &["web.1"], Duration::from_millis(30))
            .await
    );
    client.send("still").await;
    assert_eq!(client.until("still").await, "still");
    drop(client);
    assert!(world.edge.drained("app", &["web.1"], PATIENCE).await);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let world = World::default().await;
    App::answering(
        &world,
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send(upgrade()).await;
        let (head, body) = client.response().await;
        assert!(head.starts_with("HTTP/1.1 403 ") && body == b"no", "{head}");
    }
}

#[tokio::test]
async fn sockets_end_when_the_router_stops() {
    let world = World::default().await;
    echo(&world).await;
    let mut client = open(&world).await;
    let resting = world.connect().await;
    assert!(world.tasks.drain(PATIENCE).await);
    assert_eq!(client.more().await, 0);
    assert_eq!(resting.rest().await, "");
}
