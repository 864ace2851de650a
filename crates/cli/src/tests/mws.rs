//! Gateways, what is sent to them, and who listens.

mod additions;
mod peer;

use serde_json::{Value, json};

use super::server::Server;
use super::{Desk, Seen};
use peer::Peer;

const ID: &str = "5417e5485a3d8b418a01adb7";
const KEY: &str = "7d31-security";

fn instance(config: &Value) -> Value {
    json!({
        "id": ID, "name": "live", "tags": [], "serviceProviderId": "mws", "datacenterId": "eu-1",
        "accountId": "46738209", "config": config, "createdAt": "2015-05-13T10:00:00Z",
    })
}

/// A server with one gateway.
fn server() -> Server {
    let server = Server::start();
    let address = server.address();
    let services = ["eds", "mws"].map(|id| json!({"id": id, "url": format!("http://{address}")}));
    let here = json!({"results": [{"id": "eu-1", "description": "Here", "services": services}]});
    let keys =
        json!({"results": [{"id": 3, "access_token": KEY, "createdAt": "2015-05-13T10:00:00Z"}]});
    let own = json!({"results": [instance(&json!({"accessControl": "custom"}))]});
    server
        .on("GET /v1/datacenters", 200, here)
        .on("GET /v1/accounts/46738209/instances?provider=mws", 200, own)
        .on(&format!("GET /v1/instances/{ID}/authorizations"), 200, keys)
}

fn on_gateway(server: Server, method: &str, below: &str, status: u16, body: Value) -> Server {
    server.on(&format!("{method} /v1/gateways/{ID}/{below}"), status, body)
}

fn types(server: &Server, words: &str) -> Seen {
    Desk::new().types(server, words)
}

#[test]
fn create_is_private_unless_asked_otherwise() {
    let made = instance(&json!({"accessControl": "custom"}));
    let server = server().on("POST /v1/accounts/46738209/instances", 201, made);
    assert_eq!(
        types(&server, "mws create live"),
        Seen::good(
            "Created the gateway 5417e5485a3d8b418a01adb7, called live.\n\
             It is private: only with its security token.\n\
             \n\
             Listen in one terminal and send from another:\n\
             \x20 pilvi mws --gateway 5417e5485a3d8b418a01adb7 listen\n\
             \x20 pilvi mws --gateway 5417e5485a3d8b418a01adb7 send Hello\n\
             Its security token, for your programs:\n\
             \x20 pilvi mws --gateway 5417e5485a3d8b418a01adb7 token\n"
        )
    );
    assert_eq!(
        server.only("POST").1["config"],
        json!({"accessControl": "custom"})
    );
}

#[test]
fn an_open_one_says_so() {
    let made = instance(&json!({"accessControl": "none"}));
    let server = server().on("POST /v1/accounts/46738209/instances", 201, made);
    let seen = types(&server, "mws create live --open");
    let said = "It is open: everybody who knows its id may send and listen.";
    assert_eq!(seen.out.lines().nth(1), Some(said));
    assert!(seen.err.starts_with("Leave out --open"), "{}", seen.err);
    assert_eq!(
        server.only("POST").1["config"],
        json!({"accessControl": "none"})
    );
}

#[test]
fn a_gateway_for_the_users_of_a_backend() {
    let backend = json!({"id": "532831a2698b3c6ae8091d6d", "name": "Notes"});
    let config = json!({
        "accessControl": "eds",
        "identityProvider": {"type": "eds", "backendId": "532831a2698b3c6ae8091d6d"},
    });
    let server = server()
        .on(
            "GET /v1/accounts/46738209/instances?provider=eds",
            200,
            json!({"results": [backend]}),
        )
        .on(
            "POST /v1/accounts/46738209/instances",
            201,
            instance(&config),
        );
    let seen = types(&server, "mws create live --users-of Notes");
    let said = "It is for the users of the data backend 532831a2698b3c6ae8091d6d.";
    assert_eq!(seen.out.lines().nth(1), Some(said));
    assert_eq!(server.only("POST").1["config"], config);
}

#[test]
fn show_tells_the_address_for_programs() {
    let server = server();
    let seen = types(&server, "mws show");
    let address = format!("Address     http://{}/v1/gateways/{ID}", server.address());
    assert!(seen.out.lines().any(|line| line == address), "{}", seen.out);
    assert_eq!(
        types(&server, "mws list"),
        Seen::good(
            "ID                        NAME  ACCESS   TAGS\n\
             5417e5485a3d8b418a01adb7  live  private\n"
        )
    );
}

