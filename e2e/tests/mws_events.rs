//! Bidirectional gateways through the real door: what the published library of Standard Webhooks says of the events,
//! and an app that runs on the same server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::app::{App, Source};
use pilvi_e2e::child::Client;
use pilvi_e2e::http::Request;
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::{Heard, Socket};
use pilvi_e2e::{node, process};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

/// An app without anything to build: it greets whoever connects and answers each message.
const APP: &str = r#"
use strict;
use warnings;
use IO::Socket::INET;

my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1) or die $@;
while (my $client = $server->accept) {
    my $length = 0;
    while (defined(my $line = <$client>)) {
        $length = $1 if $line =~ /\Acontent-length:\s*(\d+)/i;
        last if $line =~ /\A\r?\n\z/;
    }
    my $event = '';
    read $client, $event, $length if $length;
    my $body = '{}';
    $body = '{"tags":["guests"],"reply":"welcome"}' if $event =~ /"type":"connect"/;
    $body = '{"reply":{"heard":true}}' if $event =~ /"type":"message"/;
    print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n",
        'Content-Length: ', length $body, "\r\n\r\n", $body;
    close $client;
}
"#;

fn set_up(gateway: &Gateway, events: &Value) {
    let path = gateway.path("configuration");
    let body = json!({ "events": events });
    let shown = gateway.send_as_admin(Request::put(path).json(&body));
    assert_eq!(shown.must_be(200)["events"]["url"], events["url"]);
}

fn new_secret(gateway: &Gateway) -> String {
    let path = gateway.path("events/secret");
    text(
        &gateway.send_as_admin(Request::post(path)).must_be(200),
        "/secret",
    )
}

/// Tries out where events go.
fn try_out(gateway: &Gateway) -> Value {
    let path = gateway.path("events/test");
    gateway.send_as_admin(Request::post(path)).must_be(200)
}

/// Has the published library look at the last that arrived.
fn must_be_signed(arrived: &Value, secrets: &[&str], wrong: &[&str]) {
    if !node::is_ready() {
        return;
    }
    let variables = [
        ("ARRIVED", &*arrived.to_string()),
        ("SECRETS", &json!(secrets).to_string()),
        ("WRONG_SECRETS", &json!(wrong).to_string()),
    ];
    let checked = node::run("standard_webhooks.cjs", &variables);
    let expected = json!({"verified": secrets.len(), "refused": wrong.len()});
    assert_eq!(checked, expected);
}

#[test]
fn the_published_library_believes_whoever_has_the_secret() {
    let server = Server::serve();
    let gateway = server.cloud().create_gateway("events");
    let app = Receiver::start();
    set_up(&gateway, &json!({"url": app.url()}));
    let first = new_secret(&gateway);
    assert_eq!(try_out(&gateway)["delivered"], true);
    let second = new_secret(&gateway);
    let tried = try_out(&gateway);
    assert_eq!(
        (&tried["status"], &tried["signed"]),
        (&json!(201), &json!(true))
    );
    let arrived = app.wait_for(2);
    assert_eq!(arrived[1].body["type"], "test");
    let stranger = format!("whsec_{}", "A".repeat(44));
    must_be_signed(&arrived[0].signed(), &[&first], &[&second, &stranger]);
    must_be_signed(&arrived[1].signed(), &[&first, &second], &[&stranger]);
    for secret in [&first, &second] {
        assert!(!server.log().contains(&**secret), "a secret is in the log");
    }
    app.answer_always(410);
    let tried = try_out(&gateway);
    assert_eq!(
        (&tried["delivered"], &tried["status"]),
        (&json!(false), &json!(410))
    );
    server.stop();
}

#[test]
fn an_app_of_the_same_server_is_reached_by_its_public_address() {
    let Some(source) = Source::of(&[("Procfile", "web: perl app.pl\n"), ("app.pl", APP)]) else {
        return;
    };
    let server = Server::serve();
    let app = App::create(&server, "answers");
    app.deploy(&source);
    let gateway = server.cloud().create_gateway("asks");
    set_up(&gateway, &json!({"url": text(&app.facts, "/url")}));

    let body = json!({"tags": []});
    let made = gateway.send_as_admin(Request::post(gateway.path("sockets")).json(&body));
    let made = made.must_be(201);
    let mut socket = Socket::open(&text(&made, "/uri"));
    assert_eq!(socket.hear(), Heard::Text("welcome".to_owned()));
    socket.say("hello");
    assert_eq!(socket.hear(), Heard::Text("{\"heard\":true}".to_owned()));
    let path = gateway.path(&format!("sockets/{}", text(&made, "/id")));
    let shown = gateway.send_as_admin(Request::get(path)).must_be(200);
    assert_eq!(shown["tags"], json!(["guests"]));
    server.stop();
}

#[test]
fn a_secret_outlives_an_exchange_of_keys() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = start(&data);
    let app = Receiver::start();
    let gateway = server.cloud().create_gateway("events");
    set_up(&gateway, &json!({"url": app.url()}));
    let secret = new_secret(&gateway);
    let (id, token) = (gateway.id.clone(), gateway.token.clone());
    server.stop();

    let mut rotate = Command::new(process::binary());
    rotate.args(["admin", "rotate-key", "--data", data.to_str().unwrap()]);
    let ended = Client::start("pilvi admin rotate-key", &mut rotate).ended(SOON);
    assert!(ended.status.success(), "{}", ended.report());

    let server = start(&data);
    let gateway = Gateway::new(server.http, &id, &token);
    assert_eq!(try_out(&gateway)["signed"], true);
    must_be_signed(&app.wait_for(1)[0].signed(), &[&secret], &[]);
    server.stop();
}

fn start(data: &Path) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    })
}
