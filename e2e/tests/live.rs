//! The notification stream of old clients, byte for byte, and live queries, over real sockets.

use std::collections::BTreeMap;
use std::thread;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::{Connection, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::{CLOSE, FIN, Heard, PING, PONG, Socket, client_frame};
use serde_json::{Value, json};

/// Live queries that are followed at once when nobody says how many.
const LIVE_QUERIES: usize = 60;

const REQUEST_ID: &str = "0123456789abcdef0123456789abcdef";

/// Describes a type whose changes are streamed.
fn describe(backend: &Backend, name: &str) {
    let described = json!({"name": name, "settings": {"websocket": true},
        "properties": [{"name": "title", "type": "string"}]});
    let request = Request::post("/v1/object_types").json(&described);
    let described = backend.send_as_admin(request);
    // One that was used before was there before.
    assert!(
        matches!(described.status, 200 | 201),
        "{}",
        described.text()
    );
}

fn stream_url(backend: &Backend, filter: &Value) -> String {
    let filter = escape(&filter.to_string());
    let asked = backend.send(Request::get(format!("/v1/stream_url?filter={filter}")));
    text(&asked.must_be(200), "/expiringUrl")
}

fn live_urls(backend: &Backend, query: &str) -> Value {
    backend
        .send(Request::get(format!("/v1/live_url?{query}")))
        .must_be(200)
}

fn live(backend: &Backend, query: &str) -> Socket {
    Socket::open(&text(&live_urls(backend, query), "/webSocketUrl"))
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[track_caller]
fn expect_word(message: &Value, word: &str) {
    assert_eq!(message["event"], word, "{message}");
}

#[test]
fn the_stream_tells_each_write_once_to_whom_it_passes() {
    let server = Server::demo();
    let backend = server.backend();
    describe(&backend, "streamed");
    let mut all = Socket::open(&stream_url(&backend, &json!({})));
    let filter = json!({"event": "update", "data": {"objectType": "objects.streamed"}});
    let mut updates = Socket::open(&stream_url(&backend, &filter));

    let create = Request::post("/v1/objects/streamed")
        .header("X-Request-Id", REQUEST_ID)
        .json(&json!({"title": "Grüße, 世界"}));
    let created = backend.send(create).must_be(201);
    let expected =
        json!({"event": "create", "data": created, "origin": {"apiRequestId": REQUEST_ID}});
    assert_eq!(all.hear_json(), expected);
    // Nobody hears of a type that does not say so.
    backend.create("quiet", &json!({}));
    let updated = backend.update(&created, &json!({"title": "B"}));
    for socket in [&mut all, &mut updates] {
        let message = socket.hear_json();
        assert_eq!(message["event"], "update");
        assert_eq!(message["data"], updated);
    }
    backend.delete(&updated);
    let deleted = all.hear_json();
    assert_eq!(deleted["event"], "delete");
    assert_eq!(deleted["data"]["id"], updated["id"]);
    assert_eq!(deleted["data"]["objectType"], "objects.streamed");
    // What is described later is streamed from then on.
    describe(&backend, "later");
    backend.create("later", &json!({}));
    assert_eq!(all.hear_json()["data"]["objectType"], "objects.later");
    all.close();
    updates.close();
    server.stop();
}

#[test]
fn the_handshake_and_the_frames_are_those_that_the_old_client_compares() {
    let server = Server::demo();
    let backend = server.backend();
    let url = stream_url(&backend, &json!({}));
    let target = url.strip_prefix("ws://").unwrap();
    let (host, target) = target.split_at(target.find('/').unwrap());
    assert_eq!(host, server.http.to_string());
    let mut connection = Connection::open(server.http);
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    connection.write(request.as_bytes());
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let head = connection.exactly(expected.len());
    assert_eq!(String::from_utf8(head).unwrap(), expected);
    // Right after connecting the client pings, and waits for its payload.
    connection.write(&client_frame(FIN | PING, b"Ping."));
    assert_eq!(
        connection.exactly(7),
        [&[FIN | PONG, 5], &b"Ping."[..]].concat()
    );
    // A goodbye comes back with its own status, and TCP ends.
    connection.write(&client_frame(FIN | CLOSE, &1001u16.to_be_bytes()));
    assert_eq!(connection.rest(), [FIN | CLOSE, 2, 0x03, 0xE9]);
    server.stop();
}

#[test]
fn a_ticket_that_is_none_is_refused_in_words() {
    let server = Server::demo();
    let backend = server.backend();
    for path in ["stream", "live", "anything"] {
        let uri = format!("ws://{}/v1/{path}?ticket=abc", server.http);
        let refused = Socket::try_open(&uri).err().expect("it is refused");
        assert_eq!(refused.status, 403, "{path}");
        let body: Value = serde_json::from_str(&refused.text()).unwrap();
        assert_eq!(body["errors"][0]["reason"], "Forbidden", "{body}");
    }
    // A stream's address is none of an event stream.
    let url = stream_url(&backend, &json!({}));
    let ticket = url.split_once("ticket=").unwrap().1;
    Request::get(format!("/v1/live?ticket={ticket}"))
        .send(server.http)
        .must_be(400);
    server.stop();
}

#[test]
fn live_queries_over_sockets_go_on_where_they_were() {
    let server = Server::demo();
    let backend = server.backend();
    let query = format!(
        "objectType=objects.notes&q={}",
        escape(r#"{"n":{"$gte":10}}"#)
    );
    let mut socket = live(&backend, &query);
    let begun = socket.hear_json();
    expect_word(&begun, "caught_up");
    let note = backend.create("notes", &json!({"n": 1}));
    let note = backend.update(&note, &json!({"n": 10}));
    let entered = socket.hear_json();
    expect_word(&entered, "enter");
    assert_eq!(entered["data"], note);
    let note = backend.update(&note, &json!({"n": 11}));
    let updated = socket.hear_json();
    expect_word(&updated, "update");
    let seq = text(&updated, "/seq");
    socket.close();

    backend.update(&note, &json!({"n": 3}));
    backend.create("notes", &json!({"n": 12}));
    let mut socket = live(&backend, &format!("{query}&since={seq}"));
    let left = socket.hear_json();
    expect_word(&left, "leave");
    assert_eq!(
        left["data"],
        json!({"id": note["id"], "objectType": "objects.notes"})
    );
    expect_word(&socket.hear_json(), "enter");
    expect_word(&socket.hear_json(), "caught_up");
    // Over a restart, too: the position is one of the data, not of the process.
    let seq = seq.clone();
    let urls = live_urls(&backend, &query);
    assert!(text(&urls, "/eventsUrl").starts_with(&format!("http://{}/v1/live?", server.http)));
    let mut again = live(&backend, &format!("{query}&since={seq}"));
    expect_word(&again.hear_json(), "leave");
    server.stop();
}

#[test]
fn a_position_outlives_a_restart_and_not_a_restored_backend() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut options = Options::serve();
        options.data = Some(folder.path().to_owned());
        Server::start(&options)
    };
    let server = start();
    let backend = server.cloud().create_backend("notes");
    let mut socket = live(&backend, "objectType=notes");
    let begun = socket.hear_json();
    let note = backend.create("notes", &json!({"n": 1}));
    expect_word(&socket.hear_json(), "enter");
    server.stop();
    assert_eq!(socket.hear(), Heard::Closed(1001));

    let server = start();
    let backend = Backend::new(server.http, &backend.id, &backend.token);
    let since = text(&begun, "/seq");
    let mut socket = live(&backend, &format!("objectType=notes&since={since}"));
    let entered = socket.hear_json();
    expect_word(&entered, "enter");
    assert_eq!(entered["data"]["id"], note["id"]);
    let number = since.split_once('-').unwrap().0;
    let mut other = live(
        &backend,
        &format!("objectType=notes&since={number}-deadbeef"),
    );
    expect_word(&other.hear_json(), "resync");
    server.stop();
}

#[test]
fn a_browsers_event_stream_is_one() {
    let server = Server::demo();
    let backend = server.backend();
    let url = text(&live_urls(&backend, "objectType=notes"), "/eventsUrl");
    let target = url.split_once("/v1/").unwrap().1;
    let mut connection = Connection::open(server.http);
    let request = Request::get(format!("/v1/{target}"))
        .header("Accept", "text/event-stream")
        .bytes(&server.http.to_string());
    connection.write(&request);
    let head = connection.head().unwrap();
    for line in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "Access-Control-Allow-Origin: *",
    ] {
        assert!(
            head.split("\r\n").any(|other| other == line),
            "{line} is not in {head}"
        );
    }
    let mut heard = String::new();
    let mut hear = |connection: &mut Connection, what: &str| {
        while !heard.contains(what) {
            heard.push(char::from(connection.exactly(1)[0]));
        }
    };
    hear(&mut connection, "event: caught_up\n");
    backend.create("notes", &json!({"n": 1}));
    hear(&mut connection, "event: enter\n");
    hear(&mut connection, "\"n\":1}}\n\n");
    server.stop();
}

