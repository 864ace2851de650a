//! Webhooks against a target that is down, fails, and comes back.

use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::receiver::{self, Arrived, Receiver};
use pilvi_e2e::server::Server;
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};

/// How long the log of deliveries may take to show what has happened.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// The header that stays the same over all attempts at one delivery.
const DELIVERY: &str = "Pilvi-Delivery";

fn deliveries(backend: &Backend, webhook: &Value) -> Vec<Value> {
    let path = format!("/v1/webhooks/{}/deliveries", text(webhook, "/id"));
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    shape::results(&reply).to_vec()
}

/// Waits until the only delivery of a webhook is as wanted.
#[track_caller]
fn wait_for_delivery(
    backend: &Backend,
    webhook: &Value,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    wait::until(what, SEEN_WITHIN, || {
        match &deliveries(backend, webhook)[..] {
            [only] => Some(only.clone()).filter(&wanted),
            none_or_more => {
                assert!(
                    none_or_more.is_empty(),
                    "one write makes one delivery: {none_or_more:?}"
                );
                None
            }
        }
    })
}

fn events(arrived: &[Arrived]) -> Vec<&str> {
    arrived.iter().map(Arrived::event).collect()
}

#[test]
fn a_target_that_was_down_is_told_when_it_is_back() {
    let server = Server::demo();
    let backend = server.backend();
    let address = receiver::nobody();
    let webhook = backend.create_webhook(&json!({"url": receiver::url(address)}));
    let todo = backend.create("todos", &json!({"title": "while you were out"}));

    let pending = wait_for_delivery(&backend, &webhook, "a failed attempt", |delivery| {
        delivery["attempts"].as_u64() >= Some(1)
    });
    assert_eq!(pending["state"], "pending");
    assert_eq!(pending["lastStatus"], Value::Null);
    assert!(!text(&pending, "/lastError").is_empty());
    assert!(shape::is_timestamp(&text(&pending, "/nextAttemptAt")));
    assert_eq!(
        [&pending["event"], &pending["objectId"]],
        [&json!("create"), &todo["id"]]
    );

    let target = Receiver::start_at(address);
    let arrived = target.wait_for(1);
    assert_eq!(arrived[0].object_id(), text(&todo, "/id"));
    assert_eq!(
        arrived[0].header(DELIVERY),
        Some(text(&pending, "/id").as_str())
    );
    let delivered = wait_for_delivery(&backend, &webhook, "the delivery", |delivery| {
        delivery["state"] == "delivered"
    });
    assert_eq!(delivered["lastStatus"], 201);
    assert_eq!(delivered["id"], pending["id"]);
    server.stop();
}

#[test]
fn a_target_that_answers_500_is_told_again_and_in_order() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    target.answer_always(500);
    let webhook =
        backend.create_webhook(&json!({"url": target.url(), "objectTypes": ["objects.todos"]}));

    let todo = backend.create("todos", &json!({"title": "first"}));
    backend.update(&todo, &json!({"title": "second"}));
    backend.delete(&todo);
    target.wait_for(2);
    let failing = wait::until("the failure in the log", SEEN_WITHIN, || {
        deliveries(&backend, &webhook)
            .into_iter()
            .find(|delivery| delivery["lastStatus"] == 500)
    });
    assert_eq!(failing["event"], "create");
    assert_eq!(failing["state"], "pending");
    target.recover();

    let taken = target.wait_for_taken(3);
    assert_eq!(events(&taken), ["create", "update", "delete"]);
    let refused: Vec<_> = target
        .arrived()
        .into_iter()
        .filter(|arrived| arrived.answered == 500)
        .collect();
    // Until the first is delivered, the later ones wait: nothing else was even tried.
    assert!(refused.len() >= 2);
    assert!(
        refused.iter().all(|arrived| arrived.event() == "create"),
        "{:?}",
        events(&refused)
    );
    assert!(
        refused
            .iter()
            .all(|arrived| arrived.header(DELIVERY) == taken[0].header(DELIVERY))
    );
    let mut ids: Vec<_> = taken
        .iter()
        .map(|arrived| arrived.header(DELIVERY))
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "every delivery has an id of its own");
    server.stop();
}

