//! A program signs in through somebody's browser.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use pilvi_model::RequestId;
use pilvi_store::platform::Decision;
use serde_json::{Value, json};

use super::{World, error};
use crate::{SignInFailure, Visit};

fn visit() -> &'static Visit {
    static VISIT: LazyLock<Visit> = LazyLock::new(|| Visit {
        request: RequestId::from_bytes([3; 16]),
        peer: "192.0.2.7".parse().unwrap(),
    });
    &VISIT
}

impl World {
    /// The two codes of a program that begins.
    pub(super) async fn begin(&self) -> (String, String) {
        let begun = self.call_as(
            "",
            "POST",
            "/v1/device_codes",
            json!({"client": "pilvi on anvil"}),
        );
        let begun = begun.await.expect(201);
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        (text("device_code"), text("user_code"))
    }

    async fn poll(&self, device_code: &str) -> super::Answer {
        let body = json!({"device_code": device_code});
        self.call_as("", "POST", "/v1/device_codes/token", body)
            .await
    }

    pub(super) async fn decide(&self, user_code: &str, decision: Decision) {
        let decided = self
            .platform
            .decide_device_login(self.person, user_code, decision, visit());
        decided.await.unwrap();
    }
}

fn over() -> Value {
    error(
        "ExpiredToken",
        "this sign-in is over or was never begun; begin another",
    )
}

#[tokio::test]
async fn a_program_gets_a_token_of_whoever_approves() {
    let world = World::new().await;
    let begun = world
        .call_as(
            "",
            "POST",
            "/v1/device_codes",
            json!({"client": "pilvi on anvil"}),
        )
        .await;
    assert_eq!(begun.headers["cache-control"], "no-store");
    let begun = begun.expect(201);
    let (device_code, user_code) = (&begun["device_code"], &begun["user_code"]);
    let user_code = user_code.as_str().unwrap();
    assert_eq!(
        begun,
        json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": "http://localhost:8080/console/device",
            "verification_uri_complete": format!("http://localhost:8080/console/device?user_code={user_code}"),
            "expires_in": 600,
            "interval": 5,
        })
    );
    let device_code = device_code.as_str().unwrap();
    let pending = error("AuthorizationPending", "nobody has decided yet; ask again");
    assert_eq!(world.poll(device_code).await.expect(400), pending);

    // However it is typed.
    let typed = user_code.to_lowercase().replace('-', " ");
    let peer = visit().peer;
    let shown = world.platform.find_device_login(world.person, &typed, peer);
    let shown = shown.await.unwrap();
    assert_eq!(
        (shown.client.as_str(), shown.peer.as_str()),
        ("pilvi on anvil", "127.0.0.1")
    );
    world.decide(&typed, Decision::Approved).await;

    world.clock.advance(Duration::from_secs(5));
    let issued = world.poll(device_code).await.expect(201);
    assert_eq!(issued["name"], "pilvi on anvil");
    let token = issued["access_token"].as_str().unwrap();
    let user = world.call_as(token, "GET", "/v1/user", Value::Null).await;
    assert_eq!(user.expect(200)["id"], world.person.to_string());

    // Once only.
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.poll(device_code).await.expect(400), over());
}

#[tokio::test]
async fn nothing_is_issued_before_or_against_a_decision() {
    let world = World::new().await;
    let tokens = || async {
        let list = world.get("/v1/authorizations").await.expect(200);
        list["results"].as_array().unwrap().len()
    };
    let before = tokens().await;
    let (denied, code) = world.begin().await;
    world.decide(&code, Decision::Denied).await;
    for _ in 0..2 {
        let refused = world.poll(&denied).await.expect(400);
        assert_eq!(refused["error"]["reason"], "AccessDenied");
        world.clock.advance(Duration::from_secs(5));
    }
    // A decision is made once: a second page, perhaps somebody else's, changes nothing.
    let again =
        world
            .platform
            .decide_device_login(world.person, &code, Decision::Approved, visit());
    assert!(again.await.is_err());

    let (expired, code) = world.begin().await;
    world.clock.advance(Duration::from_secs(599));
    world.decide(&code, Decision::Approved).await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.poll(&expired).await.expect(400), over());

    let made_up = format!("pilvi_dev_{}", "0".repeat(40));
    assert_eq!(world.poll(&made_up).await.expect(400), over());
    // The short code opens nothing by itself.
    let (_, code) = world.begin().await;
    world.decide(&code, Decision::Approved).await;
    assert_eq!(world.poll(&code).await.expect(400), over());
    assert_eq!(tokens().await, before);
}

