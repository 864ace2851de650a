//! Webhooks once they are set up: signatures that a published library accepts, pings, the switch, the log, and sending
//! things again.

use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::receiver::{self, Arrived, Receiver};
use pilvi_e2e::server::Server;
use pilvi_e2e::{node, shape, wait};
use serde_json::{Value, json};

const SEEN_WITHIN: Duration = Duration::from_secs(30);

fn path(webhook: &Value, below: &str) -> String {
    format!("/v1/webhooks/{}{below}", text(webhook, "/id"))
}

fn post(backend: &Backend, path: &str, body: &Value) -> Value {
    backend
        .send_as_admin(Request::post(path).json(body))
        .must_be(200)
}

fn log(backend: &Backend, webhook: &Value, parameters: &str) -> Vec<Value> {
    let path = path(webhook, &format!("/deliveries{parameters}"));
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    shape::results(&reply).to_vec()
}

/// The only delivery in the log, once it is as wanted.
#[track_caller]
fn only(backend: &Backend, webhook: &Value, state: &str) -> Value {
    wait::until(
        &format!("a delivery that is {state}"),
        SEEN_WITHIN,
        || match &log(backend, webhook, "")[..] {
            [only] if only["state"] == state => Some(only.clone()),
            _ => None,
        },
    )
}

/// Has the published library check a request with secrets that must open it and with others that must not.
#[track_caller]
fn verify(arrived: &Arrived, secrets: &[&str], wrong: &[&str]) {
    let seen = node::run(
        "standard_webhooks.cjs",
        &[
            ("ARRIVED", &arrived.signed().to_string()),
            ("SECRETS", &json!(secrets).to_string()),
            ("WRONG_SECRETS", &json!(wrong).to_string()),
        ],
    );
    assert_eq!(
        seen,
        json!({"verified": secrets.len(), "refused": wrong.len()})
    );
}

#[test]
fn the_published_library_accepts_signatures_also_while_a_secret_is_changed() {
    if !node::is_ready() {
        return;
    }
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    let webhook = backend.create_webhook(&json!({"url": target.url()}));
    let first = text(&webhook, "/secret");
    let stranger = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    backend.create("todos", &json!({"title": "ä \"quoted\" title\u{2028}"}));
    let arrived = &target.wait_for(1)[0];
    verify(arrived, &[&first], &[stranger]);
    assert_eq!(
        arrived.header("webhook-id"),
        arrived.header("pilvi-delivery")
    );

    let rotated = post(&backend, &path(&webhook, "/secret"), &json!({}));
    let second = text(&rotated, "/secret");
    assert!(shape::is_timestamp(&text(&rotated, "/previousUntil")));
    backend.create("todos", &json!({"title": "two secrets"}));
    verify(&target.wait_for(2)[1], &[&first, &second], &[stranger]);

    let rotated = post(
        &backend,
        &path(&webhook, "/secret"),
        &json!({"overlapHours": 0}),
    );
    let third = text(&rotated, "/secret");
    assert_eq!(rotated["previousUntil"], Value::Null);
    backend.create("todos", &json!({"title": "one secret"}));
    verify(&target.wait_for(3)[2], &[&third], &[&first, &second]);

    // Nobody is shown them again, and the server's log never had them.
    for place in ["", "/deliveries"] {
        let reply = backend.send_as_admin(Request::get(path(&webhook, place)));
        reply.must_be(200);
        assert!(!reply.text().contains("whsec_"), "{}", reply.text());
    }
    assert!(!server.log().contains("whsec_"));
    server.stop();
}

#[test]
fn a_ping_says_how_it_went_and_tells_nobody_else() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    let webhook = backend.create_webhook(&json!({"url": target.url()}));

    let heard = post(&backend, &path(&webhook, "/ping"), &json!({}));
    assert_eq!(heard["delivered"], true, "{heard}");
    assert_eq!(
        [&heard["status"], &heard["answer"]],
        [&json!(201), &json!("told")]
    );
    assert!(heard["durationMs"].is_u64());
    let arrived = &target.wait_for(1)[0];
    assert_eq!(arrived.event(), "ping");
    assert_eq!(arrived.body["receivers"], json!([]));
    assert!(arrived.header("webhook-signature").is_some());

    target.answer_next(&[503]);
    let refused = post(&backend, &path(&webhook, "/ping"), &json!({}));
    assert_eq!(refused["delivered"], false);
    assert_eq!(refused["status"], 503);
    assert!(text(&refused, "/error").contains("503"));
    assert!(
        log(&backend, &webhook, "").is_empty(),
        "a ping is no delivery"
    );

    let nowhere = json!({"url": receiver::url(receiver::nobody())});
    let nowhere = backend.create_webhook(&nowhere);
    let unheard = post(&backend, &path(&nowhere, "/ping"), &json!({}));
    assert_eq!(
        [&unheard["delivered"], &unheard["status"]],
        [&json!(false), &Value::Null]
    );

    // The gateway of the demo takes a ping, and its sockets hear of the next change and of nothing before.
    let mut socket = server.gateway().connect();
    let hooks = backend
        .send_as_admin(Request::get("/v1/webhooks"))
        .must_be(200);
    let gateway = shape::results(&hooks)
        .iter()
        .find(|hook| text(hook, "/url").contains("webhook_receivers"))
        .expect("the demo connects its backend with its gateway")
        .clone();
    let taken = post(&backend, &path(&gateway, "/ping"), &json!({}));
    assert_eq!(taken["delivered"], true, "{taken}");
    let todo = backend.create("todos", &json!({"title": "heard"}));
    assert_eq!(socket.hear_json()["object"]["id"], todo["id"]);
    server.stop();
}

