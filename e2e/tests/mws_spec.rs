//! The interface of gateways word for word, over raw sockets: what is sent, what comes back, in what spelling. One
//! test, or table, for each section of `mws.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{SystemTime, UNIX_EPOCH};

use pilvi_e2e::api::{Backend, Gateway, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::Server;
use pilvi_e2e::shape;
use pilvi_e2e::socket::{BINARY, Heard, Socket};
use serde_json::{Value, json};

const KIBIBYTE: usize = 1 << 10;
const MEBIBYTE: usize = 1 << 20;
const URI_LIFE_S: u64 = 300;

/// Expects this status and this text, byte by byte.
#[track_caller]
fn expect(reply: &Reply, status: u16, body: &str) {
    reply.must_be(status);
    assert_eq!(reply.text(), body);
}

/// What has the documented form of one error.
fn error(reason: &str, message: &str) -> String {
    format!(r#"{{"error":{{"reason":"{reason}","message":"{message}"}}}}"#)
}

/// What has the documented form of broken rules, each a property and a message.
fn errors(faults: &[(&str, &str)]) -> String {
    let faults = faults.iter().map(|(property, message)| {
        format!(r#"{{"reason":"ValidationFailed","property":"{property}","message":"{message}"}}"#)
    });
    format!(r#"{{"errors":[{}]}}"#, faults.collect::<Vec<_>>().join(","))
}

#[track_caller]
fn configure(gateway: &Gateway, configuration: &Value) -> Value {
    let request = Request::put(gateway.path("configuration")).json(configuration);
    gateway.send_as_admin(request).must_be(200)
}

/// A connected socket with these tags, and its id.
#[track_caller]
fn tagged(gateway: &Gateway, tags: &[&str]) -> (Socket, String) {
    let request = Request::post(gateway.path("sockets")).json(&json!({"tags": tags}));
    let made = gateway.send_as_admin(request).must_be(201);
    (Socket::open(&text(&made, "/uri")), text(&made, "/id"))
}

#[track_caller]
fn send(gateway: &Gateway, body: &str) -> Reply {
    gateway.send(&Request::post(gateway.path("messages")).body(body))
}

fn is_token(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_hex)
}

/// Seconds since 1970 of a time such as `2014-03-14T06:33:51Z`.
#[track_caller]
fn seconds(time: &str) -> u64 {
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{time}");
    let part = |at: usize, length: usize| time[at..at + length].parse::<u64>().unwrap();
    let (year, month, day) = (part(0, 4), part(5, 2), part(8, 2));
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_of = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let days = years + (1..month).map(days_of).sum::<u64>() + day - 1;
    ((days * 24 + part(11, 2)) * 60 + part(14, 2)) * 60 + part(17, 2)
}

#[test]
fn section_1_addresses() {
    let server = Server::demo();
    let gateway = server.gateway();
    for base in ["gateways", "instances"] {
        let path = |id: &str, rest: &str| format!("/v1/{base}/{id}{rest}");
        for resource in ["/websocket_uri", "/websocket_uri/", "//websocket_uri"] {
            let reply = gateway
                .send(&Request::get(path(&gateway.id, resource)))
                .must_be(200);
            let start = format!("ws://{}/?token=", server.http);
            assert!(text(&reply, "/uri").starts_with(&start), "{reply}");
        }
        let body = r#"{"data":"x","receivers":{"sockets":null,"tags":null}}"#;
        let message = Request::post(path(&gateway.id, "/messages")).body(body);
        expect(&gateway.send(&message), 201, body);
        let sockets = gateway.send_as_admin(Request::get(path(&gateway.id, "/sockets")));
        expect(&sockets, 200, r#"{"results":[]}"#);
        for unknown in ["0123456789abcdef01234567", "x", "%00"] {
            for resource in ["/websocket_uri", "/sockets", "/configuration"] {
                let reply = gateway.send_as_admin(Request::get(path(unknown, resource)));
                expect(&reply, 404, &error("NotFound", "there is no such gateway"));
            }
        }
    }
    // The id of something else is no gateway's.
    let backend = server.backend().id;
    let reply = gateway.send(&Request::get(format!(
        "/v1/gateways/{backend}/websocket_uri"
    )));
    expect(&reply, 404, &error("NotFound", "there is no such gateway"));
    server.stop();
}

#[test]
fn section_2_bodies_are_json_whatever_their_type() {
    let server = Server::demo();
    let gateway = server.gateway();
    let body = r#"{"data":"x","receivers":{"sockets":["*"],"tags":null}}"#;
    let message = || Request::post(gateway.path("messages")).body(body);
    let requests = [
        message(),
        message().header("Content-Type", "application/json; charset=utf-8"),
        message().header("Content-Type", "text/plain"),
        message().header("Content-type-header", "application/json"),
        message().header("Content-Type", "application/x-www-form-urlencoded"),
    ];
    for request in requests {
        let reply = gateway.send(&request);
        expect(&reply, 201, body);
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
    }
    // ND sends a length with a GET.
    let get = Request::get(gateway.path("websocket_uri")).header("Content-Length", "0");
    gateway.send(&get).must_be(200);
    server.stop();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server's clock is that of the machine, and its times are compared with it"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[test]
fn section_3_1_and_3_2_addresses_of_sockets() {
    let server = Server::demo();
    let gateway = server.gateway();
    let base = format!("ws://{}/?token=", server.http);
    let before = now();
    let reply = gateway.send(&Request::get(gateway.path("websocket_uri")));
    let uri = reply.must_be(200);
    let (expires_at, address) = (text(&uri, "/expiresAt"), text(&uri, "/uri"));
    let whole = format!(r#"{{"expiresAt":"{expires_at}","uri":"{address}","tags":[]}}"#);
    assert_eq!(reply.text(), whole);
    assert!(is_token(address.strip_prefix(&base).unwrap()), "{address}");
    let life = seconds(&expires_at);
    assert!(
        (before + URI_LIFE_S..=now() + URI_LIFE_S).contains(&life),
        "{expires_at}"
    );

    let rows = [
        (r#"{"tags":["player1"]}"#, r#"["player1"]"#),
        (r#"{"tags":["a",5,1.5,true]}"#, r#"["a","5","1.5","true"]"#),
        (r#"{"tags":["b","a","b"]}"#, r#"["b","a"]"#),
        (r#"{"tags":[]}"#, "[]"),
        (r#"{"tags":null}"#, "[]"),
        (r#"{"other":1}"#, "[]"),
        ("{}", "[]"),
        ("", "[]"),
    ];
    for (body, tags) in rows {
        let reply = gateway.send_as_admin(Request::post(gateway.path("sockets")).body(body));
        let made = reply.must_be(201);
        let (id, expires_at) = (text(&made, "/id"), text(&made, "/expiresAt"));
        assert!(is_token(&id), "{id}");
        seconds(&expires_at);
        let whole = format!(
            r#"{{"id":"{id}","tags":{tags},"expiresAt":"{expires_at}","uri":"{base}{id}"}}"#
        );
        assert_eq!(reply.text(), whole, "{body}");
    }
    server.stop();
}

#[test]
fn section_3_3_and_3_4_connected_sockets() {
    let server = Server::demo();
    let gateway = server.gateway();
    let list = || gateway.send_as_admin(Request::get(gateway.path("sockets")));
    let at = |id: &str| gateway.path(&format!("sockets/{id}"));
    let reserve = || {
        let request = Request::post(gateway.path("sockets")).body(r#"{"tags":["players"]}"#);
        gateway.send_as_admin(request).must_be(201)
    };
    let gone = error("NotFound", "there is no such socket");

    // A reservation is no socket, but can be deleted.
    let reserved = reserve();
    let id = text(&reserved, "/id");
    expect(&list(), 200, r#"{"results":[]}"#);
    expect(&gateway.send_as_admin(Request::get(at(&id))), 404, &gone);
    expect(&gateway.send_as_admin(Request::delete(at(&id))), 200, "{}");
    expect(&gateway.send_as_admin(Request::delete(at(&id))), 404, &gone);
    assert_eq!(
        Socket::open(&text(&reserved, "/uri")).hear(),
        Heard::Closed(1000)
    );

    let reserved = reserve();
    let id = text(&reserved, "/id");
    let mut socket = Socket::open(&text(&reserved, "/uri"));
    let shown = gateway.send_as_admin(Request::get(at(&id)));
    let connected_at = text(&shown.must_be(200), "/connectedAt");
    seconds(&connected_at);
    let whole = format!(
        r#"{{"id":"{id}","connectedAt":"{connected_at}","createdAt":"{connected_at}","tags":["players"]}}"#
    );
    assert_eq!(shown.text(), whole);
    expect(&list(), 200, &format!(r#"{{"results":[{whole}]}}"#));
    for unknown in ["0".repeat(64), "x".to_owned(), id.to_uppercase()] {
        expect(
            &gateway.send_as_admin(Request::get(at(&unknown))),
            404,
            &gone,
        );
        expect(
            &gateway.send_as_admin(Request::delete(at(&unknown))),
            404,
            &gone,
        );
    }
    // A socket of another gateway is not there.
    let other = server.cloud().create_gateway("other");
    let theirs = Request::delete(other.path(&format!("sockets/{id}")));
    expect(&other.send_as_admin(theirs), 404, &gone);
    expect(&gateway.send_as_admin(Request::delete(at(&id))), 200, "{}");
    assert_eq!(socket.hear(), Heard::Closed(1000));
    expect(&gateway.send_as_admin(Request::get(at(&id))), 404, &gone);
    expect(&list(), 200, r#"{"results":[]}"#);
    server.stop();
}

#[test]
fn section_3_5_messages() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut socket, id) = tagged(&gateway, &["5"]);
    // What is sent, what is answered and what arrives.
    let to_all = r#""receivers":{"sockets":["*"],"tags":null}"#;
    let answer = |data: &str| format!(r#"{{"data":{data},{to_all}}}"#);
    let rows = [
        (r#""Hello World!""#, r#""Hello World!""#, "Hello World!"),
        (r#"" both ends ""#, r#"" both ends ""#, " both ends "),
        (r#""""#, r#""""#, ""),
        (
            r#""Käse \u2603\n""#,
            "\"Käse \u{2603}\\n\"",
            "Käse \u{2603}\n",
        ),
        ("5", r#""5""#, "5"),
        ("true", r#""true""#, "true"),
        ("1.50", r#""1.5""#, "1.5"),
        (
            r#"{"b":1, "a":[ ]}"#,
            r#""{\"b\":1,\"a\":[]}""#,
            r#"{"b":1,"a":[]}"#,
        ),
        ("[1, null]", r#""[1,null]""#, "[1,null]"),
    ];
    for (data, answered, heard) in rows {
        let reply = send(&gateway, &format!(r#"{{"data":{data},{to_all}}}"#));
        expect(&reply, 201, &answer(answered));
        assert_eq!(socket.hear(), Heard::Text(heard.to_owned()));
    }
    // Receivers: missing is null, unknown keys are dropped, numbers are texts.
    let to_id = format!(r#"{{"sockets":["{id}"],"tags":[]}}"#);
    let rows = [
        (
            r#"{"sockets":["*"]}"#,
            r#"{"sockets":["*"],"tags":null}"#,
            true,
        ),
        (
            r#"{"tags":[5],"x":1}"#,
            r#"{"sockets":null,"tags":["5"]}"#,
            true,
        ),
        (&*to_id, &*to_id, true),
        (
            r#"{"sockets":[],"tags":["6"]}"#,
            r#"{"sockets":[],"tags":["6"]}"#,
            false,
        ),
        ("{}", r#"{"sockets":null,"tags":null}"#, false),
    ];
    for (number, (receivers, answered, arrives)) in rows.into_iter().enumerate() {
        let body = format!(r#"{{"receivers":{receivers},"data":{number},"other":true}}"#);
        let whole = format!(r#"{{"data":"{number}","receivers":{answered}}}"#);
        expect(&send(&gateway, &body), 201, &whole);
        if arrives {
            assert_eq!(
                socket.hear(),
                Heard::Text(number.to_string()),
                "{receivers}"
            );
        }
    }
    send(&gateway, &answer(r#""last""#)).must_be(201);
    assert_eq!(
        socket.hear(),
        Heard::Text("last".to_owned()),
        "nothing else came before it"
    );
    server.stop();
}

#[test]
fn section_3_6_webhooks() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut everybody, _) = tagged(&gateway, &[]);
    let (mut anna, _) = tagged(&gateway, &["users.532c410072fc38d95600000b"]);
    let post = |body: &str| {
        let path = gateway.path("webhook_receivers/enginio");
        gateway.send_as_admin(Request::post(path).body(body))
    };
    let everyone = r#"[{"id":"*","objectType":"aclSubject"},{"id":"7","objectType":"usergroups"}]"#;
    let annas = r#"[{"id":"532c410072fc38d95600000b","objectType":"users"}]"#;
    let reply = post(&format!(
        r#"{{"payload":{{"object":{{"a":1}}, "meta":{{}}}},"receivers":{everyone}}}"#
    ));
    let data = r#"{\"object\":{\"a\":1},\"meta\":{}}"#;
    let whole =
        format!(r#"{{"data":"{data}","receivers":{{"sockets":["*"],"tags":["usergroups.7"]}}}}"#);
    expect(&reply, 201, &whole);
    for socket in [&mut everybody, &mut anna] {
        assert_eq!(
            socket.hear(),
            Heard::Text(r#"{"object":{"a":1},"meta":{}}"#.to_owned())
        );
    }
    let reply = post(&format!(r#"{{"payload":"as it is ","receivers":{annas}}}"#));
    let tags = r#""tags":["users.532c410072fc38d95600000b"]"#;
    expect(
        &reply,
        201,
        &format!(r#"{{"data":"as it is ","receivers":{{"sockets":[],{tags}}}}}"#),
    );
    assert_eq!(anna.hear(), Heard::Text("as it is ".to_owned()));
    let rows = [
        (
            "{}",
            vec![
                ("payload", "Payload can't be nil"),
                ("receivers", "Receivers can't be nil"),
            ],
        ),
        (
            r#"{"payload":5,"receivers":[]}"#,
            vec![("payload", "Payload isn't a string")],
        ),
        (
            r#"{"payload":"x","receivers":{}}"#,
            vec![("receivers", "Receivers isn't an array")],
        ),
    ];
    for (body, faults) in rows {
        expect(&post(body), 422, &errors(&faults));
    }
    // Only with the token, although the gateway is open.
    let path = gateway.path("webhook_receivers/enginio");
    let reply = gateway.send(&Request::post(path).body(r#"{"payload":"x","receivers":[]}"#));
    expect(
        &reply,
        401,
        &error("AccessDenied", "Authorization header is required"),
    );
    server.stop();
}

#[test]
fn section_3_7_configuration() {
    let server = Server::demo();
    let gateway = server.cloud().create_gateway("mine");
    let show = || {
        gateway
            .send_as_admin(Request::get(gateway.path("configuration")))
            .must_be(200)
    };
    let shown = show();
    assert_eq!(shown["name"], "mine");
    assert_eq!(shown["accessControl"], "none");
    assert_eq!(
        (&shown["identityProvider"], &shown["permissions"]),
        (&Value::Null, &Value::Null)
    );
    let provider = json!({"type": "eds", "backendId": server.backend().id});
    let permissions = json!({"read": ["*"], "write": ["usergroups.532c410072fc38d95600000b"]});
    // Naming a provider asks for its users; what is not named stays.
    let changed = configure(
        &gateway,
        &json!({"identityProvider": provider, "unknown": 1}),
    );
    assert_eq!(
        (&changed["accessControl"], &changed["name"]),
        (&json!("eds"), &json!("mine"))
    );
    let changed = configure(
        &gateway,
        &json!({"permissions": permissions, "name": "ours"}),
    );
    assert_eq!(changed["identityProvider"], provider);
    assert_eq!(changed["permissions"], permissions);
    assert_eq!(show(), changed);
    let opened = configure(&gateway, &json!({"accessControl": "none"}));
    assert_eq!(opened["accessControl"], "none");
    let put =
        |body: &str| gateway.send_as_admin(Request::put(gateway.path("configuration")).body(body));
    expect(
        &put(r#"{"name":1,"accessControl":"all"}"#),
        422,
        &errors(&[
            ("name", "Name isn't a string"),
            ("accessControl", "Access control can be none, eds or custom"),
        ]),
    );
    assert_eq!(show(), opened, "a refused change changes nothing");
    server.stop();
}

#[test]
fn section_4_receivers() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut red, red_id) = tagged(&gateway, &["red"]);
    let (mut both, _) = tagged(&gateway, &["red", "blue"]);
    let (mut bare, _) = tagged(&gateway, &[]);
    let other = server.cloud().create_gateway("other");
    let (mut foreign, _) = tagged(&other, &["red"]);
    let rows: [(Value, [bool; 3]); 8] = [
        (
            json!({"sockets": ["*"], "tags": ["red"]}),
            [true, true, true],
        ),
        (
            json!({"sockets": null, "tags": ["red"]}),
            [true, true, false],
        ),
        (
            json!({"sockets": null, "tags": ["red", "blue"]}),
            [true, true, false],
        ),
        (
            json!({"sockets": [red_id], "tags": ["blue"]}),
            [true, true, false],
        ),
        (
            json!({"sockets": [red_id, red_id], "tags": null}),
            [true, false, false],
        ),
        (
            json!({"sockets": null, "tags": ["*"]}),
            [false, false, false],
        ),
        (
            json!({"sockets": null, "tags": ["Red", "red "]}),
            [false, false, false],
        ),
        (
            json!({"sockets": null, "tags": null}),
            [false, false, false],
        ),
    ];
    for (number, (receivers, hear)) in rows.into_iter().enumerate() {
        let body = json!({"data": number, "receivers": receivers}).to_string();
        send(&gateway, &body).must_be(201);
        for (socket, hears) in [&mut red, &mut both, &mut bare].into_iter().zip(hear) {
            if hears {
                assert_eq!(
                    socket.hear(),
                    Heard::Text(number.to_string()),
                    "{receivers}"
                );
            }
        }
    }
    // In order, and nothing twice: the next that each hears is the last.
    send(&gateway, r#"{"data":"last","receivers":{"sockets":["*"]}}"#).must_be(201);
    send(&other, r#"{"data":"other","receivers":{"sockets":["*"]}}"#).must_be(201);
    for socket in [&mut red, &mut both, &mut bare] {
        assert_eq!(socket.hear(), Heard::Text("last".to_owned()));
    }
    assert_eq!(foreign.hear(), Heard::Text("other".to_owned()));
    server.stop();
}

/// Who asks in the table of section 5, with the header that they bring.
struct Callers {
    nobody: Option<String>,
    anna: Option<String>,
    bert: Option<String>,
    owner: Option<String>,
    account: Option<String>,
    wrong: Option<String>,
}

#[track_caller]
fn sign_up(backend: &Backend, name: &str) -> (String, String) {
    let credentials = json!({"username": name, "password": "a long password"});
    let user = backend
        .send(Request::post("/v1/users").json(&credentials))
        .must_be(201);
    let grant = json!({"grant_type": "password", "username": name, "password": "a long password"});
    let tokens = backend
        .send(Request::post("/v1/auth/oauth2/token").json(&grant))
        .must_be(200);
    (text(&user, "/id"), text(&tokens, "/access_token"))
}

#[test]
fn section_5_who_may_do_what() {
    let server = Server::demo();
    let (backend, cloud) = (server.backend(), server.cloud());
    let gateway = cloud.create_gateway("guarded");
    let (anna_id, anna) = sign_up(&backend, "anna");
    let (_, bert) = sign_up(&backend, "bert");
    let tokens = cloud.send(Request::get(format!(
        "/v1/accounts/{}/authorizations",
        cloud.account_id
    )));
    let account = text(&tokens.must_be(200), "/results/0/access_token");
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let callers = Callers {
        nobody: None,
        anna: bearer(&anna),
        bert: bearer(&bert),
        owner: bearer(&gateway.token),
        account: bearer(&account),
        wrong: bearer("wrong"),
    };
    let ask = |request: &Request, header: &Option<String>| {
        let request = match header {
            Some(header) => request.clone().header("Authorization", header),
            None => request.clone(),
        };
        gateway.send(&request).status
    };
    let read = Request::get(gateway.path("websocket_uri"));
    let write = Request::post(gateway.path("messages")).body(r#"{"data":1,"receivers":{}}"#);
    let administer = Request::get(gateway.path("sockets"));
    let provider = json!({"type": "eds", "backendId": backend.id});
    let of_anna = json!([format!("users.{anna_id}")]);
    // Statuses of nobody, anna, bert, the owner, the account and a wrong token.
    let closed = [401, 401, 401, 200, 200, 401];
    let rows = [
        (json!({"accessControl": "none"}), [200; 6], [201; 6]),
        (
            json!({"accessControl": "custom"}),
            closed,
            [401, 401, 401, 201, 201, 401],
        ),
        (
            json!({"identityProvider": provider}),
            [401, 200, 200, 200, 200, 401],
            [401, 201, 201, 201, 201, 401],
        ),
        (
            json!({"permissions": {"read": ["*"], "write": of_anna}}),
            [401, 200, 200, 200, 200, 401],
            [401, 201, 403, 201, 201, 401],
        ),
        (
            json!({"permissions": {"read": of_anna}}),
            [401, 200, 403, 200, 200, 401],
            [401, 403, 403, 201, 201, 401],
        ),
    ];
    for (configuration, reads, writes) in rows {
        configure(&gateway, &configuration);
        let each = [
            &callers.nobody,
            &callers.anna,
            &callers.bert,
            &callers.owner,
            &callers.account,
            &callers.wrong,
        ];
        assert_eq!(
            each.map(|caller| ask(&read, caller)),
            reads,
            "{configuration}"
        );
        assert_eq!(
            each.map(|caller| ask(&write, caller)),
            writes,
            "{configuration}"
        );
        assert_eq!(
            each.map(|caller| ask(&administer, caller)),
            closed,
            "{configuration}"
        );
    }
    // The scheme is exactly this word, and nothing is not the token.
    for header in ["bearer ", "BEARER ", "Basic ", "Bearer", "Bearer ", ""] {
        let header = match header.trim() {
            "" | "Bearer" => header.to_owned(),
            _ => format!("{header}{}", gateway.token),
        };
        let request = administer.clone().header("Authorization", &header);
        let reply = gateway.send(&request);
        expect(&reply, 401, &error("AccessDenied", "Access denied"));
    }
    server.stop();
}

#[test]
fn section_5_tags_of_users() {
    let server = Server::demo();
    let backend = server.backend();
    let (anna_id, anna) = sign_up(&backend, "anna");
    let group = backend.send_as_admin(Request::post("/v1/usergroups").json(&json!({"name": "g"})));
    let group = text(&group.must_be(201), "/id");
    let member = json!({"id": anna_id, "objectType": "users"});
    let members = Request::post(format!("/v1/usergroups/{group}/members")).json(&member);
    backend.send_as_admin(members).must_be(201);
    let gateway = server.cloud().create_gateway("guarded");
    configure(
        &gateway,
        &json!({"identityProvider": {"type": "eds", "backendId": backend.id}}),
    );
    let ask = |token: &str| {
        let request = Request::get(gateway.path("websocket_uri")).bearer(token);
        gateway.send(&request).must_be(200)
    };
    let named = json!([
        format!("users.{anna_id}"),
        format!("usergroups.{group}"),
        "aclSubject.authenticated",
    ]);
    assert_eq!(ask(&anna)["tags"], named);
    assert_eq!(
        ask(&gateway.token)["tags"],
        json!([]),
        "the owner is no user"
    );
    server.stop();
}

#[test]
fn section_6_the_handshake() {
    let server = Server::demo();
    let gateway = server.gateway();
    let reserve = || {
        let reply = gateway
            .send(&Request::get(gateway.path("websocket_uri")))
            .must_be(200);
        text(&reply, "/uri")
    };
    // Any path will do; only the token counts.
    let uri = reserve();
    let elsewhere = uri.replace("/?token=", "/any/where%20else?x=1&token=");
    let (mut socket, head) = Socket::open_asking(
        &elsewhere,
        &[
            "Sec-WebSocket-Protocol: chat, superchat",
            "Origin: https://elsewhere.example",
        ],
    );
    let names = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut names: Vec<&str> = names.map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["Connection", "Sec-WebSocket-Accept", "Upgrade"],
        "no subprotocol, no extension, and no limit by origin: {head}"
    );
    // What clients say is read and dropped.
    socket.say("ping");
    socket.say("{}");
    send(
        &gateway,
        r#"{"data":"first","receivers":{"sockets":["*"]}}"#,
    )
    .must_be(201);
    assert_eq!(socket.hear(), Heard::Text("first".to_owned()));
    // Used, unknown, malformed or missing: a handshake, then the end.
    let host = server.http;
    let unknown = "0".repeat(64);
    for bad in [
        uri,
        elsewhere,
        format!("ws://{host}/?token={unknown}"),
        format!("ws://{host}/?token=%00"),
        format!("ws://{host}/?token="),
        format!("ws://{host}/"),
    ] {
        assert_eq!(Socket::open(&bad).hear(), Heard::Closed(1000), "{bad}");
    }
    socket.close();
    // Two racers get one socket.
    let uri = reserve();
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let uri = uri.clone();
            std::thread::spawn(move || Socket::open(&uri))
        })
        .collect();
    let mut sockets: Vec<Socket> = racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .collect();
    send(&gateway, r#"{"data":"won","receivers":{"sockets":["*"]}}"#).must_be(201);
    let mut heard: Vec<String> = sockets
        .iter_mut()
        .map(|s| format!("{:?}", s.hear()))
        .collect();
    heard.sort_unstable();
    assert_eq!(
        heard
            .iter()
            .filter(|heard| *heard == "Text(\"won\")")
            .count(),
        1,
        "{heard:?}"
    );
    assert_eq!(
        heard
            .iter()
            .filter(|heard| *heard == "Closed(1000)")
            .count(),
        7,
        "{heard:?}"
    );
    server.stop();
}

#[test]
fn section_7_errors() {
    let server = Server::demo();
    let gateway = server.gateway();
    for body in [
        "{",
        "nonsense",
        "{\"data\":}",
        "[1]",
        "5",
        "\"text\"",
        "true",
        "{} {}",
        "\u{0}",
    ] {
        for path in ["messages", "sockets", "webhook_receivers/enginio"] {
            let reply = gateway.send_as_admin(Request::post(gateway.path(path)).body(body));
            shape::error(&reply, 422, "InvalidJson");
        }
    }
    let rows: [(&str, &[(&str, &str)]); 14] = [
        (r#"{"receivers":{}}"#, &[("data", "Data can't be nil")]),
        (
            r#"{"data":null,"receivers":{}}"#,
            &[("data", "Data can't be nil")],
        ),
        (
            r#"{"data":"x"}"#,
            &[("receivers", "Receivers can't be nil")],
        ),
        (
            r#"{"data":"x","receivers":null}"#,
            &[("receivers", "Receivers can't be nil")],
        ),
        (
            r#"{"data":"x","receivers":[]}"#,
            &[("receivers", "Receivers isn't a hash")],
        ),
        (
            r#"{"data":"x","receivers":"*"}"#,
            &[("receivers", "Receivers isn't a hash")],
        ),
        (
            "{}",
            &[
                ("data", "Data can't be nil"),
                ("receivers", "Receivers can't be nil"),
            ],
        ),
        (
            "",
            &[
                ("data", "Data can't be nil"),
                ("receivers", "Receivers can't be nil"),
            ],
        ),
        (
            r#"{"data":"x","receivers":{"sockets":"*"}}"#,
            &[("receivers.sockets", "Sockets isn't an array")],
        ),
        (
            r#"{"data":"x","receivers":{"sockets":{}}}"#,
            &[("receivers.sockets", "Sockets isn't an array")],
        ),
        (
            r#"{"data":"x","receivers":{"tags":5}}"#,
            &[("receivers.tags", "Tags isn't an array")],
        ),
        (
            r#"{"data":"x","receivers":{"sockets":[{}]}}"#,
            &[("receivers.sockets", "Sockets[0] isn't a string")],
        ),
        (
            r#"{"data":"x","receivers":{"tags":["a",null,["b"]]}}"#,
            &[
                ("receivers.tags", "Tags[1] isn't a string"),
                ("receivers.tags", "Tags[2] isn't a string"),
            ],
        ),
        (
            r#"{"receivers":{"sockets":1,"tags":1}}"#,
            &[
                ("data", "Data can't be nil"),
                ("receivers.sockets", "Sockets isn't an array"),
                ("receivers.tags", "Tags isn't an array"),
            ],
        ),
    ];
    for (body, faults) in rows {
        expect(&send(&gateway, body), 422, &errors(faults));
    }
    let rows = [
        (r#"{"tags":"a"}"#, ("tags", "Tags isn't an array")),
        (r#"{"tags":{"0":"a"}}"#, ("tags", "Tags isn't an array")),
        (r#"{"tags":[["a"]]}"#, ("tags", "Tags[0] isn't a string")),
    ];
    for (body, fault) in rows {
        let reply = gateway.send_as_admin(Request::post(gateway.path("sockets")).body(body));
        expect(&reply, 422, &errors(&[fault]));
    }
    let wrong = Request::get(gateway.path("sockets")).bearer("wrong");
    expect(
        &gateway.send(&wrong),
        401,
        &error("AccessDenied", "Access denied"),
    );
    for path in [
        "",
        "nothing",
        "sockets/1/2",
        "webhook_receivers",
        "webhook_receivers/other",
    ] {
        let reply = gateway.send_as_admin(Request::get(gateway.path(path)));
        shape::error(&reply, 404, "NotFound");
    }
    for (verb, path) in [
        ("POST", "websocket_uri"),
        ("GET", "messages"),
        ("PUT", "messages"),
        ("PATCH", "sockets"),
        ("POST", "sockets/1"),
        ("GET", "webhook_receivers/enginio"),
        ("DELETE", "configuration"),
        ("OPTIONS", "messages"),
    ] {
        let reply = gateway.send_as_admin(Request::new(verb, gateway.path(path)));
        shape::error(&reply, 405, "MethodNotAllowed");
        assert!(
            reply.header("Allow").is_some(),
            "{verb} {path}: {:?}",
            reply.headers
        );
    }
    server.stop();
}

/// What a reply tells a browser, in the order of the names.
fn cors(reply: &Reply) -> Vec<(&str, &str)> {
    let wanted = |name: &str| name.starts_with("Access-Control-") || name == "Vary";
    let headers = reply.headers.iter().filter(|(name, _)| wanted(name));
    let mut headers: Vec<(&str, &str)> = headers
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.sort_unstable();
    headers
}

#[test]
fn section_8_browsers() {
    let server = Server::demo();
    let gateway = server.gateway();
    let allowed = |origin: &'static str| {
        [
            ("Access-Control-Allow-Credentials", "true"),
            (
                "Access-Control-Allow-Methods",
                "GET, POST, PUT, DELETE, OPTIONS",
            ),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", ""),
            ("Access-Control-Max-Age", "1728000"),
            ("Vary", "Origin"),
        ]
    };
    let unknown = "/v1/gateways/0123456789abcdef01234567/websocket_uri";
    for (request, status) in [
        (Request::get(gateway.path("websocket_uri")), 200),
        (
            Request::post(gateway.path("messages")).body(r#"{"data":1,"receivers":{}}"#),
            201,
        ),
        (Request::post(gateway.path("messages")).body("{"), 422),
        (Request::get(gateway.path("sockets")), 401),
        (
            Request::get(gateway.path("sockets")).bearer(&gateway.token),
            200,
        ),
        (Request::get(gateway.path("nothing")), 404),
        (Request::put(gateway.path("messages")), 405),
        (Request::new("OPTIONS", gateway.path("messages")), 405),
        (Request::get(unknown), 404),
    ] {
        let silent = gateway.send(&request);
        assert_eq!(
            (silent.status, cors(&silent)),
            (status, Vec::new()),
            "{request:?}"
        );
        for origin in ["https://app.example:8443", "null"] {
            let reply = gateway.send(&request.clone().header("Origin", origin));
            assert_eq!(reply.status, status);
            assert_eq!(cors(&reply), allowed(origin), "{request:?}");
        }
    }
    for path in [
        gateway.path("messages"),
        gateway.path("sockets"),
        unknown.to_owned(),
    ] {
        let preflight = Request::new("OPTIONS", path)
            .header("Origin", "https://app.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization, x-mine");
        let reply = gateway.send(&preflight);
        assert_eq!(
            (reply.status, reply.header("Content-Type")),
            (200, Some("text/plain"))
        );
        let mut expected = allowed("https://app.example").to_vec();
        expected.insert(1, ("Access-Control-Allow-Headers", "authorization, x-mine"));
        assert_eq!(cors(&reply), expected);
    }
    server.stop();
}

#[test]
fn section_11_bounds() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut socket, _) = tagged(&gateway, &["t"]);
    let with_data = |bytes: usize| {
        let data = "x".repeat(bytes);
        format!(r#"{{"data":"{data}","receivers":{{"tags":["t"]}}}}"#)
    };
    assert_eq!(send(&gateway, &with_data(MEBIBYTE)).status, 201);
    assert_eq!(socket.hear(), Heard::Text("x".repeat(MEBIBYTE)));
    shape::error(&send(&gateway, &with_data(MEBIBYTE + 1)), 413, "TooLarge");
    shape::error(&send(&gateway, &with_data(9 * MEBIBYTE)), 413, "TooLarge");

    let make = |tags: &Value| {
        let request = Request::post(gateway.path("sockets")).json(&json!({"tags": tags}));
        gateway.send_as_admin(request)
    };
    let numbers = |count: usize| (0..count).collect::<Value>();
    make(&numbers(100)).must_be(201);
    let many = errors(&[("tags", "Tags can't be more than 100")]);
    expect(&make(&numbers(101)), 422, &many);
    make(&json!(["x".repeat(KIBIBYTE / 4)])).must_be(201);
    let long = errors(&[("tags", "Tags[1] can't be longer than 256 bytes")]);
    expect(
        &make(&json!(["a", "x".repeat(KIBIBYTE / 4 + 1)])),
        422,
        &long,
    );

    let to = |tags: Value| {
        send(
            &gateway,
            &json!({"data": "x", "receivers": {"tags": tags}}).to_string(),
        )
    };
    assert_eq!(to(numbers(10_000)).status, 201);
    let many = errors(&[("receivers", "Receivers can't be more than 10000")]);
    expect(&to(numbers(10_001)), 422, &many);
    server.stop();
}

#[test]
fn section_11_binary_messages() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (mut socket, _) = tagged(&gateway, &[]);
    let to_all = r#""receivers":{"sockets":["*"],"tags":null}"#;
    for (data, bytes) in [("AP+A", &[0, 0xFF, 0x80][..]), ("aGk=", b"hi"), ("", b"")] {
        let body = format!(r#"{{"data":"{data}",{to_all},"encoding":"base64"}}"#);
        expect(&send(&gateway, &body), 201, &body);
        assert_eq!(socket.frame(), (BINARY, bytes.to_vec()));
    }
    for body in [
        format!(r#"{{"data":"a b",{to_all},"encoding":"base64"}}"#),
        format!(r#"{{"data":"aGk",{to_all},"encoding":"base64"}}"#),
        format!(r#"{{"data":5,{to_all},"encoding":"base64"}}"#),
    ] {
        shape::invalid(&send(&gateway, &body), "data");
    }
    for encoding in [r#""hex""#, r#""BASE64""#, "5"] {
        let body = format!(r#"{{"data":"aGk=",{to_all},"encoding":{encoding}}}"#);
        shape::invalid(&send(&gateway, &body), "encoding");
    }
    let body = format!(r#"{{"data":"plain",{to_all},"encoding":null}}"#);
    send(&gateway, &body).must_be(201);
    assert_eq!(socket.hear(), Heard::Text("plain".to_owned()));
    server.stop();
}

/// However much is wrong, what is said about it stays short.
#[test]
fn a_refusal_is_not_longer_than_what_it_refuses() {
    let server = Server::demo();
    let gateway = server.gateway();
    let nothing = "[],".repeat(MEBIBYTE);
    let nothing = nothing.trim_end_matches(',');
    for body in [
        format!(r#"{{"data":"x","receivers":{{"tags":[{nothing}]}}}}"#),
        format!(r#"{{"data":"x","receivers":{{"tags":["a",{nothing}],"sockets":[{nothing}]}}}}"#),
    ] {
        let reply = send(&gateway, &body);
        reply.must_be(422);
        assert!(
            reply.body.len() < 16 * KIBIBYTE,
            "{} bytes",
            reply.body.len()
        );
    }
    let body = format!(r#"{{"payload":"x","receivers":[{nothing}]}}"#);
    let path = gateway.path("webhook_receivers/enginio");
    let reply = gateway.send_as_admin(Request::post(path).body(body));
    reply.must_be(422);
    assert!(
        reply.body.len() < 16 * KIBIBYTE,
        "{} bytes",
        reply.body.len()
    );
    server.stop();
}

/// Every token of the instance is a security token, until it is revoked.
#[test]
fn section_11_tokens() {
    let server = Server::demo();
    let cloud = server.cloud();
    let gateway = cloud.create_gateway("mine");
    let path = format!("/v1/instances/{}/authorizations", gateway.id);
    let second = cloud
        .send(Request::post(&path).json(&json!({})))
        .must_be(201);
    let (id, token) = (&second["id"], text(&second, "/access_token"));
    let ask = |token: &str| {
        let request = Request::get(gateway.path("sockets")).bearer(token);
        gateway.send(&request).status
    };
    assert_eq!((ask(&gateway.token), ask(&token)), (200, 200));
    cloud
        .send(Request::delete(format!("{path}/{id}")))
        .must_be(200);
    assert_eq!((ask(&gateway.token), ask(&token)), (200, 401));
    assert_eq!(ask(&cloud.token), 401, "a person's token opens no gateway");
    server.stop();
}
