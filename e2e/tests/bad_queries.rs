//! Queries that nobody should send, over the wire: each is answered at once, in the shape of EDS, and the next works.

use pilvi_e2e::api::{path_of, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

#[test]
fn bad_queries_are_refused_one_by_one() {
    let server = Server::demo();
    let backend = server.backend();
    backend.create("todos", &json!({"title": "x"}));
    let branches = format!(r#"{{"$or":[{}]}}"#, vec!["{\"a\":1}"; 3000].join(","));
    let deep = format!("{}1{}", r#"{"$nor":["#.repeat(1500), "]}".repeat(1500));
    let cases = [
        ("q", branches.as_str(), "2000 values"),
        ("q", &deep, "recursion limit"),
        ("q", r#"{"$where":"while(1);"}"#, "cannot run code"),
        ("q", r#"{"a":{"$regex":"(a{1000}){1000}"}}"#, "too costly"),
        ("q", r#"{"a":{"$regex":"(?=a)"}}"#, "look-around"),
        ("q", r#"{"a":1e400}"#, "number out of range"),
        ("q", r#"{"a\u0000":1}"#, "NUL"),
        ("q", r#"{"a..b":1}"#, "single dots"),
        ("q", "[]", "must be a JSON object"),
        ("q", "{", "is not JSON"),
        ("sort", r#"[{"by":"a"}]"#, "sort must be"),
        ("include", "[]", "include must be"),
        ("include", r#"{"a":1}"#, "include needs an object"),
        ("limit", "-1", "limit must be"),
        ("limit", "1e3", "limit must be"),
        ("offset", "9999999999", "offset must be"),
        ("after", "null", "start over"),
    ];
    for (name, value, expected) in cases {
        for call in ["/v1/objects/todos", "/v1/users", "/v1/usergroups"] {
            let reply = backend
                .send(Request::get(format!("{call}?{name}={value}")))
                .must_be(400);
            assert_eq!(text(&reply, "/errors/0/reason"), "BadRequest", "{value}");
            let message = text(&reply, "/errors/0/message");
            assert!(
                message.contains(expected) && message.len() < 500,
                "{name}: {message}"
            );
        }
    }
    let too_long = backend.send(Request::get(format!(
        "/v1/objects/todos?q={}",
        "x".repeat(40_000)
    )));
    too_long.must_be(414);
    let list = backend.send(Request::get("/v1/objects/todos")).must_be(200);
    assert_eq!(list["results"].as_array().unwrap().len(), 1);
}

#[test]
fn strange_values_come_back_as_they_were_sent() {
    let server = Server::demo();
    let backend = server.backend();
    let strange = concat!(
        r#"{"big":9007199254740993,"huge":18446744073709551615,"beyond":18446744073709551616,"tiny":5e-324,"#,
        r#""whole":5.0,"a\"b":"\"","__proto__":{"x":1},"'; DROP TABLE objects; --":"\u0001\ud83d\ude00"}"#
    );
    let send = |body: String| backend.send(Request::post("/v1/objects/strange").body(body));
    let stored = send(strange.to_owned()).must_be(201);
    let read = backend.send(Request::get(path_of(&stored))).must_be(200);
    for (name, value) in serde_json::from_str::<Value>(strange)
        .unwrap()
        .as_object()
        .unwrap()
    {
        assert_eq!(read[name].to_string(), value.to_string(), "{name}");
    }
    let found = backend
        .send(Request::get(
            r#"/v1/objects/strange?q={"big":9007199254740993}"#,
        ))
        .must_be(200);
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    let near_miss = backend
        .send(Request::get(
            r#"/v1/objects/strange?q={"big":9007199254740992}"#,
        ))
        .must_be(200);
    assert_eq!(near_miss["results"], json!([]));
    // Of equal names the last counts.
    assert_eq!(send(r#"{"a":1,"a":2}"#.to_owned()).must_be(201)["a"], 2);

    let nested =
        |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    send(nested(60)).must_be(201);
    for body in [
        nested(65),
        nested(100_000),
        r#"{"$a":1}"#.into(),
        r#"{"a.b":1}"#.into(),
        r#"{"":1}"#.into(),
        r#"{"a":"\u0000"}"#.into(),
        r#"{"a":1e400}"#.into(),
        r#"{"a":NaN}"#.into(),
    ] {
        let reply = send(body).must_be(400);
        assert!(text(&reply, "/errors/0/message").len() < 500, "{reply}");
    }
}
