//! Every call of the table that changes something is one event of the audit log: with who, upon what, from where.

use std::task::Poll;

use axum::body::Body;
use futures_util::poll;
use pilvi_model::Provider;
use pilvi_store::platform::{Event, Log, LogPage};
use serde_json::{Value, json};

use super::rights::{prepare, verb};
use super::{APP, World, packed};
use crate::routes::{ROUTES, Route, Verb, Who};

/// Every call that changes something, and its event.
const EVENTS: &[(Verb, &str, &str)] = &[
    (Verb::Put, "", "app.stack"),
    (Verb::Put, "/env_vars", "app.vars.change"),
    (Verb::Post, "/scale", "app.scale"),
    (Verb::Post, "/restart", "app.restart"),
    (Verb::Post, "/start", "app.start"),
    (Verb::Post, "/stop", "app.stop"),
    (Verb::Post, "/exec", "app.exec"),
    (Verb::Post, "/domains", "app.domain.create"),
    (Verb::Delete, "/domains/{name}", "app.domain.remove"),
    (Verb::Post, "/ssl_certificate", "app.certificate.change"),
    (Verb::Delete, "/ssl_certificate", "app.certificate.remove"),
    (Verb::Delete, "/build_cache", "app.cache.remove"),
    (Verb::Delete, "/repository", "app.repository.reset"),
    (Verb::Post, "/slugs", "app.slug.create"),
    (Verb::Put, "/blobs/{number}", "app.slug.upload"),
    (Verb::Post, "/slugs/{tag}/deploy", "app.deploy"),
    (Verb::Delete, "/slugs/{tag}", "app.slug.remove"),
    (Verb::Post, "/releases/{number}/rollback", "app.rollback"),
];

impl World {
    /// All that was written down, oldest first.
    async fn events(&self) -> Vec<Event> {
        let page = LogPage {
            limit: 1000,
            ..LogPage::default()
        };
        let mut events = self.store.list_events(Log::Server, page).await.unwrap();
        events.reverse();
        events
    }
}

fn event_of(route: &Route) -> Option<&'static str> {
    let path = route.path.trim_start_matches("/v1/apps/{id}");
    let mut events = EVENTS.iter();
    let found = events.find(|(verb, known, _)| (*verb, *known) == (route.verb, path));
    found.map(|(_, _, event)| *event)
}

/// A call that is added without an event here fails.
#[tokio::test]
async fn every_change_is_one_event() {
    let changing = ROUTES.iter().filter(|route| route.verb != Verb::Get);
    assert_eq!(changing.clone().count(), EVENTS.len());
    for route in changing {
        let event = event_of(route).unwrap_or_else(|| panic!("{route:?} has no event"));
        let world = World::new().await;
        world.deploy("first", "web: x").await;
        let (token, path, body, secret) = asked(&world, route).await;
        world.wait_for_background().await;
        let before = world.events().await.len();

        let answer = world.send(token, verb(route), &path, body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{event}: {}",
            answer.body
        );
        world.wait_for_background().await;
        let events = world.events().await.split_off(before);
        let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names, [event], "{path}");
        check(&world, &events[0], route.who, &secret).await;
    }
}

/// Who asks, for what, with what, and what of it nobody may read in a log.
async fn asked(world: &World, route: &Route) -> (&'static str, String, Body, String) {
    if route.who == Who::Signed {
        let body = json!({"tag": "t", "process_types": {"web": "x"}});
        let announced = world.call("POST", "/slugs", body).await.must_be(201);
        let url = announced["blob"]["url"].as_str().unwrap();
        let place = url.trim_start_matches("http://mar.localhost:8080");
        let (_, signature) = place.split_once("signature=").unwrap();
        let bytes = Body::from(packed(&[("run", "x")]));
        return ("", place.to_owned(), bytes, signature.to_owned());
    }
    let (path, mut body) = prepare(world, route, 1).await;
    if path.ends_with("/env_vars") {
        body = json!({"A": "s3cret", "B": null});
    }
    if path.ends_with("/exec") {
        body["cmd"] = "echo s3cret".into();
    }
    let secret = body["privateKey"].as_str().map_or("s3cret", |key| {
        key.lines().nth(1).expect("a key has more than one line")
    });
    let secret = secret.to_owned();
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    ("developer's person", path, body, secret)
}

async fn check(world: &World, event: &Event, who: Who, secret: &str) {
    let instance = world.mar.parts().directory.find(Provider::Mar, APP).await;
    let account = instance.unwrap().unwrap().account;
    assert_eq!(event.account, Some(account), "{event:?}");
    assert_eq!(event.subject, APP, "{event:?}");
    assert_eq!(event.peer.as_deref(), Some("127.0.0.1"), "{event:?}");
    assert_eq!(event.request, Some("01".repeat(16)), "{event:?}");
    assert!(!format!("{event:?}").contains(secret), "{event:?}");
    let person = event
        .person
        .as_ref()
        .and_then(|person| person.email.clone());
    match who {
        // Whoever has the address may upload, and it says of nobody.
        Who::Signed => assert_eq!((event.actor.as_str(), person), ("nobody", None)),
        _ => {
            assert_eq!(event.actor, "person");
            assert_eq!(person.as_deref(), Some("developer@localhost"));
        }
    }
}

#[tokio::test]
async fn what_was_refused_is_no_event() {
    let world = World::new().await;
    world.deploy("first", "web: x").await;
    let refused = [
        (
            "POST",
            "/exec",
            json!({"cmd": "ls", "processId": "web.9"}),
            404,
        ),
        ("POST", "/slugs/none/deploy", json!({}), 404),
        ("POST", "/releases/1/rollback", json!({}), 409),
        ("PUT", "", json!({"stack": "none"}), 422),
        ("DELETE", "/slugs/first", json!({}), 409),
    ];
    for (method, path, body, status) in refused {
        world.call(method, path, body).await.must_be(status);
    }
    let body = json!({"tag": "t", "process_types": {"web": "x"}});
    world.call("POST", "/slugs", body).await.must_be(201);
    let deployed = world.call("POST", "/slugs/t/deploy", json!({})).await;
    deployed.must_be(422);
    world.wait_for_background().await;
    let events = world.events().await;
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["app.slug.create"]);
}

#[tokio::test]
async fn an_act_whose_client_hangs_up_is_carried_out_and_written_down() {
    let world = World::new().await;
    world.deploy("first", "web: x").await;
    world.stage.acts();
    world.stage.hold(true);
    {
        let mut call = Box::pin(world.call("POST", "/restart", json!({})));
        while world.stage.acts().is_empty() {
            assert!(matches!(poll!(&mut call), Poll::Pending));
            tokio::task::yield_now().await;
        }
    }
    assert!(world.events().await.is_empty());
    world.stage.hold(false);
    world.wait_for_background().await;
    assert_eq!(world.events().await[0].event, "app.restart");
}
