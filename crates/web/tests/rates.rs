//! How often one may ask, and who hears no for whose sake.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::{Request, StatusCode};
use pilvi_base::Clock;
use pilvi_core::Rates;
use pilvi_core::rate::{Rate, Settings};
use pilvi_model::{Error, PersonId, RequestId};
use pilvi_web::{
    Arrival, Cors, Door, Hosts, Limits, Manners, Refusal, Reply, Scheme, Service, Site, Visitor,
    bearer,
};
use serde_json::{Value, json};

const HERE: &str = "192.0.2.1:4000";
const ELSEWHERE: &str = "192.0.2.2:4000";

const SETTINGS: Settings = Settings {
    token: Rate {
        burst: 20,
        per_second: 10,
    },
    person: Rate {
        burst: 30,
        per_second: 10,
    },
    peer: Rate {
        burst: 5,
        per_second: 1,
    },
    failures: Rate {
        burst: 8,
        per_second: 1,
    },
};

struct Plain;

impl Manners for Plain {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let body = json!({"reason": refusal.reason, "message": refusal.message});
        (refusal.status, body)
    }

    fn cors(&self) -> Cors {
        Cors::Any {
            allow_headers: "Authorization",
        }
    }
}

/// Lets in whoever has a token that begins with `good`.
async fn whoever(visitor: Visitor, headers: http::HeaderMap) -> Result<Reply, Refusal> {
    let token = bearer(&headers, Scheme::AnyCase);
    match token.filter(|token| token.expose().starts_with("good")) {
        Some(_) => {
            visitor.is_person(
                "46738209-a745-4841-8eeb-1ca0672aa6b8"
                    .parse::<PersonId>()
                    .unwrap(),
            )?;
            Ok(Reply::empty())
        }
        None => Err(Error::unauthenticated("the token is not known").into()),
    }
}

struct World {
    door: Door,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_400_000_000));
        let site = |path| Site {
            router: Router::new()
                .route(path, get(whoever))
                .route("/v1/ping", get(async || Reply::empty())),
            manners: std::sync::Arc::new(Plain),
        };
        let door = Door::new(Hosts::shared(), Limits::default())
            .site(Service::Platform, site("/v1/user"))
            .site(Service::Eds, site("/v1/objects/x"))
            .rates(Rates::new(SETTINGS, clock.clone()));
        Self { door, clock }
    }

    async fn ask(&self, peer: &str, path: &str, token: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let arrival = Arrival {
            peer: peer.parse::<SocketAddr>().unwrap(),
            ..Arrival::in_process("localhost", RequestId::from_bytes([1; 16]))
        };
        self.door
            .call(request.body(Body::empty()).unwrap(), arrival)
            .await
    }

    /// How many of so many requests in a row get something else than 429.
    async fn heard(&self, times: u32, peer: &str, path: &str, token: Option<&str>) -> u32 {
        let mut heard = 0;
        for _ in 0..times {
            let status = self.ask(peer, path, token).await.status();
            heard += u32::from(status != StatusCode::TOO_MANY_REQUESTS);
        }
        heard
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back_and_others_pass() {
    let world = World::new();
    // The first one comes unknown, and counts as its address.
    let heard = world.heard(100, HERE, "/v1/user", Some("good 1")).await;
    assert_eq!(heard, 1 + SETTINGS.token.burst);
    let refused = world.ask(HERE, "/v1/user", Some("good 1")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "ratelimit-policy"), "\"token\";q=20;w=2");
    assert_eq!(header(&refused, "ratelimit"), "\"token\";r=0;t=1");
    assert_eq!(header(&refused, "content-type"), "application/json");
    // Another token from the same address, and nobody in particular.
    let other = world.ask(HERE, "/v1/user", Some("good 2")).await;
    assert_eq!(other.status(), StatusCode::OK);
    let told = header(&other, "ratelimit");
    assert!(told.starts_with("\"address\";r=3;"), "{told}");
    assert_eq!(
        world.ask(HERE, "/v1/ping", None).await.status(),
        StatusCode::OK
    );

    world.clock.advance(Duration::from_secs(1));
    let again = world.ask(HERE, "/v1/user", Some("good 1")).await;
    assert_eq!(again.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_person_has_one_bucket_for_all_tokens() {
    let world = World::new();
    let mut heard = 0;
    for token in ["good 1", "good 2", "good 3"] {
        heard += world.heard(20, HERE, "/v1/user", Some(token)).await;
    }
    assert_eq!(heard, SETTINGS.person.burst);
}

#[tokio::test]
async fn wrong_tokens_are_counted_by_address_however_many_there_are() {
    let world = World::new();
    let mut heard = 0;
    for number in 0..50 {
        // A path that asks nobody for a token makes none a good one.
        let token = format!("wrong {number}");
        for path in ["/v1/ping", "/v1/user", "/v1/user"] {
            heard += world.heard(1, HERE, path, Some(&token)).await;
        }
    }
    assert_eq!(heard, SETTINGS.peer.burst);
    assert_eq!(
        world.heard(3, ELSEWHERE, "/v1/user", Some("wrong")).await,
        3
    );
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_stops_unknown_ones_alone() {
    let world = World::new();
    let objects = "/v1/objects/x";
    let status = async |peer, token| world.ask(peer, objects, token).await.status();
    assert_eq!(status(HERE, Some("good 1")).await, StatusCode::OK);
    let heard = world.heard(50, HERE, objects, Some("wrong")).await;
    assert_eq!(heard, SETTINGS.failures.burst);
    let refused = world.ask(HERE, objects, Some("good 2")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "1");
    // A page must be able to read that it is to wait.
    assert_eq!(header(&refused, "access-control-allow-origin"), "*");
    assert_eq!(status(HERE, Some("good 1")).await, StatusCode::OK);
    assert_eq!(status(HERE, None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(ELSEWHERE, Some("good 2")).await, StatusCode::OK);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(status(HERE, Some("good 2")).await, StatusCode::OK);
}

#[tokio::test]
async fn objects_and_calls_in_process_are_not_counted() {
    let world = World::new();
    let heard = world.heard(500, HERE, "/v1/objects/x", Some("good")).await;
    assert_eq!(heard, 500);
    let reply = world.ask(HERE, "/v1/objects/x", Some("good")).await;
    assert!(!reply.headers().contains_key("ratelimit"));
    let heard = world
        .heard(500, "127.0.0.1:0", "/v1/user", Some("wrong"))
        .await;
    assert_eq!(heard, 500);
}
