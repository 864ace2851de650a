//! The main job: an object is written, and every connected socket hears of it.

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::{Heard, Socket};
use pilvi_e2e::{node, shape};
use serde_json::{Value, json};

#[test]
fn every_socket_hears_of_a_write_in_order() {
    let server = Server::demo();
    let (backend, gateway) = (server.backend(), server.gateway());
    let mut sockets = [gateway.connect(), gateway.connect()];

    let created = backend.create(
        "todos",
        &json!({"title": "Ring the bell", "completed": false}),
    );
    let updated = backend.update(&created, &json!({"completed": true}));
    backend.delete(&created);

    for socket in &mut sockets {
        for (event, object) in [
            ("create", &created),
            ("update", &updated),
            ("delete", &updated),
        ] {
            expect_message(&socket.hear_json(), event, object, &backend);
        }
    }
    for socket in sockets {
        socket.close();
    }
    server.stop();
}

/// What arrives is the payload of the webhook and nothing around it (`mws.md` §3.6).
#[track_caller]
fn expect_message(message: &Value, event: &str, object: &Value, backend: &Backend) {
    assert_eq!(shape::keys(message), ["object", "meta"]);
    assert_eq!(message["meta"]["eventName"], event);
    assert_eq!(message["meta"]["backendId"], *backend.id);
    assert_eq!(message["meta"]["userId"], Value::Null);
    assert!(
        shape::is_hex(&text(message, "/meta/requestId"), 32),
        "{message}"
    );
    assert_eq!(&message["object"], object);
}

#[test]
fn a_message_names_the_request_that_caused_it() {
    let server = Server::demo();
    let mut socket = server.gateway().connect();
    let request_id = "0123456789abcdef0123456789abcdef";
    let request = Request::post("/v1/objects/todos")
        .header("X-Request-Id", request_id)
        .json(&json!({"title": "x"}));
    let reply = server.backend().send(request);
    reply.must_be(201);
    assert_eq!(reply.header("X-Request-Id"), Some(request_id));
    assert_eq!(socket.hear_json()["meta"]["requestId"], request_id);
    server.stop();
}

#[test]
fn a_stock_websocket_library_hears_it_too() {
    if !node::is_ready() {
        return;
    }
    let server = Server::demo();
    let result = node::run(
        "main_job.cjs",
        &[
            ("ADDRESS", &format!("http://{}", server.http)),
            ("BACKEND_ID", &server.backend().id),
            ("GATEWAY_ID", &server.gateway().id),
        ],
    );
    assert_eq!(result["events"], json!(["create", "update", "delete"]));
    server.stop();
}

#[test]
fn an_address_for_a_socket_works_once() {
    let server = Server::demo();
    let gateway = server.gateway();
    let address = gateway
        .send(&Request::get(gateway.path("websocket_uri")))
        .must_be(200);
    assert_eq!(shape::keys(&address), ["expiresAt", "uri", "tags"]);
    assert_eq!(address["tags"], json!([]));
    let uri = text(&address, "/uri");
    let token = uri
        .strip_prefix(&format!("ws://{}/?token=", server.http))
        .unwrap_or_else(|| panic!("{uri}"));
    assert!(shape::is_hex(token, 64), "{uri}");

    let first = Socket::open(&uri);
    assert_eq!(Socket::open(&uri).hear(), Heard::Closed(1000));
    first.close();
    server.stop();
}

#[test]
fn what_a_client_says_is_dropped() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut loud, mut quiet) = (gateway.connect(), gateway.connect());
    loud.say("hello, everybody");
    let body = json!({"data": "from the server", "receivers": {"sockets": ["*"], "tags": null}});
    gateway
        .send(&Request::post(gateway.path("messages")).json(&body))
        .must_be(201);
    for socket in [&mut loud, &mut quiet] {
        assert_eq!(socket.hear(), Heard::Text("from the server".into()));
    }
    server.stop();
}

#[test]
fn the_page_is_served() {
    let server = Server::demo();
    let page = text(&server.ready, "/page");
    let target = page
        .strip_prefix(&format!("http://{}", server.http))
        .unwrap_or_else(|| panic!("{page}"));
    let target = if target.is_empty() { "/" } else { target };
    let reply = Request::get(target).send(server.http);
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("Content-Type")
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(
        reply.header("Content-Length"),
        Some(reply.body.len().to_string().as_str())
    );
    let html = reply.text();
    assert!(
        html.trim_start()
            .to_ascii_lowercase()
            .starts_with("<!doctype html>"),
        "{html}"
    );
    server.stop();
}

#[test]
fn a_backend_that_does_not_exist_is_refused() {
    let server = Server::demo();
    for id in ["000000000000000000000000", "nonsense"] {
        let reply = Request::get("/v1/objects/todos")
            .backend(id)
            .send(server.http);
        shape::eds_error(&reply, 400, "BadRequest");
    }
    server.stop();
}

#[test]
fn a_token_opens_only_its_own_door() {
    let server = Server::demo();
    let (backend, gateway) = (server.backend(), server.gateway());
    for token in ["wrong", &gateway.token] {
        let reply = backend.send(Request::get("/v1/objects/todos").bearer(token));
        shape::eds_error(&reply, 401, "Unauthorized");
    }
    for token in ["wrong", &backend.token] {
        let reply = gateway.send(&Request::get(gateway.path("sockets")).bearer(token));
        let body = shape::error(&reply, 401, "AccessDenied");
        assert_eq!(body["error"]["message"], "Access denied");
    }
    // The platform knows an instance's token, and knows that it is for the instance alone.
    for (token, status, reason) in [
        ("wrong", 401, "AccessDenied"),
        (&*gateway.token, 403, "Forbidden"),
    ] {
        let reply = Request::get("/v1/user/accounts")
            .bearer(token)
            .send(server.http);
        shape::error(&reply, status, reason);
    }
    server.stop();
}
