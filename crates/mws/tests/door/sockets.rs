//! The life of a socket.

use pilvi_core::{Provisioner, rate};
use pilvi_model::Provider;
use pilvi_mws::Limits;
use serde_json::{Value, json};

use crate::peer::{self, Frame};
use crate::world::{CLOSED, OPEN, World, next, within};

#[tokio::test]
async fn a_client_opens_a_socket_receives_and_closes() {
    let world = World::new().await;
    let path = format!("/v1/gateways/{OPEN}/websocket_uri");
    let reply = world.request("GET", &path, "", "").await;
    assert_eq!(reply.status, 200);
    let uri = reply.json["uri"].as_str().unwrap();
    let token = uri
        .strip_prefix(&format!("ws://{}/?token=", world.address))
        .unwrap();
    assert_eq!(reply.json["expiresAt"], "2014-03-14T06:33:51Z");
    assert_eq!(reply.json["tags"], json!([]));

    let mut socket = world.connect(token).await;
    for text in ["Hello World!", "  ünïcode \n"] {
        let receivers = json!({"sockets": ["*"], "tags": null});
        world.publish(OPEN, text, receivers).await;
        assert_eq!(next(&mut socket).await, Some(Frame::text(text)));
    }
    socket.send(peer::TEXT, b"ignored").await;
    socket.send(peer::PING, b"Ping.").await;
    assert_eq!(
        next(&mut socket).await,
        Some(Frame::new(peer::PONG, b"Ping."))
    );
    socket.send(peer::CLOSE, b"\x03\xE9").await;
    assert_eq!(next(&mut socket).await, Some(Frame::close(1001, "")));
    assert_eq!(next(&mut socket).await, None);

    let reply = world.admin("GET", OPEN, "/sockets", &Value::Null).await;
    assert_eq!(reply.json, json!({"results": []}));
}

#[tokio::test]
async fn messages_reach_whom_they_name_and_nobody_else() {
    let world = World::new().await;
    let (red_id, mut red) = world.join(OPEN, &["red"]).await;
    let (_, mut blue) = world.join(OPEN, &["blue", "any"]).await;
    let (_, mut foreign) = world.join(CLOSED, &["red", "blue"]).await;
    world
        .publish(OPEN, "1", json!({"sockets": [red_id], "tags": ["red"]}))
        .await;
    world
        .publish(OPEN, "2", json!({"tags": ["blue", "any"]}))
        .await;
    world.publish(OPEN, "3", json!({})).await;
    world.publish(OPEN, "end", json!({"sockets": ["*"]})).await;
    world
        .publish(CLOSED, "end", json!({"sockets": ["*", red_id]}))
        .await;
    for (socket, expected) in [
        (&mut red, &["1", "end"][..]),
        (&mut blue, &["2", "end"]),
        (&mut foreign, &["end"]),
    ] {
        for text in expected {
            assert_eq!(next(socket).await, Some(Frame::text(text)));
        }
    }
}

#[tokio::test]
async fn a_token_that_is_no_good_gets_its_handshake_and_then_a_close() {
    let world = World::new().await;
    let (used, _socket) = world.join(OPEN, &[]).await;
    let expired = world.reserve(OPEN, &[]).await;
    world.clock.advance(std::time::Duration::from_secs(300));
    for token in ["", "nonsense", &"0".repeat(64), &used, &expired] {
        let mut socket = world.connect(token).await;
        assert_eq!(
            next(&mut socket).await,
            Some(Frame::close(1000, "")),
            "{token}"
        );
        socket.send(peer::CLOSE, b"\x03\xE8").await;
        assert_eq!(next(&mut socket).await, None);
    }
    let counts = world.mws.counts();
    assert_eq!((counts.opened, counts.refused), (1, 5));
}