#[tokio::test]
async fn whoever_polls_too_fast_is_slowed_down_and_not_locked_out() {
    let world = World::new().await;
    let (device_code, user_code) = world.begin().await;
    world.poll(&device_code).await.expect(400);
    let hurried = world.poll(&device_code).await.expect(400);
    assert_eq!(hurried["error"]["reason"], "SlowDown");
    world.decide(&user_code, Decision::Approved).await;
    world.clock.advance(Duration::from_secs(5));
    let hurried = world.poll(&device_code).await.expect(400);
    assert_eq!(hurried["error"]["reason"], "SlowDown");
    world.clock.advance(Duration::from_secs(15));
    world.poll(&device_code).await.expect(201);
}

#[tokio::test]
async fn of_many_that_poll_together_one_gets_the_token() {
    let world = World::new().await;
    let (device_code, user_code) = world.begin().await;
    world.decide(&user_code, Decision::Approved).await;
    let digest = pilvi_base::Secret::new(device_code).digest();
    let redeem = || async {
        let (token, _) = world.platform.new_person_token(world.person, None, None);
        let redeemed = world.store.redeem_device_code(digest, token, 50).await;
        usize::from(redeemed.unwrap().is_some())
    };
    let (a, b, c) = tokio::join!(redeem(), redeem(), redeem());
    assert_eq!(a + b + c, 1);
}

#[tokio::test]
async fn a_full_list_of_tokens_refuses_and_keeps_the_code() {
    let world = World::with_limits(crate::Limits {
        tokens_per_holder: 2,
        ..crate::Limits::default()
    })
    .await;
    let second = world
        .call("POST", "/v1/authorizations", json!({}))
        .await
        .expect(201);
    let (device_code, user_code) = world.begin().await;
    world.decide(&user_code, Decision::Approved).await;
    world.poll(&device_code).await.expect(429);
    let path = format!("/v1/authorizations/{}", second["id"]);
    world.call("DELETE", &path, Value::Null).await.expect(200);
    world.clock.advance(Duration::from_secs(5));
    world.poll(&device_code).await.expect(201);
}

#[tokio::test]
async fn whoever_guesses_codes_is_stopped_and_nobody_else() {
    let world = World::new().await;
    let (_, user_code) = world.begin().await;
    let peer: IpAddr = "192.0.2.7".parse().unwrap();
    let look = |person, code: &'static str| world.platform.find_device_login(person, code, peer);
    for _ in 0..10 {
        let guess = look(world.person, "BCDF-GHJK").await;
        assert!(matches!(guess, Err(SignInFailure::Other(_))));
    }
    let guess = look(world.person, "BCDF-GHJK").await;
    assert!(matches!(guess, Err(SignInFailure::TooMany(_))));
    let found = world
        .platform
        .find_device_login(world.person, &user_code, peer);
    assert!(matches!(found.await, Err(SignInFailure::TooMany(_))));
    let neighbour = world.add_neighbour().await.person;
    let found = world
        .platform
        .find_device_login(neighbour, &user_code, peer);
    assert!(found.await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_a_code_or_a_client_is_refused() {
    let world = World::new().await;
    let long = "B".repeat(10_000);
    for typed in [
        "",
        "-",
        "BCDFGHJ",
        "BCDF-GHJKL",
        "AEIO-UAEI",
        "' OR 1=1",
        "ééééé",
        &long,
    ] {
        let peer = visit().peer;
        let found = world.platform.find_device_login(world.person, typed, peer);
        assert!(found.await.is_err(), "{typed}");
        world.clock.advance(Duration::from_secs(600));
    }
    for body in [
        json!({"client": "x".repeat(101)}),
        json!({"client": "a\nb"}),
        json!({"client": " "}),
        json!({"client": 1}),
    ] {
        let refused = world
            .call_as("", "POST", "/v1/device_codes", body.clone())
            .await;
        assert_eq!(refused.status, 422, "{body}");
    }
    for body in [
        json!({}),
        json!({"device_code": ""}),
        json!({"device_code": [1]}),
    ] {
        let refused = world
            .call_as("", "POST", "/v1/device_codes/token", body.clone())
            .await;
        assert_eq!(refused.status, 422, "{body}");
    }
    world
        .call_as("", "POST", "/v1/device_codes", json!({}))
        .await
        .expect(201);
}

#[tokio::test]
async fn sign_ins_that_wait_are_bounded_and_make_room_when_they_are_over() {
    let world = World::new().await;
    let mut codes = BTreeSet::new();
    for _ in 0..100 {
        codes.insert(world.begin().await.1);
    }
    assert_eq!(codes.len(), 100);
    let refused = world
        .call_as("", "POST", "/v1/device_codes", json!({}))
        .await;
    assert_eq!(refused.expect(429)["error"]["reason"], "TooManyRequests");
    world.clock.advance(Duration::from_secs(600));
    world.begin().await;
}
