//! What leaves and enters the socket over HTTP/1, byte by byte.

mod common;

use std::time::Duration;

use common::{Answer, House};
use pilvi_web::Limits;
use serde_json::json;

const ID: &str = "X-Request-Id: a671f67b4f41c20b53988a6057b32539\r\n";

/// The reply without its `Date`, which changes.
fn undated(reply: &str) -> String {
    let lines = reply.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

#[tokio::test]
async fn a_reply_is_spelled_as_old_clients_read_it() {
    let house = House::open().await;
    let reply = house
        .ask(format!(
            "GET /v1/objects/todos HTTP/1.1\r\nHost: h\r\n{ID}\r\n"
        ))
        .await;
    assert_eq!(
        undated(&reply),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\
         Access-Control-Allow-Origin: *\r\nX-Request-Id: a671f67b4f41c20b53988a6057b32539\r\n\r\n\
         {\"type\":\"todos\",\"q\":null}"
    );
}

#[tokio::test]
async fn a_request_without_an_id_gets_one() {
    let house = House::open().await;
    for header in ["", "X-Request-Id: with blanks\r\n"] {
        let reply = house
            .ask(format!("GET /v1/user HTTP/1.1\r\nHost: h\r\n{header}\r\n"))
            .await;
        let id = Answer::parse(&reply)
            .header("X-Request-Id")
            .unwrap()
            .to_owned();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }
}

#[tokio::test]
async fn raw_characters_in_a_target_reach_the_handler() {
    let house = House::open().await;
    for (target, q) in [
        (
            r#"/v1/objects/todos?q={"a":["x y",{"b":"c|d"}]}"#,
            r#"{"a":["x y",{"b":"c|d"}]}"#,
        ),
        ("/v1/objects/todos/?q=a+b%20c&limit=1", "a b c"),
        ("/v1//objects/todos?q=<ä>", "<ä>"),
    ] {
        let reply = house
            .ask(format!(
                "GET {target} HTTP/1.1\r\nHost: h\r\nEnginio-Backend-Id: x\r\n\r\n"
            ))
            .await;
        let reply = Answer::parse(&reply);
        assert_eq!(reply.json(), json!({ "type": "todos", "q": q }), "{target}");
    }
    let qt = "User-Agent: Qt:5.2.1 Enginio:1.0.5 Language:C++\r\n";
    let reply = house
        .ask(format!(
            "GET /v1/objects/todos?q=a+b HTTP/1.1\r\nHost: h\r\n{qt}\r\n"
        ))
        .await;
    assert_eq!(Answer::parse(&reply).json()["q"], "a+b");
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_pipelined() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    let get = |kind: &str| format!("GET /v1/objects/{kind} HTTP/1.1\r\nHost: h\r\n\r\n");
    for kind in ["a", "b"] {
        wire.send(get(kind)).await;
        assert_eq!(wire.reply().await.json()["type"], kind);
    }
    let post = "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n{\"n\":1}";
    wire.send([get("c"), post.to_owned(), get("d")].concat())
        .await;
    assert_eq!(wire.reply().await.json()["type"], "c");
    assert_eq!(wire.reply().await.json(), json!({ "n": 1 }));
    assert_eq!(wire.reply().await.json()["type"], "d");
}

#[tokio::test]
async fn a_body_is_read_whatever_its_type_and_framing() {
    let house = House::open().await;
    let bodies = [
        ("Content-Length: 7\r\n\r\n{\"n\":1}", json!({ "n": 1 })),
        (
            "Content-Type: text/plain\r\nContent-Length: 7\r\n\r\n{\"n\":1}",
            json!({ "n": 1 }),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"n\r\n4\r\n\":1}\r\n0\r\nTrailer: x\r\n\r\n",
            json!({ "n": 1 }),
        ),
        (
            "Expect: 100-continue\r\nContent-Length: 7\r\n\r\n{\"n\":1}",
            json!({ "n": 1 }),
        ),
    ];
    for (rest, value) in bodies {
        let reply = house
            .ask(format!("POST /v1/objects/x HTTP/1.1\r\nHost: h\r\n{rest}"))
            .await;
        let reply = reply
            .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
            .unwrap_or(&reply);
        let reply = Answer::parse(reply);
        assert_eq!((reply.status, reply.json()), (201, value), "{rest}");
    }
    let latin = [
        b"POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{\"a\":\"".as_slice(),
        &[0xe4],
        b"\"}",
    ]
    .concat();
    assert_eq!(
        Answer::parse(&house.ask(latin).await).json(),
        json!({ "a": "ä" })
    );
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send(
        "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(
        wire.until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    wire.send("{}").await;
    assert_eq!(wire.reply().await.status, 201);
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_spoil_the_connection() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    for _ in 0..2 {
        wire.send("DELETE /v1/objects/x/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnull")
            .await;
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "{}"));
    }
}

/// A request whose body is on its way when its head has been looked at: both come behind another request, and the body
/// is held back until that is answered.
async fn head_alone(wire: &mut common::Wire<tokio::net::TcpStream>, head: &str) {
    let before = "GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n";
    wire.send([before, head].concat()).await;
    assert_eq!(wire.reply().await.status, 200);
}

#[tokio::test]
async fn a_small_body_behind_a_refusal_does_not_cost_the_connection() {
    let house = House::open().await;
    for (framing, body) in [
        ("Content-Length: 7", "{\"n\":1}".to_owned()),
        ("Content-Length: 40000", "x".repeat(40_000)),
        (
            "Transfer-Encoding: chunked",
            "1\r\nx\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        let mut wire = house.connect().await;
        let head = format!("POST /v1/gateways/1/nothing HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n");
        head_alone(&mut wire, &head).await;
        wire.send(&body).await;
        let reply = wire.reply().await;
        assert_eq!(reply.status, 404, "{framing}");
        assert_eq!(reply.header("Connection"), None, "{framing}");
        wire.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(wire.reply().await.status, 200, "{framing}");
    }
}

#[tokio::test]
async fn a_reply_that_leaves_its_body_unread_says_that_the_connection_ends() {
    let house = House::open().await;
    for (rest, begun) in [
        // More than is read for nothing.
        ("Content-Length: 900000\r\n\r\n", ""),
        ("Content-Length: 900000\r\n\r\n", "x"),
        // It does not come.
        ("Content-Length: 7\r\n\r\n", ""),
        ("Content-Length: 7\r\n\r\n", "x"),
        ("Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        // It is none.
        ("Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\nwhat\r\n"),
        // The client waits to be told to send it, and is told something else.
        ("Expect: 100-continue\r\nContent-Length: 7\r\n\r\n", ""),
    ] {
        let mut wire = house.connect().await;
        let head = format!("POST /v1/gateways/1/nothing HTTP/1.1\r\nHost: h\r\n{rest}");
        head_alone(&mut wire, &head).await;
        wire.send(begun).await;
        let reply = wire.rest().await;
        let reply = Answer::parse(&reply);
        assert_eq!(reply.status, 404, "{rest}{begun}");
        assert_eq!(reply.header("Connection"), Some("close"), "{rest}{begun}");
    }
}

#[tokio::test]
async fn unclear_and_hostile_heads_are_refused_in_the_services_shape() {
    let house = House::open().await;
    let table = [
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            400,
        ),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            400,
        ),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: two\r\n\r\n{}",
            400,
        ),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n{}",
            501,
        ),
        ("GET /v1/objects/x HTTP/1.1\r\n\r\n", 400),
        ("GET /v1/objects/x HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        (
            "GET /v1/objects/x HTTP/1.1\r\nHost: h\r\nA: 1\r\n 2\r\n\r\n",
            400,
        ),
        ("GET /v1/objects/x HTTP/1.1\r\nHost: h\r\nX", 400),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
        ),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n{}",
            400,
        ),
        (
            "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{]",
            400,
        ),
    ];
    for (request, status) in table {
        let reply = house.ask(&request).await;
        assert!(!reply.is_empty(), "{request}");
        let reply = Answer::parse(&reply);
        assert_eq!(reply.status, status, "{request}");
        let entry = &reply.json()["errors"][0];
        assert!(!entry["message"].as_str().unwrap().is_empty(), "{request}");
        assert!(!entry["reason"].as_str().unwrap().is_empty(), "{request}");
        assert_eq!(
            reply.header("Access-Control-Allow-Origin"),
            Some("*"),
            "{request}"
        );
        assert!(reply.header("X-Request-Id").is_some(), "{request}");
        let length: usize = reply.header("Content-Length").unwrap().parse().unwrap();
        assert_eq!(length, reply.body.len(), "{request}");
    }
}