#[test]
fn a_failing_webhook_holds_up_no_other() {
    let server = Server::demo();
    let backend = server.backend();
    let (failing, fine) = (Receiver::start(), Receiver::start());
    failing.answer_always(500);
    for target in [&failing, &fine] {
        backend.create_webhook(&json!({"url": target.url()}));
    }
    for title in ["a", "b", "c"] {
        backend.create("todos", &json!({"title": title}));
    }
    fine.wait_for_taken(3);
    assert!(
        failing
            .arrived()
            .iter()
            .all(|arrived| arrived.answered == 500)
    );
    server.stop();
}

#[test]
fn what_was_not_delivered_survives_a_restart() {
    let folder = tempfile::TempDir::new().unwrap();
    let options = || pilvi_e2e::server::Options {
        data: Some(folder.path().to_owned()),
        ..pilvi_e2e::server::Options::serve()
    };
    let address = receiver::nobody();
    let first = Server::start(&options());
    let backend = first.cloud().create_backend("shop");
    let webhook = backend.create_webhook(&json!({"url": receiver::url(address)}));
    backend.create("goods", &json!({"name": "bell"}));
    let pending = wait_for_delivery(&backend, &webhook, "a failed attempt", |delivery| {
        delivery["attempts"].as_u64() >= Some(1)
    });
    first.stop();

    let target = Receiver::start_at(address);
    let second = Server::start(&options());
    let arrived = target.wait_for_taken(1);
    assert_eq!(
        arrived[0].header(DELIVERY),
        Some(text(&pending, "/id").as_str())
    );
    second.stop();
}

#[test]
fn a_target_gets_the_documented_body_and_the_custom_headers() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    let secret = "a-secret-that-nobody-may-read-again";
    let webhook = backend.create_webhook(&json!({
        "url": target.url(),
        "headers": {"Authorization": format!("Bearer {secret}"), "X-Tenant": "one"},
    }));
    let todo = backend.create("todos", &json!({"title": "Ring the bell"}));

    let arrived = &target.wait_for(1)[0];
    assert_eq!(
        [&*arrived.method, &*arrived.target],
        ["POST", "/hook?tenant=one"]
    );
    assert_eq!(
        arrived.header("Authorization"),
        Some(format!("Bearer {secret}").as_str())
    );
    assert_eq!(arrived.header("X-Tenant"), Some("one"));
    assert!(
        arrived
            .header("Content-Type")
            .unwrap()
            .starts_with("application/json")
    );
    assert!(arrived.header(DELIVERY).is_some());
    assert_eq!(arrived.body["payload"]["object"], todo);
    assert_eq!(arrived.body["receivers"], shape::everybody());
    let meta = &arrived.body["payload"]["meta"];
    assert_eq!(meta["backendId"], *backend.id);
    assert_eq!(meta["eventName"], "create");
    assert_eq!(meta["userId"], Value::Null);
    assert!(shape::is_hex(&text(meta, "/requestId"), 32));

    let path = format!("/v1/webhooks/{}", text(&webhook, "/id"));
    for path in ["/v1/webhooks", &path, &format!("{path}/deliveries")] {
        let reply = backend.send_as_admin(Request::get(path));
        reply.must_be(200);
        assert!(!reply.text().contains(secret), "{path} shows a secret");
    }
    let shown = backend.send_as_admin(Request::get(&*path)).must_be(200);
    assert!(
        shown["headers"]["Authorization"].is_string(),
        "the name of a header is no secret: {shown}"
    );
    server.stop();
}

#[test]
fn the_payload_is_text_where_the_receiver_wants_it_so() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    backend.create_webhook(&json!({"url": target.url(), "payloadAs": "string"}));
    let todo = backend.create("todos", &json!({"title": "as text"}));
    let payload = text(&target.wait_for(1)[0].body, "/payload");
    let payload: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(payload["object"], todo);
    server.stop();
}