#[test]
fn a_message_goes_to_everybody_or_to_whom_it_is_for() {
    let server = || on_gateway(server(), "POST", "messages", 201, json!({"data": "Hello"}));
    for (words, said, receivers) in [
        (
            "",
            "everybody who listens",
            json!({"sockets": ["*"], "tags": null}),
        ),
        (
            "--tag a --tag b",
            "the sockets with the tags a, b",
            json!({"sockets": [], "tags": ["a", "b"]}),
        ),
        (
            "--socket 1 --tag a",
            "the socket 1 and the sockets with the tag a",
            json!({"sockets": ["1"], "tags": ["a"]}),
        ),
    ] {
        let server = server();
        let seen = types(&server, &format!("mws send Hello {words}"));
        assert_eq!(seen, Seen::good(&format!("Sent to {said}.\n")));
        let (_, body) = server.only("POST");
        assert_eq!(body, json!({"data": "Hello", "receivers": receivers}));
        let asked = server.asked();
        let sent = asked
            .iter()
            .find(|asked| asked.what.starts_with("POST"))
            .unwrap();
        assert_eq!(sent.authorization, Some(format!("Bearer {KEY}")));
    }
}

#[test]
fn each_line_of_standard_input_is_a_message() {
    let server = on_gateway(server(), "POST", "messages", 201, json!({}));
    let desk = Desk::new().with_input("one\n\n two \n");
    assert_eq!(
        desk.types(&server, "mws send -"),
        Seen::good("Sent 2 messages to everybody who listens.\n")
    );
    let asked = server.asked();
    let sent = asked.iter().filter(|asked| asked.what.starts_with("POST"));
    let sent: Vec<Value> = sent
        .map(|asked| serde_json::from_str::<Value>(&asked.body).unwrap()["data"].clone())
        .collect();
    assert_eq!(sent, ["one", " two "]);
}

#[test]
fn sockets_are_listed_and_closed() {
    let sockets = json!({"results": [
        {"id": "abc", "connectedAt": "2015-05-13T10:00:00Z", "createdAt": "2015-05-13T10:00:00Z", "tags": ["a", "b"]},
    ]});
    let server = on_gateway(server(), "GET", "sockets?limit=100&offset=0", 200, sockets);
    let server = on_gateway(server, "DELETE", "sockets/abc", 200, json!({}));
    assert_eq!(
        types(&server, "mws sockets"),
        Seen::good("SOCKET  CONNECTED             TAGS\nabc     2015-05-13T10:00:00Z  a, b\n")
    );
    assert_eq!(types(&server, "mws close abc"), Seen::good("Closed abc.\n"));
    let seen = types(&server, "mws close abc def");
    assert_eq!(seen.code, 4);
    assert!(
        seen.err
            .starts_with("error: def was not closed (1 before it were): "),
        "{}",
        seen.err
    );
}

#[test]
fn the_configuration_is_told_and_changed() {
    let backend = json!({"id": "532831a2698b3c6ae8091d6d", "name": "Notes"});
    let config = json!({
        "name": "live", "accessControl": "eds",
        "identityProvider": {"type": "eds", "backendId": "532831a2698b3c6ae8091d6d"},
        "permissions": {"read": ["*"], "write": ["usergroups.532c410072fc38d95600000b"]},
    });
    let server = server().on(
        "GET /v1/accounts/46738209/instances?provider=eds",
        200,
        json!({"results": [backend]}),
    );
    let server = on_gateway(server, "GET", "configuration", 200, config.clone());
    let server = on_gateway(server, "PUT", "configuration", 200, config);
    let shown = "Name       live\n\
                 Access     users of the data backend 532831a2698b3c6ae8091d6d, and the security token\n\
                 Listening  every user\n\
                 Sending    usergroups.532c410072fc38d95600000b\n";
    assert_eq!(types(&server, "mws config"), Seen::good(shown));
    let words = "mws config set --users-of Notes --read everyone,users.5417e5485a3d8b418a01adb8";
    assert_eq!(types(&server, words), Seen::good(shown));
    assert_eq!(
        server.only("PUT").1,
        json!({
            "identityProvider": {"type": "eds", "backendId": "532831a2698b3c6ae8091d6d"},
            "permissions": {
                "read": ["*", "users.5417e5485a3d8b418a01adb8"],
                "write": ["usergroups.532c410072fc38d95600000b"],
            },
        })
    );
    assert_eq!(types(&server, "mws config set").code, 2);
}