#[tokio::test]
async fn a_refused_head_keeps_what_the_client_needs_to_understand() {
    let house = House::open().await;
    let reply = house
        .ask(format!(
            "GET /v1/user HTTP/1.1\r\nHost: h\r\nEnginio-Backend-Id: 51cdbc08989e975ec300772a\r\n{ID}A: 1\r\n 2\r\n\r\n"
        ))
        .await;
    let reply = Answer::parse(&reply);
    assert!(reply.json()["errors"].is_array(), "{reply:?}");
    assert_eq!(
        reply.header("X-Request-Id"),
        Some("a671f67b4f41c20b53988a6057b32539")
    );
    assert_eq!(reply.header("Connection"), Some("close"));

    let reply = house
        .ask("GET /v1/gateways/1/x HTTP/1.1\r\nOrigin: http://a\r\nHost: h\r\nHost: h\r\n\r\n")
        .await;
    let reply = Answer::parse(&reply);
    assert_eq!(reply.json()["error"]["reason"], "BadRequest");
    assert_eq!(
        reply.header("Access-Control-Allow-Origin"),
        Some("http://a")
    );
}

#[tokio::test]
async fn a_client_cannot_fake_the_filters_verdict() {
    let house = House::open().await;
    let reply = house
        .ask("GET /v1/user HTTP/1.1\r\nHost: h\r\nX-Pilvi-Fault: 418 teapot\r\n\r\n")
        .await;
    assert_eq!(Answer::parse(&reply).status, 200);
}

