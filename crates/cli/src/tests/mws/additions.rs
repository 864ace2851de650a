//! What gateways do beside carrying messages: events, presence, history, bytes and event streams.

use serde_json::{Value, json};

use super::super::server::Server;
use super::super::{Desk, Seen};
use super::peer::{self, Peer};
use super::{ID, on_gateway, server, types, with_sockets};

/// The configuration of a gateway that does everything.
fn config() -> Value {
    json!({
        "name": "live", "accessControl": "custom", "identityProvider": null, "permissions": null,
        "compression": true,
        "events": {"url": "https://app.example/hook", "events": ["connect", "message"]},
        "presence": {"tags": ["room.*", "lobby"]},
        "history": [
            {"tag": "room.*", "messages": 100, "bytes": 262_144, "seconds": 3600, "replay": 0},
            {"tag": "news", "messages": 5, "bytes": 1024, "seconds": 60, "replay": 5},
        ],
    })
}

/// A gateway that takes every configuration.
fn configurable(config: &Value) -> Server {
    let server = on_gateway(server(), "GET", "configuration", 200, config.clone());
    on_gateway(server, "PUT", "configuration", 200, config.clone())
}

#[test]
fn what_is_on_is_told_and_so_is_what_is_off() {
    assert_eq!(
        types(&configurable(&config()), "mws config"),
        Seen::good(
            "Name         live\n\
             Access       private: only with its security token\n\
             Compression  for clients that ask for it\n\
             Events       connect, message to https://app.example/hook\n\
             Presence     of room.*, lobby\n\
             History      of room.*: 100 messages, 256.0 KB, 3600 s\n\
             \x20            of news: 5 messages, 1.0 KB, 60 s; new sockets get the last 5\n"
        )
    );
    let off = json!({
        "name": "live", "accessControl": "custom", "compression": false,
        "events": null, "presence": null, "history": null,
    });
    assert_eq!(
        types(&configurable(&off), "mws config"),
        Seen::good(
            "Name         live\n\
             Access       private: only with its security token\n\
             Compression  off\n\
             Events       told to no app\n\
             Presence     told of no tag\n\
             History      nothing is kept\n"
        )
    );
}

#[test]
fn only_what_was_named_is_changed() {
    for (words, body) in [
        ("--compression on", json!({"compression": true})),
        ("--compression off", json!({"compression": false})),
        (
            "--presence lobby --presence room.*",
            json!({"presence": {"tags": ["lobby", "room.*"]}}),
        ),
        (
            "--history room.*,messages=10 --history news,replay=3",
            json!({"history": [{"tag": "room.*", "messages": 10}, {"tag": "news", "replay": 3}]}),
        ),
        (
            "--no-events --no-presence --no-history",
            json!({"events": null, "presence": null, "history": null}),
        ),
        // Who names another address leaves the list as it is, and the other way round.
        (
            "--events https://other.example",
            json!({"events": {"url": "https://other.example", "events": ["connect", "message"]}}),
        ),
        (
            "--event disconnect",
            json!({"events": {"url": "https://app.example/hook", "events": ["disconnect"]}}),
        ),
    ] {
        let server = configurable(&config());
        let seen = types(&server, &format!("mws config set {words}"));
        assert_eq!(seen.code, 0, "{words}: {}", seen.err);
        assert_eq!(server.only("PUT").1, body, "{words}");
    }
}

#[test]
fn events_need_an_address() {
    let server = configurable(&json!({"name": "live", "events": null}));
    let seen = types(&server, "mws config set --event message");
    let said =
        "error: there is no app that could be told\ntry: name its address with --events URL\n";
    assert_eq!(seen, Seen::bad(2, said));
    let seen = types(&server, "mws config set --events https://a.example");
    assert_eq!(seen.code, 0, "{}", seen.err);
    let all = json!({"events": {"url": "https://a.example"}});
    assert_eq!(server.only("PUT").1, all);
}

#[test]
fn a_secret_is_printed_alone() {
    let made = json!({"secret": "whsec_abc", "previousUntil": null});
    let server = on_gateway(server(), "POST", "events/secret", 201, made);
    let seen = types(&server, "mws events secret");
    assert_eq!((seen.code, &*seen.out), (0, "whsec_abc\n"));
    assert_eq!(
        seen.err,
        "Events are signed with this secret from now on. It is not shown again.\n"
    );
    assert_eq!(server.only("POST").1, json!({"overlapHours": null}));

    let made = json!({"secret": "whsec_abc", "previousUntil": "2015-05-14T10:00:00Z"});
    let server = on_gateway(super::server(), "POST", "events/secret", 201, made);
    let seen = types(&server, "mws events secret --overlap-hours 2");
    assert!(
        seen.err
            .contains("with the old one, too, until 2015-05-14T10:00:00Z"),
        "{}",
        seen.err
    );
    assert_eq!(server.only("POST").1, json!({"overlapHours": 2}));
}