/// A gateway whose sockets `peer` serves.
fn with_sockets(peer: &Peer) -> Server {
    let made =
        json!({"id": "abc", "tags": [], "expiresAt": "2015-05-13T10:00:00Z", "uri": peer.uri()});
    let anybody = json!({"tags": [], "expiresAt": "2015-05-13T10:00:00Z", "uri": peer.uri()});
    let server = on_gateway(server(), "POST", "sockets", 201, made);
    on_gateway(server, "GET", "websocket_uri", 200, anybody)
}

#[test]
fn listen_prints_messages_and_ends_after_so_many() {
    let peer = Peer::start([peer::say(&["one", "two\u{1b}[2J", "three"])]);
    let server = with_sockets(&peer);
    let seen = types(&server, "mws listen --tag a --count 2");
    // A file gets what was sent; only a terminal is spared.
    assert_eq!((seen.code, &*seen.out), (0, "one\ntwo\u{1b}[2J\n"));
    assert_eq!(
        seen.err,
        "Listening as abc, with the tags a. Ctrl-C ends it.\n"
    );
    assert_eq!(server.only("POST").1, json!({"tags": ["a"]}));
    assert_eq!(peer.heard(), ["close 1000"], "a goodbye is said");
}

#[test]
fn a_terminal_is_not_steered_by_messages() {
    let peer = Peer::start([peer::say(&["a\u{1b}[2Jb"])]);
    let mut desk = Desk::new();
    desk.look.width = Some(80);
    let seen = desk.types(&with_sockets(&peer), "mws listen --count 1");
    assert_eq!(seen.out, "a [2Jb\n");
}

#[test]
fn messages_are_lines_of_json() {
    let peer = Peer::start([peer::say(&["{\"a\":1}", "two\nlines"])]);
    let seen = types(&with_sockets(&peer), "mws listen --count 2 --json");
    assert_eq!(
        seen.out,
        "{\"data\":\"{\\\"a\\\":1}\"}\n{\"data\":\"two\\nlines\"}\n"
    );
}

#[test]
fn a_connection_that_is_lost_is_made_anew() {
    let peer = Peer::start([peer::say(&["one", peer::GOING_AWAY]), peer::say(&["two"])]);
    let server = with_sockets(&peer);
    let seen = types(&server, "mws listen --count 2");
    assert_eq!((seen.code, &*seen.out), (0, "one\ntwo\n"));
    assert_eq!(
        seen.err,
        "Listening as abc. Ctrl-C ends it.\n\
         the server closed the socket: going away; trying again in 1 s\n\
         Listening as abc. Ctrl-C ends it.\n"
    );
}

#[test]
fn once_means_once() {
    let peer = Peer::start([peer::say(&["one", peer::GOING_AWAY])]);
    let seen = types(&with_sockets(&peer), "mws listen --once");
    assert_eq!((seen.code, &*seen.out), (6, "one\n"));
    assert!(
        seen.err
            .contains("error: the server closed the socket: going away\n"),
        "{}",
        seen.err
    );
}

#[test]
fn a_socket_that_somebody_closes_stays_closed() {
    let peer = Peer::start([peer::say(&["one", peer::NORMAL])]);
    let seen = types(&with_sockets(&peer), "mws listen");
    assert_eq!((seen.code, &*seen.out), (5, "one\n"));
    assert!(
        seen.err.contains("error: somebody closed this socket\n"),
        "{}",
        seen.err
    );
}

#[test]
fn listening_as_nobody_asks_for_an_address_without_a_token() {
    let peer = Peer::start([peer::say(&["one"])]);
    let server = with_sockets(&peer);
    let seen = types(&server, "mws --anonymous listen --count 1");
    assert_eq!(seen.out, "one\n");
    let asked = server.asked();
    let found = asked
        .iter()
        .find(|asked| asked.what.ends_with("/websocket_uri"));
    assert_eq!(found.unwrap().authorization, None);
    assert_eq!(types(&server, "mws --anonymous listen --tag a").code, 2);
}

#[test]
fn an_address_that_is_none_is_not_repeated() {
    let made = json!({"id": "abc", "tags": [], "uri": "ftp://x/?token=hunter2"});
    let server = on_gateway(server(), "POST", "sockets", 201, made);
    let seen = types(&server, "mws listen");
    assert_eq!(seen.code, 1);
    assert!(!seen.err.contains("hunter2"), "{}", seen.err);
}
