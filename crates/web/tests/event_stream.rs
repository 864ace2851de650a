//! A request for an event stream over HTTP/1, byte by byte. Over HTTP/2 see `tls.rs`.

mod common;

use common::{Answer, House, PATIENCE};
use pilvi_web::Limits;

fn asking(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n")
}

#[tokio::test]
async fn a_stream_is_answered_with_a_head_and_ends_with_its_connection() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send(asking("/any/path?a=b&token=a b")).await;
    let head = Answer::parse(&wire.until("\r\n\r\n").await);
    assert_eq!(head.status, 200);
    for (name, value) in [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("Connection", "close"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    assert!(head.header("X-Request-Id").is_some());
    for absent in ["Content-Length", "Access-Control-Allow-Origin", "Vary"] {
        assert_eq!(head.header(absent), None);
    }
    wire.until("data: /any/path?a=b&token=a%20b\n\n").await;
}

#[tokio::test]
async fn a_page_on_another_site_may_listen_and_may_read_why_not() {
    let house = House::open().await;
    for (token, status) in [("x", 200), ("full", 503)] {
        let asking = asking(&format!("/?token={token}"));
        let asking = asking.replace("Host: h", "Host: h\r\nOrigin: https://a.example");
        let mut wire = house.connect().await;
        wire.send(asking).await;
        let head = Answer::parse(&wire.until("\r\n\r\n").await);
        assert_eq!(head.status, status);
        for (name, value) in [
            ("Access-Control-Allow-Origin", "https://a.example"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ] {
            assert_eq!(head.header(name), Some(value), "{name}");
        }
    }
    let preflight = "OPTIONS /?token=x HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n\
        Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: last-event-id\r\n\
        Connection: close\r\n\r\n";
    let allowed = Answer::parse(&house.ask(preflight).await);
    assert_eq!(allowed.status, 200);
    assert_eq!(
        allowed.header("Access-Control-Allow-Headers"),
        Some("last-event-id")
    );
}

#[tokio::test]
async fn a_refusal_has_the_shape_of_the_service() {
    let house = House::open().await;
    let refused = Answer::parse(&house.ask(asking("/?token=full")).await);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(refused.header("Connection"), Some("close"));
    let message = &refused.json()["error"]["message"];
    assert_eq!(message, "no room for another socket");
}

#[tokio::test]
async fn a_stream_may_follow_other_requests() {
    let house = House::open().await;
    let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut wire = house.connect().await;
    wire.send([get, get, &asking("/?token=x")].concat()).await;
    for _ in 0..2 {
        assert_eq!(wire.reply().await.status, 200);
    }
    assert_eq!(Answer::parse(&wire.until("\r\n\r\n").await).status, 200);
    wire.until("data: /?token=x\n\n").await;
}

#[tokio::test]
async fn only_who_asks_for_a_stream_with_a_token_gets_one() {
    let house = House::open().await;
    let asking = asking("/v1/user?token=x");
    for other in [
        asking.replace("?token=x", ""),
        asking.replace("token=x", "token=x&ticket=y"),
        asking.replace("token", "tokens"),
        asking.replace("text/event-stream", "*/*"),
        asking.replace("Accept", "X-Accept"),
        asking.replace("GET", "HEAD"),
    ] {
        let other = other.replace("Host: h", "Host: h\r\nConnection: close");
        let answer = Answer::parse(&house.ask(&other).await);
        assert_eq!(
            answer.header("Content-Type"),
            Some("application/json"),
            "{other}"
        );
    }
    for same in [
        asking.replace("text/event-stream", "text/html, Text/Event-Stream;q=0.9"),
        asking.replace("Accept:", "Accept: text/html\r\naccept:"),
        asking.replace("HTTP/1.1", "HTTP/1.0"),
        asking.replace("?token=x", "?token"),
    ] {
        let mut wire = house.connect().await;
        wire.send(&same).await;
        let head = Answer::parse(&wire.until("\r\n\r\n").await);
        let kind = head.header("Content-Type");
        assert_eq!(kind, Some("text/event-stream"), "{same}");
    }
    let body = asking.replace("Host: h", "Host: h\r\nContent-Length: 2");
    assert_eq!(Answer::parse(&house.ask(&body).await).status, 400);
}

#[tokio::test]
async fn a_stream_keeps_the_place_of_its_connection_until_it_is_closed() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let house = House::with(limits, None).await;
    let mut stream = house.connect().await;
    stream.send(asking("/?token=x")).await;
    stream.until("data: /?token=x\n\n").await;
    let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(Answer::parse(&house.ask(get).await).status, 503);
    drop(stream);
    let again = async { while Answer::parse(&house.ask(get).await).status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn streams_leave_the_last_descriptors_to_requests() {
    let limits = Limits {
        socket_files_max: 0,
        ..Limits::default()
    };
    let house = House::with(limits, None).await;
    let refused = Answer::parse(&house.ask(asking("/?token=x")).await);
    assert_eq!(refused.status, 503);
    assert!(refused.json()["error"]["message"].is_string());
}
