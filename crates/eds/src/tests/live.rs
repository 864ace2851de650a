//! The notification stream and live queries, by event streams through the door.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use pilvi_model::RequestId;
use pilvi_web::Arrival;
use serde_json::{Value, json};

use super::{Credential, World, path_of, reference};

/// Longer than everything takes, and never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a browser's `EventSource` makes of a stream.
struct Events {
    body: Body,
    text: String,
    /// The last id.
    id: Option<String>,
}

impl World {
    async fn try_follow(&self, who: &Credential, resource: &str) -> Result<Events, StatusCode> {
        let mut request = Request::builder().uri(resource);
        if !resource.contains("ticket=") {
            request = request.header("enginio-backend-id", &self.backend);
        }
        if let Credential::Bearer(token) = who {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        let request = request.body(Body::empty()).unwrap();
        let response = self.door.call(request, arrival).await;
        match response.status() {
            StatusCode::OK => Ok(Events {
                body: response.into_body(),
                text: String::new(),
                id: None,
            }),
            status => Err(status),
        }
    }

    async fn follow(&self, who: &Credential, query: &str) -> Events {
        let resource = format!("/v1/live?objectType=objects.notes{query}");
        let mut events = self.try_follow(who, &resource).await.unwrap();
        if !query.contains("snapshot") && !query.contains("since") {
            assert_eq!(events.next().await.0, "caught_up");
        }
        events
    }

    async fn note(&self, who: &Credential, values: Value) -> String {
        path_of(&self.post(who, "/v1/objects/notes", values).await)
    }

    async fn put(&self, path: &str, body: &Value) {
        let answer = self.send(&self.admin(), "PUT", path, body).await;
        answer.must_be(200);
    }

    async fn delete(&self, path: &str, body: &Value) {
        let answer = self.send(&self.admin(), "DELETE", path, body).await;
        answer.must_be(200);
    }
}

impl Events {
    /// The next event: its name and its message.
    async fn next(&mut self) -> (String, Value) {
        let event = tokio::time::timeout(PATIENCE, self.read()).await;
        event.expect("an event comes").expect("the stream goes on")
    }

    async fn end(&mut self) {
        let event = tokio::time::timeout(PATIENCE, self.read()).await;
        assert_eq!(event.expect("the stream ends"), None);
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let lines: Vec<(String, String)> = event
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                self.text = rest.to_owned();
                let value = |name: &str| {
                    let found = lines.iter().find(|(other, _)| other == name);
                    found.map(|(_, value)| value.clone())
                };
                if let Some(id) = value("id") {
                    self.id = Some(id);
                }
                if let Some(event) = value("event") {
                    let message: Value = serde_json::from_str(&value("data").unwrap()).unwrap();
                    assert_eq!(message["event"], event.as_str());
                    return Some((event, message));
                }
                continue;
            }
            let frame = self.body.frame().await?.unwrap();
            let data = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn next_is(&mut self, event: &str, n: impl Into<Value>) {
        let (name, message) = self.next().await;
        let n = n.into();
        assert_eq!(
            (name.as_str(), &message["data"]["n"]),
            (event, &n),
            "{message}"
        );
    }
}

#[tokio::test]
async fn objects_enter_change_and_leave() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    let mut all = world.follow(&nobody, "").await;
    let mut large = world
        .follow(&nobody, "&q=%7B%22n%22%3A%7B%22%24gte%22%3A10%7D%7D")
        .await;
    let note = world.note(&nobody, json!({"n": 1})).await;
    all.next_is("enter", 1).await;
    world.put(&note, &json!({"n": 10})).await;
    all.next_is("update", 10).await;
    large.next_is("enter", 10).await;
    world.put(&note, &json!({"n": 11})).await;
    all.next_is("update", 11).await;
    large.next_is("update", 11).await;
    world.put(&note, &json!({"n": 2})).await;
    all.next_is("update", 2).await;
    let (event, message) = large.next().await;
    assert_eq!(event, "leave");
    assert_eq!(message["data"].as_object().unwrap().len(), 2, "{message}");
    assert!(note.ends_with(message["data"]["id"].as_str().unwrap()));
    world.delete(&note, &Value::Null).await;
    let (event, message) = all.next().await;
    assert_eq!(
        (event.as_str(), &message["data"]["deleted"]),
        ("leave", &json!(true))
    );
    // What never matched is told to nobody, and other types neither.
    let other = world.note(&nobody, json!({"n": 3})).await;
    world
        .post(&nobody, "/v1/objects/others", json!({"n": 99}))
        .await;
    world.delete(&other, &Value::Null).await;
    world.note(&nobody, json!({"n": 12})).await;
    large.next_is("enter", 12).await;
}