/// Numbered writes by some, told to many: each hears every number once, in order.
fn nothing_is_missed(sockets: usize, filters: usize, writes: usize) {
    let server = Server::demo();
    let backend = server.backend();
    let note = backend.create("numbers", &json!({"n": 0}));
    let uri = |number: usize| {
        // As many different filters, all of which let everything pass.
        let q = escape(&json!({"n": {"$gt": -1 - (number % filters) as i64}}).to_string());
        text(
            &live_urls(&backend, &format!("objectType=numbers&q={q}")),
            "/webSocketUrl",
        )
    };
    let mut open: Vec<Socket> = (0..sockets)
        .map(|number| Socket::open(&uri(number)))
        .collect();
    for socket in &mut open {
        expect_word(&socket.hear_json(), "caught_up");
    }
    let before = server.resident_kib();
    thread::scope(|scope| {
        let parts = sockets.div_ceil(4);
        for part in open.chunks_mut(parts) {
            scope.spawn(move || {
                for socket in part {
                    for n in 1..=writes {
                        let message = socket.hear_json();
                        expect_word(&message, "update");
                        assert_eq!(message["data"]["n"], n, "{message}");
                    }
                }
            });
        }
        for n in 1..=writes {
            backend.update(&note, &json!({"n": n}));
        }
    });
    let grown = server.resident_kib().saturating_sub(before);
    assert!(
        grown < 64 << 10,
        "{grown} KiB for {sockets} sockets and {writes} writes"
    );
    server.stop();
}