/// What a refused handshake looks like to whoever guesses.
#[tokio::test]
async fn an_address_that_guesses_too_often_is_refused_and_tokens_that_are_good_are_not() {
    let world = World::new().await;
    let guess = || {
        let path = format!("/?token={}", "0".repeat(64));
        let world = &world;
        async move {
            let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            world.upgrade(&path, upgrade).await
        }
    };
    let rates = rate::Settings::default();
    for number in 0..rates.failures.burst {
        assert_eq!(guess().await, 101, "{number}");
    }
    assert_eq!(guess().await, 429);
    let (_, mut socket) = world.join(OPEN, &[]).await;
    world.publish(OPEN, "here", json!({"sockets": ["*"]})).await;
    assert_eq!(next(&mut socket).await, Some(Frame::text("here")));
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(guess().await, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_race_with_one_uri_one_gets_the_socket() {
    let world = World::new().await;
    for _ in 0..20 {
        let token = world.reserve(OPEN, &[]).await;
        let (one, other) = tokio::join!(world.connect(&token), world.connect(&token));
        world
            .publish(OPEN, "you", json!({"sockets": [token]}))
            .await;
        let mut results = vec![];
        for mut socket in [one, other] {
            results.push(next(&mut socket).await.unwrap());
        }
        let winners = results.iter().filter(|frame| **frame == Frame::text("you"));
        assert_eq!(winners.count(), 1, "{results:?}");
        assert!(results.contains(&Frame::close(1000, "")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_dropped_and_delays_nobody() {
    let world = World::with(Limits {
        queue_messages_max: 8,
        ..Limits::default()
    })
    .await;
    let (slow_id, mut slow) = world.join(OPEN, &["all"]).await;
    let (_, mut quick) = world.join(OPEN, &["all"]).await;
    // Far more than the kernel holds for a connection that nobody reads.
    let text = "x".repeat(256 << 10);
    for _ in 0..200 {
        world.publish(OPEN, &text, json!({"tags": ["all"]})).await;
        assert_eq!(next(&mut quick).await, Some(Frame::text(&text)));
        if world.mws.counts().slow_readers > 0 {
            break;
        }
    }
    let counts = world.mws.counts();
    assert_eq!(counts.slow_readers, 1);
    let path = format!("/sockets/{slow_id}");
    let reply = world.admin("GET", OPEN, &path, &Value::Null).await;
    assert_eq!(reply.status, 404);

    let mut received = 0;
    let farewell = loop {
        match next(&mut slow).await.expect("a close frame comes first") {
            frame if frame == Frame::text(&text) => received += 1,
            frame => break frame,
        }
    };
    assert_eq!(farewell, Frame::close(1013, "reading too slowly"));
    assert!(received < counts.messages, "what waited is lost");
}

#[tokio::test]
async fn a_deleted_socket_is_closed_and_a_deleted_reservation_cannot_be_opened() {
    let world = World::new().await;
    let (id, mut socket) = world.join(OPEN, &["players"]).await;
    let path = format!("/sockets/{id}");
    let shown = world.admin("GET", OPEN, &path, &Value::Null).await;
    let expected = json!({
        "id": id,
        "connectedAt": "2014-03-14T06:28:51Z",
        "createdAt": "2014-03-14T06:28:51Z",
        "tags": ["players"],
    });
    assert_eq!((shown.status, &shown.json), (200, &expected));
    let listed = world.admin("GET", OPEN, "/sockets", &Value::Null).await;
    assert_eq!(listed.json, json!({"results": [expected]}));
    let foreign = world.admin("DELETE", CLOSED, &path, &Value::Null).await;
    assert_eq!(foreign.status, 404);

    // Some clients send a body along.
    let deleted = world.admin("DELETE", OPEN, &path, &json!({})).await;
    assert_eq!((deleted.status, deleted.json), (200, json!({})));
    let gone = world.admin("GET", OPEN, &path, &Value::Null).await;
    assert_eq!(
        (gone.status, &gone.json["error"]["reason"]),
        (404, &json!("NotFound"))
    );
    assert_eq!(next(&mut socket).await, Some(Frame::close(1000, "")));

    let unused = world.reserve(OPEN, &[]).await;
    let path = format!("/sockets/{unused}");
    assert_eq!(
        world.admin("GET", OPEN, &path, &Value::Null).await.status,
        404
    );
    assert_eq!(
        world
            .admin("DELETE", OPEN, &path, &Value::Null)
            .await
            .status,
        200
    );
    let mut turned_away = world.connect(&unused).await;
    assert_eq!(next(&mut turned_away).await, Some(Frame::close(1000, "")));
}

#[tokio::test]
async fn everything_works_the_same_under_tls() {
    let world = World::new().await;
    let token = world.reserve(OPEN, &[]).await;
    let mut socket = world.connect_securely(&token).await;
    let large = "x".repeat(1 << 20);
    for text in [&large, "small"] {
        world.publish(OPEN, text, json!({"sockets": ["*"]})).await;
        assert_eq!(next(&mut socket).await, Some(Frame::text(text)));
    }
    socket.send(peer::PING, b"Ping.").await;
    assert_eq!(
        next(&mut socket).await,
        Some(Frame::new(peer::PONG, b"Ping."))
    );
    socket.send(peer::CLOSE, b"\x0F\xA0").await;
    assert_eq!(next(&mut socket).await, Some(Frame::close(4000, "")));
    assert_eq!(next(&mut socket).await, None);

    let mut turned_away = world.connect_securely(&token).await;
    assert_eq!(next(&mut turned_away).await, Some(Frame::close(1000, "")));
}

#[tokio::test]
async fn a_page_of_sockets_is_bounded() {
    let world = World::with(Limits {
        page_max: 2,
        ..Limits::default()
    })
    .await;
    let mut sockets = vec![];
    for _ in 0..3 {
        sockets.push(world.join(OPEN, &[]).await);
    }
    for (query, length) in [
        ("", 2),
        ("?limit=1", 1),
        ("?limit=9&offset=2", 1),
        ("?offset=3", 0),
    ] {
        let path = format!("/sockets{query}");
        let reply = world.admin("GET", OPEN, &path, &Value::Null).await;
        assert_eq!(
            reply.json["results"].as_array().unwrap().len(),
            length,
            "{query}"
        );
    }
    let wrong = world
        .admin("GET", OPEN, "/sockets?limit=-1", &Value::Null)
        .await;
    assert_eq!(wrong.status, 422);
}

#[tokio::test]
async fn a_removed_gateway_lets_go_of_its_sockets() {
    let world = World::new().await;
    let (_, mut open) = world.join(OPEN, &[]).await;
    let (_, mut foreign) = world.join(CLOSED, &[]).await;
    let reserved = world.reserve(OPEN, &[]).await;
    let instance = world.directory.find(Provider::Mws, OPEN).await.unwrap();
    world.mws.remove(&instance.unwrap()).await.unwrap();
    assert_eq!(
        next(&mut open).await,
        Some(Frame::close(1001, "going away"))
    );
    let mut late = world.connect(&reserved).await;
    assert_eq!(next(&mut late).await, Some(Frame::close(1000, "")));
    world
        .publish(CLOSED, "still", json!({"sockets": ["*"]}))
        .await;
    assert_eq!(next(&mut foreign).await, Some(Frame::text("still")));
}

#[tokio::test]
async fn shutting_down_tells_every_socket_and_ends_in_time() {
    let world = World::new().await;
    let (_, mut polite) = world.join(OPEN, &[]).await;
    let (_, mut silent) = world.join(CLOSED, &[]).await;
    world
        .publish(CLOSED, "last", json!({"sockets": ["*"]}))
        .await;
    world.tasks.stop();
    let goodbye = Some(Frame::close(1001, "going away"));
    assert_eq!(next(&mut polite).await, goodbye);
    polite.send(peer::CLOSE, b"\x03\xE9").await;
    assert_eq!(next(&mut polite).await, None);
    assert_eq!(next(&mut silent).await, Some(Frame::text("last")));
    assert_eq!(next(&mut silent).await, goodbye);
    let patience = Limits::default().close_patience * 2;
    assert!(within(world.tasks.drain(patience)).await);
    assert_eq!(world.mws.counts().sockets, 0);
}