#[tokio::test]
async fn heads_and_bodies_have_bounds() {
    let house = House::open().await;
    let long = "x".repeat(40 << 10);
    let header = format!("A: {long}\r\n");
    let body = "x".repeat(1001);
    for (request, status) in [
        (
            format!("GET /v1/objects/{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
            414,
        ),
        (
            format!("GET /v1/objects/x HTTP/1.1\r\nHost: h\r\n{header}{header}\r\n"),
            431,
        ),
        (
            format!(
                "GET /v1/objects/x HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "A: 1\r\n".repeat(120)
            ),
            431,
        ),
        (
            format!("POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n{body}"),
            413,
        ),
        (
            format!(
                "POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{body}\r\n0\r\n\r\n"
            ),
            413,
        ),
    ] {
        let reply = house.ask(&request).await;
        assert!(!reply.is_empty(), "{request}");
        let reply = Answer::parse(&reply);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("Connection"), Some("close"));
        assert!(reply.json()["errors"][0]["reason"].is_string());
    }
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_sent_and_the_refusal_arrives() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send("POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    // The client goes on sending for a while, as clients do.
    wire.send(vec![b'x'; 256 << 10]).await;
    assert_eq!(wire.reply().await.status, 413);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_each_services_shape() {
    let house = House::open().await;
    let ask = async |line: &str| {
        let reply = house
            .ask(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        Answer::parse(&reply)
    };
    let reply = ask("GET /v1/objects").await;
    assert_eq!(
        (reply.status, &reply.json()["errors"][0]["reason"]),
        (404, &json!("NotFound"))
    );
    let reply = ask("GET /v1/gateways/1/nothing").await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["reason"]),
        (404, &json!("NotFound"))
    );
    let reply = ask("GET /nothing").await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["reason"]),
        (404, &json!("NotFound"))
    );
    for method in ["PUT", "BREW", "get"] {
        let reply = ask(&format!("{method} /v1/objects/x")).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.json()["errors"][0]["reason"], "MethodNotAllowed");
        assert_eq!(reply.header("Allow"), Some("GET,HEAD,POST"));
    }
    let reply = ask("CONNECT a:443").await;
    assert_eq!(reply.status, 405);
}