#[test]
fn a_test_event_ends_as_the_app_answers() {
    let said = "The app answered 200 in 7 ms.\n";
    let unsigned = "It was not signed. Make a secret with: pilvi mws events secret\n";
    for (signed, note) in [(true, ""), (false, unsigned)] {
        let good = json!({"delivered": true, "status": 200, "durationMs": 7, "signed": signed});
        let answered = on_gateway(server(), "POST", "events/test", 200, good);
        let expected = Seen {
            err: note.into(),
            ..Seen::good(said)
        };
        assert_eq!(types(&answered, "mws events test"), expected);
    }
    let bad =
        json!({"delivered": false, "status": null, "durationMs": 2, "error": "nobody listens"});
    let nobody = || on_gateway(server(), "POST", "events/test", 200, bad.clone());
    let seen = types(&nobody(), "mws events test");
    assert_eq!(seen.code, 1);
    assert!(
        seen.err
            .starts_with("error: nobody took the event: nobody listens\n"),
        "{}",
        seen.err
    );
    let seen = types(&nobody(), "mws events test --json");
    assert_eq!(seen.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&seen.out).unwrap(), bad);
}

#[test]
fn who_is_there_is_listed() {
    let tags = json!({"results": [{"tag": "room.1", "count": 2}, {"tag": "lobby", "count": 1}]});
    let server = on_gateway(server(), "GET", "presence?limit=100&offset=0", 200, tags);
    let members = json!({"tag": "room.1", "count": 2, "results": [
        {"id": "m1", "user": "5417e5485a3d8b418a01adb8", "since": "2015-05-13T10:00:00Z", "socket": "abc"},
        {"id": "m2", "since": "2015-05-13T10:00:01Z", "socket": "def"},
    ]});
    let one = "presence?limit=2&offset=0&tag=room.1%2F%C3%A4";
    let server = on_gateway(server, "GET", one, 200, members);
    assert_eq!(
        types(&server, "mws presence"),
        Seen::good("TAG     COUNT\nroom.1  2\nlobby   1\n")
    );
    assert_eq!(
        types(&server, "mws presence room.1/ä --limit 2"),
        Seen {
            code: 0,
            out: "MEMBER  SINCE                 USER                      SOCKET\n\
                  m1      2015-05-13T10:00:00Z  5417e5485a3d8b418a01adb8  abc\n\
                  m2      2015-05-13T10:00:01Z                            def\n"
                .into(),
            err: "There may be more: --limit and --offset choose others.\n".into(),
        }
    );
}

#[test]
fn what_was_sent_is_listed() {
    let messages = |complete: bool| {
        json!({"complete": complete, "results": [
            {"id": "1-a", "at": "2015-05-13T10:00:00Z", "data": "two\nlines"},
            {"id": "1-b", "at": "2015-05-13T10:00:01Z", "data": "AAH/", "encoding": "base64"},
        ]})
    };
    let table = "ID   SENT                  MESSAGE\n\
                 1-a  2015-05-13T10:00:00Z  two lines\n\
                 1-b  2015-05-13T10:00:01Z  base64:AAH/\n";
    for (words, resource, complete, note) in [
        ("", "history?tag=news&limit=100", true, ""),
        (
            "-n 2",
            "history?tag=news&limit=2",
            false,
            "These are the latest: --limit shows more.\n",
        ),
        (
            "--after 1-0 -n 2",
            "history?tag=news&limit=2&after=1-0",
            true,
            "There may be more: go on with --after 1-b\n",
        ),
        (
            "--after 1-0",
            "history?tag=news&limit=100&after=1-0",
            false,
            "Some of what was sent in between is no longer kept.\n",
        ),
    ] {
        let server = on_gateway(server(), "GET", resource, 200, messages(complete));
        let expected = Seen {
            code: 0,
            out: table.into(),
            err: note.into(),
        };
        assert_eq!(
            types(&server, &format!("mws history news {words}")),
            expected
        );
    }
}

#[test]
fn a_socket_gets_other_tags() {
    let socket = json!({"id": "abc", "tags": ["a", "b"]});
    let server = on_gateway(server(), "PUT", "sockets/abc", 200, socket);
    assert_eq!(
        types(&server, "mws retag abc --tag a --tag b"),
        Seen::good("abc has the tags a, b now.\n")
    );
    assert_eq!(server.only("PUT").1, json!({"tags": ["a", "b"]}));
    let seen = types(&server, "mws retag other --none");
    assert_eq!(seen.code, 4);
    assert!(
        seen.err.contains("try: see `pilvi mws sockets`"),
        "{}",
        seen.err
    );
}