#[test]
fn live_queries_miss_nothing_and_hear_nothing_twice() {
    let queries = live_queries();
    nothing_is_missed(queries, queries.div_ceil(5), 100);
}

/// How many queries are followed at once: a full run has many.
#[expect(
    clippy::disallowed_methods,
    reason = "a full run says from outside that it has the time"
)]
fn live_queries() -> usize {
    match std::env::var("PILVI_LIVE_QUERIES") {
        Ok(number) => number
            .parse()
            .expect("PILVI_LIVE_QUERIES is a whole number"),
        Err(_) => LIVE_QUERIES,
    }
}

/// Clients that come and go while others write: with what they hear and where they go on from, each ends with the
/// truth.
#[test]
fn whoever_comes_and_goes_ends_with_the_truth() {
    let server = Server::demo();
    let backend = server.backend();
    let http = server.http;
    let (id, token) = (backend.id.clone(), backend.token.clone());
    let writer = thread::spawn(move || {
        let backend = Backend::new(http, &id, &token);
        let mut notes: Vec<Value> = Vec::new();
        for n in 0..300 {
            match n % 5 {
                0 | 1 => notes.push(backend.create("moving", &json!({"n": n, "in": n % 2 == 0}))),
                4 => backend.delete(&notes.remove(n % notes.len())),
                _ => {
                    let place = n % notes.len();
                    notes[place] =
                        backend.update(&notes[place], &json!({"n": n, "in": n % 3 == 0}));
                }
            }
        }
        backend.create("moving", &json!({"in": true, "last": true}));
    });
    let query = format!("objectType=moving&q={}", escape(r#"{"in":true}"#));
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let mut since = String::new();
    let mut is_over = false;
    for round in 0.. {
        let resume = match since.as_str() {
            "" => format!("{query}&snapshot=true"),
            since => format!("{query}&since={since}"),
        };
        let mut socket = live(&backend, &resume);
        let mut heard = 0;
        // Everything up to a position that holds, then away in the middle of things.
        while !is_over && (heard < 7 + round % 5 || since.is_empty()) {
            let message = socket.hear_json();
            heard += 1;
            let object = &message["data"];
            match message["event"].as_str().unwrap() {
                "enter" => {
                    let before = known.insert(text(object, "/id"), object.clone());
                    assert_eq!(before, None, "it entered twice: {message}");
                }
                "update" => {
                    let before = known.insert(text(object, "/id"), object.clone());
                    assert!(before.is_some(), "it never entered: {message}");
                }
                "leave" => {
                    let before = known.remove(object["id"].as_str().unwrap());
                    assert!(before.is_some(), "it never entered: {message}");
                }
                "caught_up" => {}
                other => panic!("{other}"),
            }
            if let Some(seq) = message["seq"].as_str() {
                since = seq.to_owned();
            }
            is_over = object["last"] == true;
        }
        if is_over {
            break;
        }
    }
    writer.join().unwrap();
    let listed = format!(
        "/v1/objects/moving?limit=1000&q={}",
        escape(r#"{"in":true}"#)
    );
    let listed = backend.send(Request::get(listed)).must_be(200);
    let truth: BTreeMap<String, Value> = listed["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (text(object, "/id"), object.clone()))
        .collect();
    assert_eq!(known, truth);
    server.stop();
}

#[test]
fn a_slow_reader_is_sent_away_and_delays_nobody() {
    let server = Server::demo();
    let backend = server.backend();
    let mut slow = live(&backend, "objectType=large");
    let mut quick = live(&backend, "objectType=large");
    expect_word(&slow.hear_json(), "caught_up");
    expect_word(&quick.hear_json(), "caught_up");
    let filling = "x".repeat(256 << 10);
    for n in 0..64 {
        backend.create("large", &json!({"n": n, "filling": filling}));
        assert_eq!(quick.hear_json()["data"]["n"], n);
    }
    // It hears some, then that it was too slow; with the last position it gets the rest, or is told to read anew.
    let mut since = String::new();
    loop {
        match slow.hear() {
            Heard::Text(message) => {
                let message: Value = serde_json::from_str(&message).unwrap();
                since = text(&message, "/seq");
            }
            Heard::Closed(code) => {
                assert_eq!(code, 1013);
                break;
            }
        }
    }
    let mut again = live(&backend, &format!("objectType=large&since={since}"));
    let word = text(&again.hear_json(), "/event");
    assert!(["enter", "resync"].contains(&word.as_str()), "{word}");
    server.stop();
}

#[test]
fn a_session_that_ends_ends_its_socket() {
    let server = Server::demo();
    let backend = server.backend();
    let user = json!({"username": "ann", "password": "secret"});
    backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201);
    let login = json!({"username": "ann", "password": "secret", "grant_type": "password"});
    let tokens = backend
        .send(Request::post("/v1/auth/oauth2/token").json(&login))
        .must_be(200);
    let token = text(&tokens, "/access_token");
    let urls = backend
        .send(Request::get("/v1/live_url?objectType=notes").bearer(&token))
        .must_be(200);
    let mut socket = Socket::open(&text(&urls, "/webSocketUrl"));
    expect_word(&socket.hear_json(), "caught_up");
    backend
        .send(Request::post("/v1/auth/oauth2/revoke").json(&json!({"token": token})))
        .must_be(200);
    assert_eq!(socket.hear(), Heard::Closed(1008));
    let refused = Socket::try_open(&text(&urls, "/webSocketUrl"))
        .err()
        .unwrap();
    assert_eq!(refused.status, 401);
    server.stop();
}

#[test]
fn a_backend_that_is_deleted_ends_what_follows_it() {
    let server = Server::demo();
    let cloud = server.cloud();
    let backend = cloud.create_backend("short-lived");
    let mut socket = live(&backend, "objectType=notes");
    expect_word(&socket.hear_json(), "caught_up");
    let deleted = Request::delete(format!("/v1/instances/{}", backend.id));
    assert!(cloud.send(deleted).status < 300);
    assert_eq!(socket.hear(), Heard::Closed(1001));
    server.stop();
}

/// Who follows a type hears that its objects go with it, and of what comes under its name again.
#[test]
fn a_type_that_is_deleted_takes_its_objects_from_those_who_follow_it() {
    let server = Server::demo();
    let backend = server.backend();
    describe(&backend, "passing");
    let notes: Vec<Value> = (0..3)
        .map(|n| backend.create("passing", &json!({"title": n.to_string()})))
        .collect();
    let mut socket = live(
        &backend,
        &format!(
            "objectType=passing&q={}",
            escape(r#"{"title":{"$ne":"1"}}"#)
        ),
    );
    expect_word(&socket.hear_json(), "caught_up");
    let mut stream = Socket::open(&stream_url(&backend, &json!({"event": "delete"})));

    let kept = Request::delete("/v1/object_types/objects.passing");
    backend.send_as_admin(kept).must_be(409);
    let deleted = Request::delete("/v1/object_types/objects.passing?objects=true");
    let deleted = backend.send_as_admin(deleted).must_be(200);
    assert_eq!(deleted["objects"], 3);
    for note in [&notes[0], &notes[2]] {
        let left = socket.hear_json();
        expect_word(&left, "leave");
        assert_eq!(
            left["data"],
            json!({"id": note["id"], "objectType": "objects.passing", "deleted": true})
        );
    }
    for note in &notes {
        let message = stream.hear_json();
        expect_word(&message, "delete");
        assert_eq!(message["data"]["id"], note["id"]);
    }
    // The type begins anew with its next object, and is not streamed any more.
    let again = backend.create("passing", &json!({"title": "again"}));
    let entered = socket.hear_json();
    expect_word(&entered, "enter");
    assert_eq!(entered["data"], again);
    backend.delete(&again);
    expect_word(&socket.hear_json(), "leave");
    describe(&backend, "passing");
    let last = backend.create("passing", &json!({"title": "last"}));
    backend.delete(&last);
    assert_eq!(stream.hear_json()["data"]["id"], last["id"]);
    socket.close();
    stream.close();
    server.stop();
}
