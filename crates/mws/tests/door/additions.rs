//! Presence, history, other tags, and bytes.

use std::sync::Arc;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_core::{AppUser, AppUsers, Asking};
use pilvi_model::BackendId;
use serde_json::{Value, json};

use crate::peer::Frame;
use crate::world::{CLOSED, OPEN, Reply, TcpPeer, USERS, World, next, within};

const BINARY: u8 = 0x2;

async fn configure(world: &World, gateway: &str, body: Value) {
    let reply = world.admin("PUT", gateway, "/configuration", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn ask(world: &World, gateway: &str, path: &str) -> Reply {
    let path = format!("/v1/gateways/{gateway}{path}");
    world.request("GET", &path, "", "").await
}

/// The next text, as JSON.
async fn heard(peer: &mut TcpPeer) -> Value {
    let frame = next(peer).await.unwrap();
    serde_json::from_slice(&frame.payload).unwrap()
}

/// What is told of a tag, until it says that so many are there.
async fn told(peer: &mut TcpPeer, tag: &str, count: u64) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let told = heard(peer).await["presence"].take();
        let is_last = told["tag"] == tag && told["count"] == count;
        all.push(told);
        if is_last {
            return all;
        }
    }
}

/// The members that came, or went, by what was told.
fn members(told: &[Value], list: &str) -> Vec<String> {
    let lists = told.iter().flat_map(|told| told[list].as_array().unwrap());
    lists
        .map(|member| member["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn listed(world: &World, gateway: &str, tag: &str) -> Value {
    let path = format!("/presence?tag={tag}");
    let reply = world.admin("GET", gateway, &path, &Value::Null).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json
}

fn message_id(reply: &Reply) -> &str {
    let lines = reply.head.lines().map(|line| line.split_once(": "));
    let mut named = lines
        .flatten()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-message-id"));
    named.next().unwrap().1
}

fn texts(reply: &Reply) -> Vec<&str> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let results = reply.json["results"].as_array().unwrap();
    results
        .iter()
        .map(|message| message["data"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_sockets_of_a_tag_hear_who_comes_who_goes_and_who_changes_over() {
    let world = World::new().await;
    configure(&world, OPEN, json!({"presence": {"tags": ["room.*"]}})).await;
    let (first_id, mut first) = world.join(OPEN, &["room.1", "users.alice"]).await;
    let own = told(&mut first, "room.1", 1).await;
    assert_eq!(own[0]["joined"][0]["user"], "alice");
    assert_eq!(own[0]["joined"][0]["since"], "2014-03-14T06:28:51Z");
    let (second_id, second) = world.join(OPEN, &["room.1"]).await;
    let came = told(&mut first, "room.1", 2).await;
    let list = listed(&world, OPEN, "room.1").await;
    assert_eq!(list["count"], 2);
    let row = |socket: &str| {
        let rows = list["results"].as_array().unwrap().iter();
        let mut of_socket = rows.filter(|row| row["socket"] == socket);
        of_socket.next().unwrap()["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(members(&own, "joined"), [row(&first_id)]);
    assert_eq!(members(&came, "joined"), [row(&second_id)]);
    assert!(members(&came, "left").is_empty());

    // It goes to another room and comes into a third one that nobody hears of.
    let path = format!("/sockets/{second_id}");
    let body = json!({"tags": ["room.2", "lobby"]});
    let changed = world.admin("PUT", OPEN, &path, &body).await;
    assert_eq!(
        (changed.status, &changed.json["tags"]),
        (200, &body["tags"])
    );
    let went = told(&mut first, "room.1", 1).await;
    assert_eq!(members(&went, "left"), [row(&second_id)]);
    assert_eq!(listed(&world, OPEN, "room.2").await["count"], 1);

    let all = world.admin("GET", OPEN, "/presence", &Value::Null).await;
    let counted = json!([{"tag": "room.1", "count": 1}, {"tag": "room.2", "count": 1}]);
    assert_eq!(all.json["results"], counted);
    let behind = world
        .admin("GET", OPEN, "/presence?after=room.1&limit=1", &Value::Null)
        .await;
    assert_eq!(
        behind.json["results"],
        json!([{"tag": "room.2", "count": 1}])
    );
    drop(second);
    within(async {
        while listed(&world, OPEN, "room.2").await["count"] != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn many_who_come_at_once_are_few_messages_that_name_each_once() {
    let world = World::new().await;
    configure(&world, OPEN, json!({"presence": {"tags": ["hall"]}})).await;
    let (_, mut listener) = world.join(OPEN, &["hall"]).await;
    told(&mut listener, "hall", 1).await;
    let begun = tokio::time::Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(world.join(OPEN, &["hall"]).await);
    }
    let told = told(&mut listener, "hall", 41).await;
    let quarters = begun.elapsed().div_duration_f64(Duration::from_millis(250));
    assert!(
        (told.len() as f64) <= quarters + 1.0,
        "{} in {quarters}",
        told.len()
    );
    let mut named = members(&told, "joined");
    named.sort();
    named.dedup();
    assert_eq!(named.len(), 40);
}

#[tokio::test]
async fn presence_that_is_turned_on_counts_who_is_there_and_turned_off_is_silent() {
    let world = World::new().await;
    let (_, mut early) = world.join(OPEN, &["room"]).await;
    let path = "/presence?tag=room";
    let before = world.admin("GET", OPEN, path, &Value::Null).await;
    assert_eq!(before.status, 404, "{before:?}");
    configure(&world, OPEN, json!({"presence": {"tags": ["room"]}})).await;
    assert_eq!(listed(&world, OPEN, "room").await["count"], 1);
    let _second = world.join(OPEN, &["room"]).await;
    assert_eq!(told(&mut early, "room", 2).await.len(), 1);
    configure(&world, OPEN, json!({"presence": null})).await;
    let (_, mut third) = world.join(OPEN, &["room"]).await;
    configure(&world, OPEN, json!({"presence": {"tags": ["room"]}})).await;
    let _fourth = world.join(OPEN, &["room"]).await;
    let told = told(&mut third, "room", 4).await;
    assert_eq!(
        members(&told, "joined").len(),
        1,
        "the third one came untold"
    );
}

#[tokio::test]
async fn what_goes_to_a_tag_is_for_those_who_have_it() {
    let world = World::new().await;
    let body = json!({"presence": {"tags": ["*"]}, "history": [{"tag": "*"}]});
    for gateway in [OPEN, CLOSED] {
        configure(&world, gateway, body.clone()).await;
        world
            .publish(gateway, "secret", json!({"tags": ["room"]}))
            .await;
    }
    let (token, _peer) = world.join(OPEN, &["room"]).await;
    let (other, _other) = world.join(OPEN, &["hall"]).await;
    let (foreign, _foreign) = world.join(CLOSED, &["room"]).await;
    let reserved = world.reserve(OPEN, &["room"]).await;
    let rows = [
        (OPEN, "tag=room".to_owned(), 403),
        (OPEN, format!("tag=room&token={token}"), 200),
        (OPEN, format!("tag=hall&token={token}"), 403),
        (OPEN, format!("tag=room&token={other}"), 403),
        (OPEN, format!("tag=room&token={foreign}"), 403),
        (OPEN, format!("tag=room&token={reserved}"), 403),
        (OPEN, "tag=room&token=x".to_owned(), 403),
        (CLOSED, "tag=room".to_owned(), 401),
        (CLOSED, format!("tag=room&token={foreign}"), 200),
        (CLOSED, format!("tag=room&token={token}"), 403),
    ];
    for (gateway, query, status) in rows {
        for noun in ["presence", "history"] {
            let reply = ask(&world, gateway, &format!("/{noun}?{query}")).await;
            assert_eq!(reply.status, status, "{noun} of {query}: {reply:?}");
            let shown = reply.json.to_string();
            assert!(!shown.contains("\"socket\""), "{shown}");
            assert_eq!(
                shown.contains("secret"),
                noun == "history" && status == 200,
                "{shown}"
            );
        }
    }
    let everything = ask(&world, OPEN, &format!("/presence?token={token}")).await;
    assert_eq!(everything.status, 403);
}

struct Alice;

impl AppUsers for Alice {
    fn who<'a>(&'a self, _: BackendId, token: &'a Secret) -> Asking<'a> {
        let user = (token.expose() == "alice").then(|| AppUser {
            id: "5417e5485a3d8b418a01adb8".parse().unwrap(),
            groups: vec!["532c410072fc38d95600000b".parse().unwrap()],
        });
        Box::pin(std::future::ready(Ok(user)))
    }
}

#[tokio::test]
async fn users_may_ask_about_their_own_tags_and_those_of_their_groups() {
    let world = World::with_users(Arc::new(Alice)).await;
    let body = json!({
        "identityProvider": {"type": "eds", "backendId": USERS},
        "permissions": {"read": ["*"]},
        "history": [{"tag": "*"}],
    });
    configure(&world, CLOSED, body).await;
    let rows = [
        ("users.5417e5485a3d8b418a01adb8", 200),
        ("usergroups.532c410072fc38d95600000b", 200),
        ("users.532c410072fc38d95600000b", 403),
        ("room", 403),
    ];
    for (tag, status) in rows {
        let path = format!("/v1/gateways/{CLOSED}/history?tag={tag}");
        let headers = "Authorization: Bearer alice\r\n";
        let reply = world.request("GET", &path, headers, "").await;
        assert_eq!(reply.status, status, "{tag}: {reply:?}");
    }
}

#[tokio::test]
async fn a_newcomer_gets_what_it_missed_then_what_comes() {
    let world = World::new().await;
    let rules = json!([{"tag": "news", "messages": 3, "replay": 2}, {"tag": "kept"}]);
    configure(&world, OPEN, json!({"history": rules, "compression": true})).await;
    for text in ["1", "2", "3", "4"] {
        world
            .publish(OPEN, text, json!({"tags": ["news", "kept"]}))
            .await;
    }
    world
        .publish(OPEN, "everyone", json!({"sockets": ["*"]}))
        .await;
    let (_, mut plain) = world.join(OPEN, &["news", "kept"]).await;
    let token = world.reserve(OPEN, &["news"]).await;
    let mut deflating = world.connect_deflating(&token).await;
    world.publish(OPEN, "5", json!({"tags": ["news"]})).await;
    for peer in [&mut plain, &mut deflating] {
        for text in ["3", "4", "5"] {
            assert_eq!(next(peer).await, Some(Frame::text(text)));
        }
    }
    let (_, mut other) = world.join(OPEN, &["kept"]).await;
    world.publish(OPEN, "live", json!({"sockets": ["*"]})).await;
    assert_eq!(next(&mut other).await, Some(Frame::text("live")));
}

#[tokio::test]
async fn who_was_away_asks_for_what_came_after_the_last_message_it_has() {
    let world = World::new().await;
    let rules = json!([{"tag": "news", "messages": 3, "seconds": 60}]);
    configure(&world, OPEN, json!({"history": rules})).await;
    let mut ids = Vec::new();
    for text in ["1", "2", "3", "4", "5"] {
        let body = json!({"data": text, "receivers": {"tags": ["news"]}});
        let reply = world.admin("POST", OPEN, "/messages", &body).await;
        let id = message_id(&reply).to_owned();
        assert!(ids.last() < Some(&id), "ids are in the order of messages");
        ids.push(id);
    }
    let read = async |query: &str| {
        let path = format!("/history?tag=news{query}");
        world.admin("GET", OPEN, &path, &Value::Null).await
    };
    let latest = read("").await;
    assert_eq!(texts(&latest), ["3", "4", "5"]);
    assert_eq!(latest.json["results"][0]["id"], ids[2].as_str());
    assert_eq!(latest.json["results"][0]["at"], "2014-03-14T06:28:51.000Z");
    let rows = [
        (0, &["3", "4", "5"][..], false),
        (1, &["3", "4", "5"], true),
        (3, &["5"], true),
    ];
    for (place, expected, complete) in rows {
        let after = read(&format!("&after={}", ids[place])).await;
        assert_eq!(texts(&after), expected);
        assert_eq!(after.json["complete"], complete, "after {place}");
    }
    let one = read(&format!("&limit=1&after={}", ids[2])).await;
    assert_eq!(
        (texts(&one), &one.json["complete"]),
        (vec!["4"], &json!(true))
    );
    for wrong in ["&after=5", "&limit=x"] {
        assert_eq!(read(wrong).await.status, 422, "{wrong}");
    }
    let path = "/history";
    assert_eq!(
        world.admin("GET", OPEN, path, &Value::Null).await.status,
        422
    );
    let unkept = world
        .admin("GET", OPEN, "/history?tag=other", &Value::Null)
        .await;
    assert_eq!(unkept.status, 404);

    world.clock.advance(Duration::from_secs(60));
    assert!(texts(&read("").await).is_empty());
    configure(&world, OPEN, json!({"history": null})).await;
    assert_eq!(read("").await.status, 404);
    assert_eq!(world.mws.counts().history_bytes, 0);
}

#[tokio::test]
async fn bytes_are_sent_in_a_binary_frame_and_kept_as_bytes() {
    let world = World::new().await;
    configure(&world, OPEN, json!({"history": [{"tag": "t"}]})).await;
    let (_, mut peer) = world.join(OPEN, &["t"]).await;
    let body = json!({"data": "AAH/", "encoding": "base64", "receivers": {"tags": ["t"]}});
    let reply = world.admin("POST", OPEN, "/messages", &body).await;
    let answer = json!({"data": "AAH/", "receivers": {"sockets": null, "tags": ["t"]}, "encoding": "base64"});
    assert_eq!((reply.status, &reply.json), (201, &answer));
    assert_eq!(
        next(&mut peer).await,
        Some(Frame::new(BINARY, &[0, 1, 255]))
    );
    let kept = world
        .admin("GET", OPEN, "/history?tag=t", &Value::Null)
        .await;
    let kept = &kept.json["results"][0];
    assert_eq!(
        (&kept["data"], &kept["encoding"]),
        (&json!("AAH/"), &json!("base64"))
    );
    for (data, encoding, property) in [
        (json!("AAH"), json!("base64"), "data"),
        (json!("äöü="), json!("base64"), "data"),
        (json!({"a": 1}), json!("base64"), "data"),
        (json!("x"), json!("hex"), "encoding"),
        (json!("x"), json!(1), "encoding"),
    ] {
        let body = json!({"data": data, "encoding": encoding, "receivers": {"tags": ["t"]}});
        let reply = world.admin("POST", OPEN, "/messages", &body).await;
        assert_eq!(reply.status, 422, "{body}");
        assert_eq!(reply.json["errors"][0]["property"], property, "{body}");
    }
}

#[tokio::test]
async fn a_reservation_can_get_other_tags_too_and_a_stranger_none() {
    let world = World::new().await;
    let token = world.reserve(OPEN, &["old"]).await;
    let path = format!("/sockets/{token}");
    let body = json!({"tags": ["new", 5, "new"]});
    let reply = world.admin("PUT", OPEN, &path, &body).await;
    assert_eq!(
        (reply.status, &reply.json["tags"]),
        (200, &json!(["new", "5"]))
    );
    let foreign = world.admin("PUT", CLOSED, &path, &body).await;
    assert_eq!(foreign.status, 404);
    let whole = format!("/v1/gateways/{OPEN}{path}");
    let nobody = world.request("PUT", &whole, "", &body.to_string()).await;
    assert_eq!(nobody.status, 401);
    let mut peer = world.connect(&token).await;
    world.publish(OPEN, "old", json!({"tags": ["old"]})).await;
    world.publish(OPEN, "new", json!({"tags": ["5"]})).await;
    assert_eq!(next(&mut peer).await, Some(Frame::text("new")));
    let many: Vec<usize> = (0..101).collect();
    let too_many = world
        .admin("PUT", OPEN, &path, &json!({"tags": many}))
        .await;
    assert_eq!(too_many.status, 422);
    let gone = format!("/sockets/{}", "0".repeat(64));
    let gone = world.admin("PUT", OPEN, &gone, &body).await;
    assert_eq!(gone.status, 404);
}