#[test]
fn bytes_are_sent_as_they_are() {
    let server = on_gateway(server(), "POST", "messages", 201, json!({}));
    let desk = Desk::new();
    let file = desk.path().join("bytes");
    std::fs::write(&file, [0, 1, 255]).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        desk.types_words(&server, &["mws", "send", "--binary", file, "--tag", "a"]),
        Seen::good("Sent to the sockets with the tag a.\n")
    );
    let expected = json!({
        "data": "AAH/", "encoding": "base64", "receivers": {"sockets": [], "tags": ["a"]},
    });
    assert_eq!(server.only("POST").1, expected);
}

#[test]
fn bytes_that_arrive_are_told_from_texts() {
    let peer = Peer::start([peer::say(&[peer::BYTES])]);
    let seen = types(&with_sockets(&peer), "mws listen --count 1");
    assert_eq!(seen.out, "base64:AAH/\n");
    let peer = Peer::start([peer::say(&[peer::BYTES])]);
    let seen = types(&with_sockets(&peer), "mws listen --count 1 --json");
    assert_eq!(
        serde_json::from_str::<Value>(&seen.out).unwrap(),
        json!({"data": "AAH/", "encoding": "base64"})
    );
}

#[test]
fn lines_are_sent_while_listening() {
    let peer = Peer::start([peer::say(&[peer::ECHO, peer::ECHO])]);
    let server = on_gateway(with_sockets(&peer), "GET", "configuration", 200, config());
    let desk = Desk::new().with_input("one\n\ntwo\n");
    let seen = desk.types(&server, "mws listen --send --count 2");
    assert_eq!((seen.code, &*seen.out), (0, "heard one\nheard two\n"));
    assert_eq!(peer.heard(), ["close 1000"]);
}

#[test]
fn lines_that_nobody_would_read_are_not_sent() {
    let quiet = json!({"events": {"url": "https://a.example", "events": ["connect"]}});
    for config in [json!({"events": null}), quiet] {
        let server = on_gateway(server(), "GET", "configuration", 200, config);
        let seen = types(&server, "mws listen --send");
        assert_eq!(seen.code, 5);
        let said = format!("error: {ID} tells no app what clients send, so nobody would read it\n");
        assert!(seen.err.starts_with(&said), "{}", seen.err);
    }
}

#[test]
fn a_socket_that_the_app_refuses_is_not_opened_again() {
    let peer = Peer::start([peer::say(&[peer::REFUSED])]);
    let seen = types(&with_sockets(&peer), "mws listen");
    assert_eq!(seen.code, 5);
    assert!(
        seen.err
            .contains("error: the gateway does not let this socket in: members only\n"),
        "{}",
        seen.err
    );
}

/// A gateway whose sockets are this event stream, which then ends.
fn with_stream(stream: &str) -> Server {
    let server = server();
    let uri = format!("ws://{}/?token=once", server.address());
    let made = json!({"id": "abc", "tags": [], "uri": uri});
    let server = on_gateway(server, "POST", "sockets", 201, made);
    server.on("GET /?token=once", 200, stream)
}

#[test]
fn an_event_stream_is_heard_like_a_socket() {
    let stream = ": here\n\nid: 1-a\ndata: one\n\nid: 1-b\nevent: binary\ndata: AAH/\n\n\
                  id: 1-c\ndata: two\ndata: lines\n\n";
    let server = with_stream(stream);
    let seen = types(&server, "mws listen --sse --count 3 --json");
    let heard: Vec<Value> = seen
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        heard,
        [
            json!({"data": "one", "id": "1-a"}),
            json!({"data": "AAH/", "encoding": "base64", "id": "1-b"}),
            json!({"data": "two\nlines", "id": "1-c"}),
        ]
    );
    assert_eq!(
        (seen.code, &*seen.err),
        (0, "Listening as abc. Ctrl-C ends it.\n")
    );
    let asked = server.asked();
    let opened = asked.iter().find(|asked| asked.what == "GET /?token=once");
    assert_eq!(opened.unwrap().authorization, None, "the token stays here");
}

#[test]
fn an_event_stream_says_goodbye_too() {
    let stream = "event: close\ndata: {\"code\":1000,\"reason\":\"\"}\n\n";
    let seen = types(&with_stream(stream), "mws listen --sse");
    assert_eq!(seen.code, 5);
    assert!(
        seen.err.contains("error: somebody closed this socket\n"),
        "{}",
        seen.err
    );
    let seen = types(&with_stream("data: one\n\n"), "mws listen --sse --once");
    assert_eq!((seen.code, &*seen.out), (6, "one\n"));
    assert!(
        seen.err.contains("error: the server ended the stream\n"),
        "{}",
        seen.err
    );
}
