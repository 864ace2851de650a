//! Gateways that tell an app what happens, and do what it answers.

use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_base::secret::hmac_sha256;
use pilvi_core::Provisioner;
use pilvi_model::Provider;
use pilvi_mws::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::apps::{App, Call, URL};
use crate::peer::{self, Frame};
use crate::world::{CLOSED, OPEN, TcpPeer, World, next, within};

const BINARY: u8 = 0x2;

/// Attempts follow each other at once, so that a test need not wait for them.
fn impatient() -> Limits {
    Limits {
        event_retry_after: [Duration::ZERO; 3],
        ..Limits::default()
    }
}

/// A socket that its app lets in.
async fn join(world: &World, app: &App, tags: &[&str]) -> (String, TcpPeer) {
    let token = world.reserve(OPEN, tags).await;
    let (peer, ()) = tokio::join!(world.connect(&token), app.let_in());
    (token, peer)
}

#[tokio::test]
async fn an_app_hears_a_socket_come_speak_and_go() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let token = world.reserve(OPEN, &["a"]).await;
    let asked = async {
        let call = app.next_of("connect").await;
        let listed = world.admin("GET", OPEN, "/sockets", &Value::Null).await;
        assert_eq!(listed.json, json!({"results": []}), "it has not joined yet");
        let data = &call.event["data"];
        assert_eq!(call.event["timestamp"], "2014-03-14T06:28:51.000Z");
        assert_eq!(data["gateway"], OPEN);
        assert_eq!(data["socket"]["id"], token);
        assert_eq!(data["socket"]["tags"], json!(["a"]));
        assert_eq!(data["socket"]["transport"], "websocket");
        assert_eq!(data["request"]["address"], "127.0.0.1");
        assert_eq!(
            data["request"]["query"],
            json!({}),
            "the token is nobody's business"
        );
        assert!(call.header("webhook-id").starts_with("evt_"));
        assert_eq!(call.header("webhook-timestamp"), "1394778531");
        assert_eq!(
            call.header("webhook-signature"),
            "",
            "there is no secret yet"
        );
        assert_eq!(call.header("content-type"), "application/json");
        call.answer(200, r#"{"tags":["b"],"reply":{"hello":"you"}}"#);
    };
    let (mut socket, ()) = tokio::join!(world.connect(&token), asked);
    assert_eq!(
        next(&mut socket).await,
        Some(Frame::text(r#"{"hello":"you"}"#))
    );
    world.publish(OPEN, "to b", json!({"tags": ["b"]})).await;
    assert_eq!(next(&mut socket).await, Some(Frame::text("to b")));

    socket.send(peer::TEXT, "gr\u{fc}\u{df}e".as_bytes()).await;
    let call = app.next_of("message").await;
    assert_eq!(call.said(), "gr\u{fc}\u{df}e");
    assert_eq!(call.event["data"]["sequence"], 1);
    assert_eq!(call.event["data"]["socket"]["tags"], json!(["a", "b"]));
    call.answer(200, r#"{"reply":"heard"}"#);
    assert_eq!(next(&mut socket).await, Some(Frame::text("heard")));

    socket.send(BINARY, &[0, 255]).await;
    let call = app.next_of("message").await;
    assert_eq!(
        (call.said(), &call.event["data"]["encoding"]),
        ("AP8=", &json!("base64"))
    );
    assert_eq!(call.event["data"]["sequence"], 2);
    call.answer(200, r#"{"reply":"AQ==","encoding":"base64"}"#);
    assert_eq!(next(&mut socket).await, Some(Frame::new(BINARY, &[1])));

    socket.send(peer::CLOSE, b"\x0F\xA0see you").await;
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["socket"]["id"], token);
    assert_eq!(call.event["data"]["code"], 4000);
    assert_eq!(call.event["data"]["reason"], "see you");
    assert_eq!(call.event["data"]["clean"], true);
    call.answer(204, "");
    let counts = world.mws.counts();
    assert_eq!(
        (
            counts.event_failures,
            counts.events_lost,
            counts.event_closes
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn events_are_signed_once_there_is_a_secret_and_nobody_sees_it_twice() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let secret = |overlap: Value| {
        let world = &world;
        async move {
            let reply = world.admin("POST", OPEN, "/events/secret", &overlap).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json
        }
    };
    let first = secret(json!({})).await;
    assert_eq!(first["previousUntil"], Value::Null);
    let call = sent_by_a_test(&world, &app).await;
    assert_eq!(call.header("webhook-signature"), signed(&call, &first));

    let second = secret(json!({"overlapHours": 1})).await;
    assert_eq!(second["previousUntil"], "2014-03-14T07:28:51.000Z");
    let call = sent_by_a_test(&world, &app).await;
    let both = format!("{} {}", signed(&call, &second), signed(&call, &first));
    assert_eq!(call.header("webhook-signature"), both);
    world.clock.advance(Duration::from_secs(3600));
    let call = sent_by_a_test(&world, &app).await;
    assert_eq!(call.header("webhook-signature"), signed(&call, &second));

    let shown = world
        .admin("GET", OPEN, "/configuration", &Value::Null)
        .await;
    let instance = world
        .directory
        .find(Provider::Mws, OPEN)
        .await
        .unwrap()
        .unwrap();
    let owners = Value::Object(world.mws.shown_config(&instance)).to_string();
    for text in [shown.json.to_string(), owners] {
        assert!(text.contains(URL), "{text}");
        assert!(
            !text.contains("ecret") && !text.contains("whsec_"),
            "{text}"
        );
    }
    // Turning events off and on again keeps it.
    app.told(&world, OPEN, Value::Null).await;
    app.told(&world, OPEN, json!({"url": URL})).await;
    let call = sent_by_a_test(&world, &app).await;
    assert_eq!(call.header("webhook-signature"), signed(&call, &second));

    let wrong = json!({"overlapHours": 169});
    let reply = world.admin("POST", OPEN, "/events/secret", &wrong).await;
    assert_eq!(reply.status, 422);
    let path = format!("/v1/gateways/{OPEN}/events/secret");
    let stranger = format!("Authorization: Bearer {CLOSED}-token\r\n");
    assert_eq!(
        world.request("POST", &path, &stranger, "").await.status,
        401
    );
}

/// What the app gets when a gateway's owner tries it out.
async fn sent_by_a_test(world: &World, app: &App) -> Call {
    let body = json!({});
    let tried = world.admin("POST", OPEN, "/events/test", &body);
    let answered = async {
        let call = app.next_of("test").await;
        let kept = Call::copy(&call);
        call.answer(200, "fine");
        kept
    };
    let (reply, call) = tokio::join!(tried, answered);
    assert_eq!(reply.json["delivered"], true, "{reply:?}");
    call
}

/// The signature of the Standard Webhooks specification, computed here.
fn signed(call: &Call, made: &Value) -> String {
    let secret = made["secret"].as_str().unwrap();
    let key = base64(secret.strip_prefix("whsec_").unwrap());
    let head = format!(
        "{}.{}.",
        call.header("webhook-id"),
        call.header("webhook-timestamp")
    );
    let signature = hmac_sha256(&key, &[head.as_bytes(), &call.body].concat());
    format!("v1,{}", to_base64(&signature))
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn to_base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn an_app_refuses_a_socket_for_good_and_its_absence_does_not() {
    let limits = Limits {
        event_patience: Duration::from_millis(50),
        ..impatient()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let long = "\u{e9}".repeat(100);
    let long_answer = json!({"refuse": true, "reason": long}).to_string();
    let cut = &long[..122];
    let later = "the gateway's app cannot be asked now; try again";
    let unclear = "the gateway's app was not understood";
    let rows = [
        (
            Some((403, r#"{"reason":"not on the list"}"#)),
            1008,
            "not on the list",
        ),
        (Some((401, "")), 1008, ""),
        (
            Some((200, r#"{"refuse":true,"reason":"full"}"#)),
            1008,
            "full",
        ),
        (Some((200, &*long_answer)), 1008, cut),
        (Some((500, r#"{"reason":"not said"}"#)), 1013, later),
        (Some((302, "")), 1013, later),
        (Some((404, "")), 1013, later),
        (Some((200, "{")), 1011, unclear),
        (Some((200, r#"{"tags":{}}"#)), 1011, unclear),
        (None, 1013, later),
    ];
    for (answer, code, reason) in rows {
        let token = world.reserve(OPEN, &[]).await;
        let asked = async {
            let call = app.next_of("connect").await;
            match answer {
                Some((status, body)) => {
                    call.answer(status, body);
                    None
                }
                // Kept, so that it is not answered.
                None => Some(call),
            }
        };
        let (mut socket, _silent) = tokio::join!(world.connect(&token), asked);
        assert_eq!(next(&mut socket).await, Some(Frame::close(code, reason)));
        socket.send(peer::CLOSE, &code.to_be_bytes()).await;
        assert_eq!(next(&mut socket).await, None);
        // Who was not refused may come again with the same address.
        let mut again = if code == 1008 {
            world.connect(&token).await
        } else {
            tokio::join!(world.connect(&token), app.let_in()).0
        };
        if code == 1008 {
            assert_eq!(next(&mut again).await, Some(Frame::close(1000, "")));
        } else {
            again.send(peer::CLOSE, b"\x03\xE8").await;
            app.next_of("disconnect").await.answer(200, "");
        }
    }
    assert_eq!(world.mws.counts().event_closes, 0);
}

#[tokio::test]
async fn one_socket_waits_for_its_answers_and_no_other_does() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (_, mut slow) = join(&world, &app, &[]).await;
    let (_, mut quick) = join(&world, &app, &[]).await;
    slow.send(peer::TEXT, b"first").await;
    let first = app.next_of("message").await;
    slow.send(peer::TEXT, b"second").await;
    for text in ["a", "b", "c"] {
        quick.send(peer::TEXT, text.as_bytes()).await;
        let call = app.next_of("message").await;
        assert_eq!(call.said(), text, "the slow socket's second waits");
        call.answer(200, &json!({ "reply": text }).to_string());
        assert_eq!(next(&mut quick).await, Some(Frame::text(text)));
    }
    assert!(app.is_idle().await);
    first.answer(200, r#"{"reply":"1"}"#);
    let second = app.next_of("message").await;
    assert_eq!(second.said(), "second");
    second.answer(200, r#"{"reply":"2"}"#);
    for reply in ["1", "2"] {
        assert_eq!(next(&mut slow).await, Some(Frame::text(reply)));
    }
}

#[tokio::test]
async fn who_speaks_faster_than_the_app_is_held_back_and_loses_nothing() {
    const MESSAGES: usize = 2_000;
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (_, socket) = join(&world, &app, &[]).await;
    let (_, mut other) = join(&world, &app, &[]).await;
    let (mut read, mut write) = socket.into_parts();
    let payload = "x".repeat(5_000);
    let text = payload.clone();
    let speakers = TaskGroup::new();
    speakers.spawn("speaker", async move {
        for number in 0..MESSAGES {
            write
                .send(peer::TEXT, format!("{number} {text}").as_bytes())
                .await;
        }
        write.send(peer::CLOSE, b"\x03\xE8").await;
    });
    let first = app.next_of("message").await;
    within(async {
        while world.mws.counts().event_stalls == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(app.is_idle().await, "one after the other");
    // What is held back holds back nobody else.
    other.send(peer::TEXT, b"and me").await;
    let call = app.next_of("message").await;
    assert_eq!(call.said(), "and me");
    call.answer(200, r#"{"reply":"you, too"}"#);
    assert_eq!(next(&mut other).await, Some(Frame::text("you, too")));
    let mut call = first;
    for number in 0..MESSAGES {
        assert_eq!(call.said(), format!("{number} {payload}"));
        assert_eq!(call.event["data"]["sequence"], number + 1);
        call.answer(200, "");
        call = app.next().await;
    }
    assert_eq!(call.event["type"], "disconnect");
    call.answer(200, "");
    assert!(speakers.drain(Duration::from_secs(20)).await);
    assert_eq!(within(read.receive()).await, Some(Frame::close(1000, "")));
    assert_eq!(world.mws.counts().events_lost, 0);
}

#[tokio::test]
async fn all_sockets_of_a_gateway_wait_for_room_together_and_go_on() {
    let limits = Limits {
        event_bytes_per_gateway_max: 64 << 10,
        event_posts_per_gateway_max: 2,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let payload = "y".repeat(10_000);
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(join(&world, &app, &[]).await);
    }
    for (_, socket) in &mut sockets {
        for _ in 0..4 {
            socket.send(peer::TEXT, payload.as_bytes()).await;
        }
    }
    within(async {
        while world.mws.counts().event_stalls == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut heard = std::collections::HashMap::new();
    for _ in 0..8 * 4 {
        let call = app.next_of("message").await;
        let id = call.event["data"]["socket"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let sequence = call.event["data"]["sequence"].as_u64().unwrap();
        let before = heard.insert(id, sequence).unwrap_or(0);
        assert_eq!(sequence, before + 1);
        call.answer(200, "");
    }
    assert_eq!(heard.len(), 8);
    assert!(heard.values().all(|last| *last == 4), "{heard:?}");
}

#[tokio::test]
async fn who_is_not_read_for_long_is_given_up_but_not_for_its_silence() {
    let limits = Limits {
        event_bytes_per_gateway_max: 20 << 10,
        event_stall_max: Duration::from_millis(600),
        ping_every: Duration::from_millis(100),
        ..impatient()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let (_, mut full) = join(&world, &app, &[]).await;
    let (_, mut begun) = join(&world, &app, &[]).await;
    let payload = vec![b'x'; 10_000];
    for _ in 0..4 {
        full.send(peer::TEXT, &payload).await;
    }
    let _unanswered = app.next_of("message").await;
    // A message of which a part has come waits for room as well: its last frame is not to be read.
    begun.send_raw(&unfinished(peer::TEXT, &payload)).await;
    begun.send_raw(&unfinished(0, &payload)).await;
    for socket in [&mut full, &mut begun] {
        let mut pings = 0;
        let last = loop {
            match next(socket).await {
                Some(frame) if frame.opcode == peer::PING => pings += 1,
                last => break last,
            }
        };
        let slow = Frame::close(1013, "the gateway's app is too slow; try again later");
        assert_eq!(last, Some(slow));
        assert!(pings > 3, "{pings}");
    }
    assert_eq!(world.mws.counts().silent, 0);
}

/// Else a few who begin long messages and never end them would keep all others from being heard.
#[tokio::test]
async fn who_never_ends_a_message_makes_room_for_the_others() {
    let limits = Limits {
        event_bytes_per_gateway_max: 32 << 10,
        event_stall_max: Duration::from_millis(600),
        ping_every: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let (_, mut idle) = join(&world, &app, &[]).await;
    idle.send_raw(&unfinished(BINARY, &[0; 30_000])).await;
    for _ in 0..4 {
        answer_ping(&mut idle).await;
    }
    // Its first part leaves no room for its last.
    let (_, mut heard) = join(&world, &app, &[]).await;
    let long = "y".repeat(30_000);
    heard.send(peer::TEXT, long.as_bytes()).await;
    let last = loop {
        if let Some(last) = answer_ping(&mut idle).await {
            break last;
        }
    };
    let slow = Frame::close(1013, "the gateway's app is too slow; try again later");
    assert_eq!(last, slow);
    idle.send(peer::CLOSE, b"\x03\xF5").await;
    let said = loop {
        let call = app.next().await;
        if call.event["type"] == "message" {
            break call;
        }
        call.answer(200, "");
    };
    assert_eq!(said.said(), long);
    said.answer(200, r#"{"reply":"heard"}"#);
    loop {
        if let Some(reply) = answer_ping(&mut heard).await {
            break assert_eq!(reply, Frame::text("heard"));
        }
    }
}

/// Answers the next frame if it is a ping.
async fn answer_ping(socket: &mut TcpPeer) -> Option<Frame> {
    const PONG: u8 = 0xA;
    let frame = next(socket).await.expect("it is open");
    if frame.opcode != peer::PING {
        return Some(frame);
    }
    socket.send(PONG, &frame.payload).await;
    None
}

#[tokio::test]
async fn a_gateway_that_is_removed_while_its_app_is_asked_gets_no_socket() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let token = world.reserve(OPEN, &[]).await;
    let asked = async {
        let call = app.next_of("connect").await;
        let instance = world.directory.retire(OPEN).await.unwrap().unwrap();
        world.mws.remove(&instance).await.unwrap();
        call.answer(200, "");
    };
    let (mut socket, ()) = tokio::join!(world.connect(&token), asked);
    assert_eq!(
        next(&mut socket).await,
        Some(Frame::close(1001, "going away"))
    );
    let mut again = world.connect(&token).await;
    assert_eq!(next(&mut again).await, Some(Frame::close(1000, "")));
}

#[tokio::test]
async fn a_socket_that_is_deleted_while_its_app_is_asked_does_not_stay() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    for answer in ["", r#"{"tags":["a"]}"#] {
        let token = world.reserve(OPEN, &[]).await;
        let path = format!("/sockets/{token}");
        let asked = async {
            let call = app.next_of("connect").await;
            let deleted = world.admin("DELETE", OPEN, &path, &Value::Null).await;
            assert_eq!(deleted.status, 200);
            call.answer(200, answer);
        };
        let (mut socket, ()) = tokio::join!(world.connect(&token), asked);
        assert_eq!(next(&mut socket).await, Some(Frame::close(1000, "")));
        let mut again = world.connect(&token).await;
        assert_eq!(next(&mut again).await, Some(Frame::close(1000, "")));
        let deleted = world.admin("DELETE", OPEN, &path, &Value::Null).await;
        assert_eq!(deleted.status, 404);
        app.next_of("disconnect").await.answer(200, "");
    }
}

/// A frame that another one of the same message is to follow.
fn unfinished(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = peer::client_frame(opcode, payload);
    frame[0] &= 0x7F;
    frame
}

#[tokio::test]
async fn a_listener_to_an_event_stream_comes_and_goes_as_others_do() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let user = "users.5417e5485a3d8b418a01adb8";
    let token = world.reserve(OPEN, &["a", user]).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /?token={token}&room=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Origin: https://site.example\r\nUser-Agent: test/1\r\n\r\n"
    );
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let call = app.next_of("connect").await;
    let data = &call.event["data"];
    assert_eq!(data["socket"]["transport"], "eventstream");
    assert_eq!(data["socket"]["user"], user);
    assert_eq!(data["request"]["origin"], "https://site.example");
    assert_eq!(data["request"]["userAgent"], "test/1");
    assert_eq!(data["request"]["query"], json!({"room": "1"}));
    call.answer(200, r#"{"reply":"welcome"}"#);
    let mut heard = Vec::new();
    within(async {
        while !String::from_utf8_lossy(&heard).contains("data: welcome\n\n") {
            stream.read_buf(&mut heard).await.unwrap();
        }
    })
    .await;
    drop(stream);
    // Nobody notices before something is sent.
    world.publish(OPEN, "1", json!({"tags": ["a"]})).await;
    world.publish(OPEN, "2", json!({"tags": ["a"]})).await;
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["socket"]["id"], token);
    assert_eq!(call.event["data"]["clean"], false);
    call.answer(200, "");
}

#[tokio::test]
async fn a_post_that_fails_is_made_again_and_then_its_socket_is_given_up() {
    let world = World::with(impatient()).await;
    let app = App::of(&world, OPEN).await;
    let (_, mut socket) = join(&world, &app, &[]).await;
    socket.send(peer::TEXT, b"once").await;
    let call = app.next_of("message").await;
    let id = call.header("webhook-id").to_owned();
    call.answer(503, "");
    let call = app.next_of("message").await;
    assert_eq!(call.header("webhook-id"), id);
    call.answer(200, r#"{"reply":"at last"}"#);
    assert_eq!(next(&mut socket).await, Some(Frame::text("at last")));

    socket.send(peer::TEXT, b"twice").await;
    for _ in 0..4 {
        let call = app.next_of("message").await;
        assert_eq!(call.said(), "twice");
        drop(call);
    }
    let silent = Frame::close(1011, "the gateway's app does not answer");
    assert_eq!(next(&mut socket).await, Some(silent));
    socket.send(peer::CLOSE, b"\x03\xF3").await;
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["code"], 1011);
    assert_eq!(
        call.event["data"]["reason"],
        "the gateway's app does not answer"
    );
    assert_eq!(call.event["data"]["clean"], true);
    for _ in 0..3 {
        call_again(&app).await;
    }
    call.answer(200, "");
    let counts = world.mws.counts();
    assert_eq!((counts.events_lost, counts.event_closes), (1, 1));

    // A refusal is not asked for again.
    let (_, mut socket) = join(&world, &app, &[]).await;
    socket.send(peer::TEXT, b"never").await;
    app.next_of("message").await.answer(410, "");
    assert!(next(&mut socket).await.is_some());
    drop(socket);
    app.next_of("disconnect").await.answer(200, "");
}

/// Nothing: only the one event that is being looked at is under way.
async fn call_again(app: &App) {
    assert!(app.is_idle().await);
}

#[tokio::test]
async fn an_app_moves_a_socket_from_room_to_room() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (id, mut socket) = join(&world, &app, &["room.1", "kept"]).await;
    socket.send(peer::TEXT, b"to room 2").await;
    let call = app.next_of("message").await;
    call.answer(
        200,
        r#"{"tags":{"add":["room.2"],"remove":["room.1"]},"reply":"moved"}"#,
    );
    assert_eq!(next(&mut socket).await, Some(Frame::text("moved")));
    let path = format!("/sockets/{id}");
    let shown = world.admin("GET", OPEN, &path, &Value::Null).await;
    assert_eq!(shown.json["tags"], json!(["kept", "room.2"]));
    world.publish(OPEN, "1", json!({"tags": ["room.1"]})).await;
    world.publish(OPEN, "2", json!({"tags": ["room.2"]})).await;
    assert_eq!(next(&mut socket).await, Some(Frame::text("2")));

    let tags = json!({"tags": ["elsewhere"]});
    let reply = world.admin("PUT", OPEN, &path, &tags).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    socket.send(peer::TEXT, b"where am I").await;
    let call = app.next_of("message").await;
    assert_eq!(call.event["data"]["socket"]["tags"], json!(["elsewhere"]));
    let many: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
    call.answer(200, &json!({"tags": {"add": many}}).to_string());
    let unclear = Frame::close(1011, "the gateway's app was not understood");
    assert_eq!(next(&mut socket).await, Some(unclear));
}

#[tokio::test]
async fn messages_are_larger_where_somebody_reads_them_and_bounded_all_the_same() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (_, mut socket) = join(&world, &app, &[]).await;
    let large = "z".repeat(1 << 20);
    socket.send(peer::TEXT, large.as_bytes()).await;
    let call = app.next_of("message").await;
    assert!(call.said() == large);
    call.answer(200, "");
    socket
        .send(peer::TEXT, format!("{large}z").as_bytes())
        .await;
    let too_big = Frame::close(1009, "message too big");
    assert_eq!(next(&mut socket).await, Some(too_big));
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["code"], 1009);
    assert_eq!(call.event["data"]["clean"], false);
    call.answer(200, "");

    let (_, mut deaf) = world.join(CLOSED, &[]).await;
    deaf.send(peer::TEXT, large.as_bytes()).await;
    let too_big = Frame::close(1009, "message too big");
    assert_eq!(next(&mut deaf).await, Some(too_big));
    assert!(app.is_idle().await);
}

#[tokio::test]
async fn a_gateway_tells_what_it_was_asked_for_as_soon_as_it_was_asked() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (_, mut socket) = join(&world, &app, &[]).await;
    app.told(&world, OPEN, json!({"url": URL, "events": ["disconnect"]}))
        .await;
    socket.send(peer::TEXT, b"to nobody").await;
    let (_, mut quiet) = world.join(OPEN, &[]).await;
    quiet.send(peer::TEXT, b"to nobody either").await;
    quiet.send(peer::CLOSE, b"\x03\xE8bye").await;
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["code"], 1000);
    assert_eq!(call.event["data"]["reason"], "bye");
    call.answer(200, "");
    app.told(&world, OPEN, Value::Null).await;
    socket.send(peer::CLOSE, b"\x03\xE8").await;
    assert_eq!(next(&mut socket).await, Some(Frame::close(1000, "")));
    let reply = world.admin("POST", OPEN, "/events/test", &json!({})).await;
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(app.is_idle().await);
}

#[tokio::test]
async fn trying_out_says_how_it_went() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let tried = json!({});
    let tried = world.admin("POST", OPEN, "/events/test", &tried);
    let answered = async { app.next_of("test").await.answer(500, "out of\norder") };
    let (reply, ()) = tokio::join!(tried, answered);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json["delivered"], false);
    assert_eq!(reply.json["status"], 500);
    assert_eq!(reply.json["answer"], "out oforder");
    assert_eq!(reply.json["signed"], false);
    let error = reply.json["error"].as_str().unwrap();
    assert!(error.contains("500"), "{error}");

    // An address inside this machine is none of a gateway's business.
    app.told(&world, OPEN, json!({"url": "http://127.0.0.1:9/"}))
        .await;
    let reply = world.admin("POST", OPEN, "/events/test", &json!({})).await;
    let error = reply.json["error"].as_str().unwrap();
    assert!(error.contains("127.0.0.1"), "{error}");
    assert_eq!(reply.json["status"], Value::Null);
}

#[tokio::test]
async fn a_connection_that_breaks_off_and_a_server_that_stops_are_told() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let (_, socket) = join(&world, &app, &[]).await;
    drop(socket);
    let call = app.next_of("disconnect").await;
    assert_eq!(call.event["data"]["code"], 1006);
    assert_eq!(call.event["data"]["clean"], false);
    call.answer(200, "");

    let (_, mut socket) = join(&world, &app, &[]).await;
    let drained = world.tasks.drain(Duration::from_secs(15));
    let told = async {
        assert_eq!(
            next(&mut socket).await,
            Some(Frame::close(1001, "going away"))
        );
        socket.send(peer::CLOSE, b"\x03\xE9").await;
        let call = app.next_of("disconnect").await;
        assert_eq!(call.event["data"]["code"], 1001);
        assert_eq!(call.event["data"]["reason"], "going away");
        call.answer(200, "");
    };
    let (drained, ()) = tokio::join!(drained, told);
    assert!(drained);
}

#[tokio::test]
async fn a_compressed_message_is_told_as_it_was_meant() {
    let world = World::new().await;
    let app = App::of(&world, OPEN).await;
    let body = json!({"compression": true});
    let reply = world.admin("PUT", OPEN, "/configuration", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let token = world.reserve(OPEN, &[]).await;
    let (mut socket, ()) = tokio::join!(world.connect_deflating(&token), app.let_in());
    // "Hello", as RFC 7692 §7.2.3.1 shows it.
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    socket.send(0x40 | peer::TEXT, &hello).await;
    let call = app.next_of("message").await;
    assert_eq!(call.said(), "Hello");
    call.answer(200, r#"{"reply":"short"}"#);
    assert_eq!(next(&mut socket).await, Some(Frame::text("short")));
    socket.send(0x40 | peer::TEXT, &[0xFF, 0xFF, 0xFF]).await;
    let broken = Frame::close(1007, "not compressed as it claims");
    assert_eq!(next(&mut socket).await, Some(broken));
    app.next_of("disconnect").await.answer(200, "");
}

/// Answers every message with itself, and lets everybody come and go. Ends when nothing has been posted for so long.
async fn echo(app: &App, silence: Duration) -> usize {
    let mut heard = 0;
    while let Ok(call) = tokio::time::timeout(silence, app.next()).await {
        if call.event["type"] == "message" {
            let reply = json!({ "reply": call.said() });
            call.answer(200, &reply.to_string());
            heard += 1;
        } else {
            call.answer(200, "");
        }
    }
    heard
}

#[tokio::test]
async fn who_does_not_read_the_answers_is_not_heard_before_they_are_read() {
    const MESSAGES: usize = 1_500;
    let limits = Limits {
        queue_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let (_, socket) = join(&world, &app, &[]).await;
    let (mut read, mut write) = socket.into_parts();
    let payload = "z".repeat(8_000);
    let text = payload.clone();
    let (said, all_said) = oneshot::channel();
    let speakers = TaskGroup::new();
    speakers.spawn("speaker", async move {
        for number in 0..MESSAGES {
            let text = format!("{number} {text}");
            write.send(peer::TEXT, text.as_bytes()).await;
        }
        // Letting go of it would end the connection.
        let _ = said.send(write);
    });
    let heard = echo(&app, Duration::from_millis(500)).await;
    assert!(heard < MESSAGES, "nobody reads what it is answered");
    let counts = world.mws.counts();
    assert_eq!((counts.slow_readers, counts.sockets), (0, 1), "it waits");
    let answers = async {
        for number in 0..MESSAGES {
            let answer = format!("{number} {payload}");
            assert!(
                next(&mut read).await == Some(Frame::text(&answer)),
                "{number}"
            );
        }
    };
    tokio::select! {
        () = answers => {}
        _ = echo(&app, Duration::from_secs(15)) => panic!("the socket is not read again"),
    }
    let _write = all_said.await.unwrap();
}

#[tokio::test]
async fn who_reads_no_answer_for_long_is_given_up_but_not_for_its_silence() {
    let limits = Limits {
        queue_messages_max: usize::MAX,
        queue_bytes_max: 1 << 30,
        event_stall_max: Duration::from_millis(1_000),
        ping_every: Duration::from_millis(100),
        ..impatient()
    };
    let world = World::with(limits).await;
    let app = App::of(&world, OPEN).await;
    let (_, socket) = join(&world, &app, &[]).await;
    let (mut read, mut write) = socket.into_parts();
    let speakers = TaskGroup::new();
    speakers.spawn("speaker", async move {
        // Until the server hangs up.
        let payload = vec![b'z'; 8_000];
        while write.try_send(peer::TEXT, &payload).await {}
    });
    let given_up = within(async {
        while world.mws.counts().slow_readers == 0 {
            tokio::task::yield_now().await;
        }
    });
    tokio::select! {
        () = given_up => {}
        _ = echo(&app, Duration::from_secs(15)) => panic!("it is not given up"),
    }
    let last = loop {
        match next(&mut read).await {
            Some(frame) if frame.opcode == peer::TEXT || frame.opcode == peer::PING => {}
            last => break last,
        }
    };
    assert_eq!(last, Some(Frame::close(1013, "reading too slowly")));
    assert_eq!(world.mws.counts().silent, 0);
    drop(read);
    assert!(speakers.drain(Duration::from_secs(20)).await);
}