#[test]
fn only_chosen_events_and_types_are_told() {
    let server = Server::demo();
    let backend = server.backend();
    let (chosen, all) = (Receiver::start(), Receiver::start());
    let choice =
        json!({"url": chosen.url(), "events": ["delete"], "objectTypes": ["objects.notes"]});
    backend.create_webhook(&choice);
    backend.create_webhook(&json!({"url": all.url()}));
    for object_type in ["todos", "notes"] {
        let object = backend.create(object_type, &json!({"title": object_type}));
        backend.update(&object, &json!({"title": "changed"}));
        backend.delete(&object);
    }
    all.wait_for_taken(6);
    let arrived = chosen.wait_for_taken(1);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].event(), "delete");
    assert_eq!(
        arrived[0].body["payload"]["object"]["objectType"],
        "objects.notes"
    );
    server.stop();
}

#[test]
fn a_webhook_is_made_shown_changed_and_deleted() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    let mut webhook = backend.create_webhook(&json!({"url": target.url(), "events": ["create"]}));
    assert!(shape::is_hex(&text(&webhook, "/id"), 24));
    let secret = webhook.as_object_mut().unwrap().remove("secret");
    let secret = secret.expect("the one reply that shows the secret");
    assert!(secret.as_str().unwrap().starts_with("whsec_"), "{secret}");
    let path = format!("/v1/webhooks/{}", text(&webhook, "/id"));
    assert_eq!(
        backend.send_as_admin(Request::get(&*path)).must_be(200),
        webhook
    );

    let change = json!({"url": target.url(), "events": ["delete"]});
    let changed = backend
        .send_as_admin(Request::put(&*path).json(&change))
        .must_be(200);
    assert_eq!(changed["events"], json!(["delete"]));
    let list = backend
        .send_as_admin(Request::get("/v1/webhooks"))
        .must_be(200);
    // The other one connects the demo's backend with its gateway.
    assert_eq!(shape::results(&list).len(), 2);
    assert!(shape::results(&list).contains(&changed));

    assert_eq!(
        backend.send_as_admin(Request::delete(&*path)).must_be(200),
        json!({})
    );
    for request in [
        Request::get(&*path),
        Request::delete(&*path),
        Request::get(format!("{path}/deliveries")),
    ] {
        shape::eds_error(&backend.send_as_admin(request), 404, "NotFound");
    }
    let todo = backend.create("todos", &json!({"title": "unheard"}));
    backend.delete(&todo);
    let mut socket = server.gateway().connect();
    backend.create("todos", &json!({"title": "heard by the gateway alone"}));
    socket.hear_json();
    assert!(
        target.arrived().is_empty(),
        "a deleted webhook is told nothing"
    );
    server.stop();
}

#[test]
fn webhooks_are_for_the_administrator() {
    let server = Server::demo();
    let (backend, other) = (server.backend(), server.cloud().create_backend("other"));
    for request in [
        Request::get("/v1/webhooks"),
        Request::post("/v1/webhooks").json(&json!({"url": "http://127.0.0.1:9/"})),
    ] {
        shape::eds_error(&backend.send(request.clone()), 401, "Unauthorized");
        shape::eds_error(
            &backend.send(request.clone().bearer("wrong")),
            401,
            "Unauthorized",
        );
        shape::eds_error(
            &backend.send(request.bearer(&other.token)),
            401,
            "Unauthorized",
        );
    }
    server.stop();
}

#[test]
fn a_faulty_webhook_is_refused_with_the_field() {
    let server = Server::demo();
    let backend = server.backend();
    let url = "http://127.0.0.1:9/";
    for (property, webhook) in [
        ("url", json!({})),
        ("url", json!({"url": "not a url"})),
        ("url", json!({"url": "ftp://127.0.0.1/"})),
        ("events", json!({"url": url, "events": ["explode"]})),
        (
            "objectTypes",
            json!({"url": url, "objectTypes": "objects.todos"}),
        ),
        (
            "headers",
            json!({"url": url, "headers": {"Bad\r\nName": "x"}}),
        ),
        ("payloadAs", json!({"url": url, "payloadAs": "xml"})),
    ] {
        let reply = backend.send_as_admin(Request::post("/v1/webhooks").json(&webhook));
        let body = shape::eds_error(&reply, 400, "ValidationFailed");
        assert_eq!(body["errors"][0]["property"], property, "{webhook}");
    }
    server.stop();
}