#[test]
fn a_webhook_that_is_switched_off_waits_and_goes_on() {
    let server = Server::demo();
    let backend = server.backend();
    let address = receiver::nobody();
    let webhook = backend.create_webhook(&json!({"url": receiver::url(address)}));
    let waiting = backend.create("todos", &json!({"title": "before"}));
    wait::until("a first attempt", SEEN_WITHIN, || {
        let log = log(&backend, &webhook, "?state=pending");
        (log.first()?["attempts"].as_u64()? >= 1).then_some(())
    });
    let one = path(&webhook, "");
    let off = backend.send_as_admin(Request::put(&*one).json(&json!({"enabled": false})));
    assert_eq!(off.must_be(200)["enabled"], false);
    backend.create("todos", &json!({"title": "unheard"}));

    let target = Receiver::start_at(address);
    for again in ["/replay", "/ping"] {
        let reply = backend.send_as_admin(Request::post(path(&webhook, again)).json(&json!({})));
        match again {
            // A ping is how somebody finds out whether to switch it on.
            "/ping" => drop(reply.must_be(200)),
            _ => drop(shape::eds_error(&reply, 409, "Conflict")),
        }
    }
    assert_eq!(log(&backend, &webhook, "").len(), 1);
    let on = backend.send_as_admin(Request::put(&*one).json(&json!({"enabled": true})));
    assert_eq!(on.must_be(200)["enabled"], true);
    let told = backend.create("todos", &json!({"title": "after"}));
    wait::until("both deliveries", SEEN_WITHIN, || {
        (log(&backend, &webhook, "?state=delivered").len() == 2).then_some(())
    });
    let mut ids: Vec<String> = target
        .arrived()
        .iter()
        .filter(|arrived| arrived.event() == "create")
        .map(|arrived| arrived.object_id().to_owned())
        .collect();
    ids.sort();
    let mut expected = [text(&waiting, "/id"), text(&told, "/id")];
    expected.sort();
    assert_eq!(ids, expected);
    server.stop();
}

#[test]
fn a_delivery_is_looked_into_and_sent_again_with_the_same_id() {
    let server = Server::demo();
    let backend = server.backend();
    let target = Receiver::start();
    let webhook = backend.create_webhook(&json!({"url": target.url()}));
    let todo = backend.create("todos", &json!({"title": "again"}));
    let delivered = only(&backend, &webhook, "delivered");
    assert_eq!(delivered["lastAnswer"], "told");
    assert!(delivered["durationMs"].is_u64());

    let one = path(
        &webhook,
        &format!("/deliveries/{}", text(&delivered, "/id")),
    );
    let whole = backend.send_as_admin(Request::get(&*one)).must_be(200);
    assert_eq!(whole["payload"]["object"], todo);
    assert_eq!(whole["payload"], target.arrived()[0].body["payload"]);
    assert_eq!(whole["requestId"], whole["payload"]["meta"]["requestId"]);
    assert_eq!(whole["receivers"], shape::everybody());

    target.answer_next(&[500]);
    post(&backend, &format!("{one}/replay"), &json!({}));
    let arrived = target.wait_for(3);
    assert_eq!(
        arrived
            .iter()
            .map(|arrived| (arrived.header("webhook-id"), arrived.answered))
            .collect::<Vec<_>>(),
        [201, 500, 201].map(|status| (delivered["id"].as_str(), status))
    );
    assert_eq!(arrived[0].text, arrived[2].text);
    let again = wait::until("the third attempt", SEEN_WITHIN, || {
        let delivery = only(&backend, &webhook, "delivered");
        (delivery["attempts"] == 3).then_some(delivery)
    });
    assert_eq!(again["id"], delivered["id"]);

    let nothing = post(&backend, &path(&webhook, "/replay"), &json!({}));
    assert_eq!(nothing, json!({"replayed": 0, "left": 0}));
    let other = backend.create_webhook(&json!({"url": target.url()}));
    for wrong in [
        path(&webhook, "/deliveries/none"),
        path(&other, &format!("/deliveries/{}", text(&delivered, "/id"))),
        path(
            &webhook,
            &format!("/deliveries/{}-99", text(&webhook, "/id")),
        ),
    ] {
        let found = backend.send_as_admin(Request::get(&*wrong));
        shape::eds_error(&found, 404, "NotFound");
        let replayed = backend.send_as_admin(Request::post(format!("{wrong}/replay")));
        shape::eds_error(&replayed, 404, "NotFound");
    }
    let odd = backend.send_as_admin(Request::get(path(&webhook, "/deliveries?state=odd")));
    shape::eds_error(&odd, 400, "ValidationFailed");
    server.stop();
}