#[tokio::test]
async fn a_fault_of_ours_tells_the_caller_nothing() {
    let house = House::open().await;
    for path in ["/v1/fault", "/v1/panic"] {
        let mut wire = house.connect().await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let reply = wire.reply().await;
        assert_eq!(reply.status, 500);
        assert_eq!(reply.json()["error"]["reason"], "InternalError");
        assert!(!reply.body.contains("fire") && !reply.body.contains("purpose"));
        // The connection survives.
        wire.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(wire.reply().await.status, 200);
    }
}

#[tokio::test]
async fn a_head_request_has_the_length_and_no_body() {
    let house = House::open().await;
    for (path, status, length) in [("/v1/objects/x", 200, "21"), ("/v1/objects", 404, "76")] {
        let reply = house
            .ask(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let reply = Answer::parse(&reply);
        assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{path}");
        assert_eq!(reply.header("Content-Length"), Some(length), "{path}");
    }
}

#[tokio::test]
async fn http_1_0_is_understood() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send("GET /v1/user HTTP/1.0\r\n\r\n").await;
    let reply = wire.rest().await;
    let reply = Answer::parse(&reply);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["base"], format!("http://{}", house.address));

    let mut wire = house.connect().await;
    for _ in 0..2 {
        wire.send("GET /v1/user HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(wire.reply().await.header("Connection"), Some("keep-alive"));
    }
}

fn quick() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        body_stall_timeout: Duration::from_millis(100),
        linger: Duration::from_millis(100),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_slow_head_is_refused_and_a_silent_client_is_left() {
    let house = House::with(quick(), None).await;
    let mut wire = house.connect().await;
    wire.send("GET /v1/objects/x HTTP/1.1\r\nHost:").await;
    let reply = wire.rest().await;
    let reply = Answer::parse(&reply);
    assert_eq!(
        (reply.status, &reply.json()["errors"][0]["reason"]),
        (408, &json!("Timeout"))
    );

    assert_eq!(house.connect().await.rest().await, "");
}

#[tokio::test]
async fn a_resting_connection_is_closed_after_a_while() {
    let house = House::with(quick(), None).await;
    let mut wire = house.connect().await;
    wire.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(wire.reply().await.status, 200);
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn a_slow_second_head_is_refused_too() {
    let house = House::with(quick(), None).await;
    let mut wire = house.connect().await;
    wire.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\nGET /v1/objects/x HT")
        .await;
    assert_eq!(wire.reply().await.status, 200);
    assert_eq!(wire.reply().await.status, 408);
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stalls_is_refused() {
    let house = House::with(quick(), None).await;
    for body in [
        "Content-Length: 9\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ] {
        let mut wire = house.connect().await;
        wire.send(format!("POST /v1/objects/x HTTP/1.1\r\nHost: h\r\n{body}"))
            .await;
        let reply = wire.rest().await;
        let reply = Answer::parse(&reply);
        assert_eq!(
            (reply.status, &reply.json()["errors"][0]["reason"]),
            (408, &json!("Timeout"))
        );
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_are_turned_away() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let house = House::with(limits, None).await;
    let mut first = house.connect().await;
    first.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(first.reply().await.status, 200);
    let reply = house.connect().await.reply().await;
    assert_eq!(
        (reply.status, reply.header("Retry-After")),
        (503, Some("1"))
    );
    assert!(reply.json()["errors"].is_array());
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_closes_the_rest() {
    let house = House::open().await;
    let mut idle = house.connect().await;
    idle.send("GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(idle.reply().await.status, 200);
    let mut busy = house.connect().await;
    busy.send("POST /v1/objects/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    busy.until("\r\n\r\n").await;

    house.tasks.stop();
    assert_eq!(idle.rest().await, "");
    busy.send("{}").await;
    assert_eq!(busy.reply().await.status, 201);
    assert_eq!(busy.rest().await, "");
    drop((idle, busy));
    assert!(house.tasks.drain(common::PATIENCE).await);
}