#[tokio::test]
async fn whoever_comes_back_hears_what_was_missed_once() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    let mut first = world.follow(&nobody, "").await;
    let note = world.note(&nobody, json!({"n": 1})).await;
    first.next_is("enter", 1).await;
    let since = first.id.clone().unwrap();
    drop(first);
    world.put(&note, &json!({"n": 2})).await;
    world.note(&nobody, json!({"n": 3})).await;
    let mut second = world.follow(&nobody, &format!("&since={since}")).await;
    second.next_is("update", 2).await;
    second.next_is("enter", 3).await;
    assert_eq!(second.next().await.0, "caught_up");
    world.note(&nobody, json!({"n": 4})).await;
    second.next_is("enter", 4).await;
    // A position of another life of the backend, or one that is long gone.
    let mut lost = world.follow(&nobody, "&since=3-00000000").await;
    assert_eq!(lost.next().await.0, "resync");
    assert_eq!(lost.next().await.0, "caught_up");
    for wrong in ["3", "x", "-1-0"] {
        let resource = format!("/v1/live?objectType=objects.notes&since={wrong}");
        let refused = world.try_follow(&nobody, &resource).await;
        assert_eq!(refused.err(), Some(StatusCode::BAD_REQUEST), "{wrong}");
    }
}

#[tokio::test]
async fn a_snapshot_comes_before_the_news_and_is_whole_with_its_end() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    for n in 0..3 {
        world.note(&nobody, json!({"n": n})).await;
    }
    let mut events = world
        .follow(
            &nobody,
            "&snapshot=true&q=%7B%22n%22%3A%7B%22%24gt%22%3A0%7D%7D",
        )
        .await;
    events.next_is("enter", 1).await;
    events.next_is("enter", 2).await;
    assert_eq!(events.id, None, "half a snapshot is no place to go on from");
    assert_eq!(events.next().await.0, "caught_up");
    assert!(events.id.is_some());
    world.note(&nobody, json!({"n": 5})).await;
    events.next_is("enter", 5).await;
    // Who comes back is told what was missed, and not everything again.
    let since = events.id.clone().unwrap();
    world.note(&nobody, json!({"n": 6})).await;
    let mut again = world
        .follow(&nobody, &format!("&snapshot=true&since={since}"))
        .await;
    again.next_is("enter", 6).await;
    assert_eq!(again.next().await.0, "caught_up");
    // And who cannot come back gets it anew.
    let mut anew = world
        .follow(&nobody, "&snapshot=true&since=1-00000000")
        .await;
    assert_eq!(anew.next().await.0, "resync");
    for n in [0, 1, 2, 5, 6] {
        anew.next_is("enter", n).await;
    }
    assert_eq!(anew.next().await.0, "caught_up");
}

