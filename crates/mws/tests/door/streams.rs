//! The life of an event stream, and what becomes of the URI that it is opened with.

use pilvi_core::{Provisioner, rate};
use pilvi_model::Provider;
use pilvi_mws::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::Frame;
use crate::world::{CLOSED, OPEN, Reply, World, next, within};

const ACCEPT: &str = "Accept: text/event-stream\r\n";

/// A listener over the network, behind the head of the answer.
struct Listener(TcpStream);

impl Listener {
    async fn open(world: &World, token: &str) -> Self {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let request = format!("GET /?token={token} HTTP/1.1\r\nHost: h\r\n{ACCEPT}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut listener = Self(stream);
        let head = listener.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(listener.until("\n\n").await, ":\n\n");
        listener
    }

    async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        within(async {
            while !bytes.ends_with(end.as_bytes()) {
                bytes.push(self.0.read_u8().await.unwrap());
            }
        })
        .await;
        String::from_utf8(bytes).unwrap()
    }

    async fn must_hear(&mut self, text: &str) {
        let block = self.until("\n\n").await;
        assert!(block.starts_with("id: "), "{block}");
        assert!(block.ends_with(&format!("\ndata: {text}\n\n")), "{block}");
    }

    async fn must_end(&mut self, code: u16, reason: &str) {
        let last = json!({"code": code, "reason": reason});
        let expected = format!("event: close\ndata: {last}\n\n");
        assert_eq!(self.until("\n\n").await, expected);
        let mut nothing = Vec::new();
        within(self.0.read_to_end(&mut nothing)).await.unwrap();
        assert_eq!(nothing, b"");
    }
}

/// What somebody hears who is refused.
async fn refused(world: &World, token: &str) -> Reply {
    let path = format!("/any/path?token={token}");
    world.request("GET", &path, ACCEPT, "").await
}

#[tokio::test]
async fn a_stream_is_a_socket_like_any_other() {
    let world = World::new().await;
    let id = world.reserve(OPEN, &["red"]).await;
    let mut stream = Listener::open(&world, &id).await;
    let (_, mut socket) = world.join(OPEN, &["red"]).await;
    let (_, mut foreign) = world.join(CLOSED, &["red"]).await;

    let path = format!("/sockets/{id}");
    let shown = world.admin("GET", OPEN, &path, &Value::Null).await;
    assert_eq!((shown.status, &shown.json["tags"]), (200, &json!(["red"])));
    world
        .publish(OPEN, "by tag", json!({"tags": ["red"]}))
        .await;
    world.publish(OPEN, "by id", json!({"sockets": [id]})).await;
    world
        .publish(OPEN, "for\nall", json!({"sockets": ["*"]}))
        .await;
    for heard in ["by tag", "by id", "for\ndata: all"] {
        stream.must_hear(heard).await;
    }
    for heard in ["by tag", "for\nall"] {
        assert_eq!(next(&mut socket).await, Some(Frame::text(heard)));
    }
    world
        .publish(CLOSED, "end", json!({"sockets": ["*", id]}))
        .await;
    assert_eq!(next(&mut foreign).await, Some(Frame::text("end")));

    let foreign = world.admin("DELETE", CLOSED, &path, &Value::Null).await;
    assert_eq!(foreign.status, 404);
    let deleted = world.admin("DELETE", OPEN, &path, &Value::Null).await;
    assert_eq!(deleted.status, 200);
    stream.must_end(1000, "").await;
}

#[tokio::test]
async fn a_uri_opens_one_socket_or_one_stream() {
    let world = World::new().await;
    let as_stream = world.reserve(OPEN, &[]).await;
    let mut stream = Listener::open(&world, &as_stream).await;
    let mut late = world.connect(&as_stream).await;
    assert_eq!(next(&mut late).await, Some(Frame::close(1000, "")));

    let (as_socket, mut socket) = world.join(OPEN, &[]).await;
    for token in [&*as_stream, &as_socket, "unknown", "", &"0".repeat(64)] {
        let reply = refused(&world, token).await;
        assert_eq!(reply.status, 410, "{token}");
        assert_eq!(reply.json["error"]["reason"], "Gone", "{token}");
        let message = reply.json["error"]["message"].as_str().unwrap();
        assert!(message.contains("ask for a new URI"), "{message}");
    }
    world.publish(OPEN, "both", json!({"sockets": ["*"]})).await;
    stream.must_hear("both").await;
    assert_eq!(next(&mut socket).await, Some(Frame::text("both")));
}

#[tokio::test]
async fn an_expired_uri_opens_no_stream() {
    let world = World::new().await;
    let token = world.reserve(OPEN, &[]).await;
    world.clock.advance(Limits::default().reservation_life);
    assert_eq!(refused(&world, &token).await.status, 410);
}

/// Whoever finds no room may come back with the same address.
#[tokio::test]
async fn a_full_gateway_uses_no_uri_up() {
    let world = World::with(Limits {
        sockets_per_gateway_max: 1,
        ..Limits::default()
    })
    .await;
    let (_, first) = world.join(OPEN, &[]).await;
    let token = world.reserve(OPEN, &[]).await;
    let full = refused(&world, &token).await;
    assert_eq!(full.status, 503);
    assert!(full.head.contains("\r\nRetry-After: 1\r\n"), "{full:?}");
    assert_eq!(full.json["error"]["reason"], "Unavailable");
    drop(first);
    within(async {
        while world.mws.counts().sockets > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    Listener::open(&world, &token).await;
}

#[tokio::test]
async fn an_address_that_guesses_too_often_is_refused_and_tokens_that_are_good_are_not() {
    let world = World::new().await;
    let guess = || refused(&world, "0");
    for number in 0..rate::Settings::default().failures.burst {
        assert_eq!(guess().await.status, 410, "{number}");
    }
    let flood = guess().await;
    assert_eq!(flood.status, 429);
    assert!(flood.head.contains("\r\nRetry-After: "), "{flood:?}");
    let token = world.reserve(OPEN, &[]).await;
    Listener::open(&world, &token).await;
}

#[tokio::test]
async fn a_removed_gateway_and_a_shutdown_tell_streams() {
    let world = World::new().await;
    let token = world.reserve(OPEN, &[]).await;
    let mut removed = Listener::open(&world, &token).await;
    let token = world.reserve(CLOSED, &[]).await;
    let mut last = Listener::open(&world, &token).await;
    let instance = world.directory.find(Provider::Mws, OPEN).await.unwrap();
    world.mws.remove(&instance.unwrap()).await.unwrap();
    removed.must_end(1001, "going away").await;
    world
        .publish(CLOSED, "last", json!({"sockets": ["*"]}))
        .await;
    world.tasks.stop();
    last.must_hear("last").await;
    last.must_end(1001, "going away").await;
    // Nobody waits for what a listener never says.
    assert!(within(world.tasks.drain(Limits::default().close_patience)).await);
    assert_eq!(world.mws.counts().sockets, 0);
}