#[tokio::test]
async fn who_may_read_decides_who_hears() {
    let world = World::new("private").await;
    let (ann, as_ann) = world.sign_up("ann").await;
    let (_, as_bob) = world.sign_up("bob").await;
    let mut of_ann = world.follow(&as_ann, "").await;
    let mut of_bob = world.follow(&as_bob, "").await;
    let note = world.note(&as_bob, json!({"n": 1})).await;
    of_bob.next_is("enter", 1).await;
    // Sharing is an entry for whoever it is shared with, and nothing new for the others.
    let access = format!("{note}/access");
    world
        .put(&access, &json!({"read": [reference(&ann)]}))
        .await;
    of_ann.next_is("enter", 1).await;
    world.put(&note, &json!({"n": 2})).await;
    of_ann.next_is("update", 2).await;
    of_bob.next_is("update", 2).await;
    world
        .delete(&access, &json!({"read": [reference(&ann)]}))
        .await;
    assert_eq!(of_ann.next().await.0, "leave");
    world.put(&note, &json!({"n": 3})).await;
    of_bob.next_is("update", 3).await;
    // Whoever came back would be told the same.
    let since = of_ann.id.clone().unwrap();
    let mut again = world.follow(&as_ann, &format!("&since={since}")).await;
    assert_eq!(again.next().await.0, "caught_up");
    // Nobody in particular may not list a private type.
    let resource = "/v1/live?objectType=objects.notes";
    let refused = world.try_follow(&Credential::Nothing, resource).await;
    assert_eq!(refused.err(), Some(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn whose_groups_change_is_told_to_read_anew() {
    let world = World::new("private").await;
    let (ann, as_ann) = world.sign_up("ann").await;
    let (_, as_bob) = world.sign_up("bob").await;
    let admin = world.admin();
    let group = world
        .post(&admin, "/v1/usergroups", json!({"name": "editors"}))
        .await;
    let mut of_ann = world.follow(&as_ann, "").await;
    let mut of_bob = world.follow(&as_bob, "").await;
    let note = world.note(&as_bob, json!({"n": 1})).await;
    of_bob.next_is("enter", 1).await;
    let access = format!("{note}/access");
    world
        .put(&access, &json!({"read": [reference(&group)]}))
        .await;
    let before = of_ann.id.clone().unwrap();
    let members = format!("{}/members", path_of(&group));
    world.post(&admin, &members, reference(&ann)).await;
    assert_eq!(of_ann.next().await.0, "resync");
    world.put(&note, &json!({"n": 2})).await;
    of_ann.next_is("update", 2).await;
    of_bob.next_is("update", 2).await;
    let mut again = world.follow(&as_ann, &format!("&since={before}")).await;
    assert_eq!(again.next().await.0, "resync");
    world.delete(&path_of(&group), &Value::Null).await;
    assert_eq!(of_ann.next().await.0, "resync");
    world.put(&note, &json!({"n": 3})).await;
    of_bob.next_is("update", 3).await;
}

#[tokio::test]
async fn a_live_query_ends_with_its_credential() {
    let world = World::new("private").await;
    let (ann, as_ann) = world.sign_up("ann").await;
    let (_, as_bob) = world.sign_up("bob").await;
    let mut of_ann = world.follow(&as_ann, "").await;
    let mut of_bob = world.follow(&as_bob, "").await;
    world.delete(&path_of(&ann), &Value::Null).await;
    of_ann.end().await;
    let note = world.note(&as_bob, json!({"n": 1})).await;
    of_bob.next_is("enter", 1).await;
    let Credential::Bearer(token) = &as_bob else {
        panic!("users sign in with tokens");
    };
    world
        .send(
            &as_bob,
            "POST",
            "/v1/auth/oauth2/revoke",
            &json!({"token": token}),
        )
        .await
        .must_be(200);
    of_bob.end().await;
    let _ = note;
}

#[tokio::test]
async fn a_live_query_ends_when_its_type_may_no_longer_be_listed() {
    let world = World::new("open").await;
    let mut events = world.follow(&Credential::Nothing, "").await;
    let closed =
        json!({"name": "notes", "properties": [], "accessControlList": {"read": [], "create": []}});
    world
        .send(&world.admin(), "POST", "/v1/object_types", &closed)
        .await;
    events.end().await;
}

#[tokio::test]
async fn an_address_stands_for_its_headers() {
    let world = World::new("private").await;
    let (_, as_ann) = world.sign_up("ann").await;
    let path = "/v1/live_url?objectType=objects.notes&snapshot=true";
    let urls = world
        .send(&as_ann, "GET", path, &Value::Null)
        .await
        .must_be(200);
    let url = urls["eventsUrl"].as_str().unwrap();
    let resource = url.strip_prefix("http://localhost:8080").unwrap();
    assert!(
        urls["webSocketUrl"]
            .as_str()
            .unwrap()
            .starts_with("ws://localhost:8080/v1/live?ticket=")
    );
    world.note(&as_ann, json!({"n": 1})).await;
    let nobody = Credential::Nothing;
    for _ in 0..2 {
        let mut events = world.try_follow(&nobody, resource).await.unwrap();
        events.next_is("enter", 1).await;
        assert_eq!(events.next().await.0, "caught_up");
    }
    let Credential::Bearer(token) = &as_ann else {
        panic!("users sign in with tokens");
    };
    assert!(!url.contains(token.as_str()));
    world
        .send(
            &as_ann,
            "POST",
            "/v1/auth/oauth2/revoke",
            &json!({"token": token}),
        )
        .await
        .must_be(200);
    let refused = world.try_follow(&nobody, resource).await;
    assert_eq!(refused.err(), Some(StatusCode::UNAUTHORIZED));
    let none = world.try_follow(&nobody, "/v1/live?ticket=abc").await;
    assert_eq!(none.err(), Some(StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let world = World::new("open").await;
    let long = "x".repeat(5000);
    for query in [
        "".to_owned(),
        "objectType=a.b.c".to_owned(),
        "objectType=notes&q=%5B%5D".to_owned(),
        "objectType=notes&snapshot=perhaps".to_owned(),
        format!("objectType=notes&q=%7B%22a%22%3A%22{long}%22%7D"),
    ] {
        for path in ["live", "live_url"] {
            let resource = format!("/v1/{path}?{query}");
            let refused = world.try_follow(&Credential::Nothing, &resource).await;
            assert_eq!(refused.err(), Some(StatusCode::BAD_REQUEST), "{resource}");
        }
    }
    let filter = "/v1/stream_url?filter=%5B%5D";
    world
        .send(&Credential::Nothing, "GET", filter, &Value::Null)
        .await
        .must_be(400);
}

#[tokio::test]
async fn the_address_of_a_stream_names_a_port_without_tls() {
    let world = World::new("open").await;
    for (secure, host, expected) in [
        (false, "localhost:8080", "localhost:8080"),
        (false, "api.example.org", "api.example.org:80"),
        (true, "localhost:8443", "localhost:8080"),
        (true, "api.example.org", "api.example.org:8080"),
        (true, "[::1]:8443", "[::1]:8080"),
    ] {
        let mut arrival = Arrival::in_process(host, RequestId::from_bytes([1; 16]));
        arrival.secure = secure;
        let request = Request::builder()
            .uri("/v1/stream_url?filter=%7B%7D")
            .header("enginio-backend-id", &world.backend)
            .body(Body::empty())
            .unwrap();
        let response = world.door.call(request, arrival).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let url = answer["expiringUrl"].as_str().unwrap();
        let expected = format!("ws://{expected}/v1/stream?ticket=");
        assert!(url.starts_with(&expected), "{url}");
    }
}
