//! A house that is full of sockets still answers, and has room again when some have left.

use std::time::Duration;

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::{Heard, Socket};
use pilvi_e2e::wait;
use serde_json::json;

/// Few enough that the house is soon full.
const FILES: u32 = 288;

/// More than may be open.
const TOO_MANY: usize = FILES as usize;

/// How long a place may take to become free once its client has gone.
const FREE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_full_house_still_answers_and_has_room_again_when_sockets_leave() {
    let server = Server::start(&Options {
        files: Some(FILES),
        ..Options::demo()
    });
    let gateway = server.gateway();
    let (mut sockets, uri) = fill(&gateway);
    let most = sockets.len();
    assert!(most > FILES as usize / 2, "no more than {most} sockets fit");

    // Requests are answered, also one whose message goes to all sockets.
    let backend = server.backend();
    let object = backend.create("todos", &json!({"title": "in a crowd"}));
    for socket in &mut sockets {
        let heard = socket.hear_json();
        assert_eq!(heard["object"]["id"], object["id"], "{heard}");
    }

    // What is kept for requests can be used up, too; then the answer is the same wherever one asks.
    let ask = |path: &str| Request::get(path).bytes(&server.http.to_string());
    let mut waiting = Vec::new();
    let refused = loop {
        assert!(waiting.len() < TOO_MANY);
        let mut connection = Connection::open(server.http);
        connection.try_write(&ask("/v1/ping"));
        match connection.reply() {
            reply if reply.status == 200 => waiting.push(connection),
            reply => break reply,
        }
    };
    must_say_later(&refused);
    assert!(!waiting.is_empty(), "requests have places of their own");
    waiting.clear();
    wait::until("an answer", FREE_WITHIN, || {
        (Request::get("/v1/ping").send(server.http).status == 200).then_some(())
    });

    // One goes, one comes; its URI was not used up when there was no room.
    sockets.pop().unwrap().close();
    let again = wait::until("a place", FREE_WITHIN, || Socket::try_open(&uri).ok());
    sockets.push(again);
    let update = json!({"title": "still a crowd"});
    backend.update(&object, &update);
    for socket in &mut sockets {
        assert_eq!(socket.hear_json()["object"]["title"], update["title"]);
    }

    // As many again as before, after all have left without a word.
    drop(sockets);
    let listed = || {
        let reply = gateway.send_as_admin(Request::get(gateway.path("sockets")));
        let all = reply.must_be(200)["results"].as_array().map(Vec::len);
        (all == Some(0)).then_some(())
    };
    wait::until("all sockets to be gone", FREE_WITHIN, listed);
    let (mut sockets, _) = fill(&gateway);
    // Descriptors of other things may have taken a low number meanwhile.
    assert!(sockets.len() + 8 >= most, "{} of {most}", sockets.len());
    let last = sockets.pop().unwrap();
    drop(sockets);
    server.stop();
    assert_eq!(heard_last(last), Heard::Closed(1001));
}

/// Opens sockets until there is no room, and returns them with the URI that could not be opened.
fn fill(gateway: &Gateway) -> (Vec<Socket>, String) {
    let mut sockets = Vec::new();
    loop {
        assert!(sockets.len() < TOO_MANY);
        let reply = gateway.send(&Request::get(gateway.path("websocket_uri")));
        let uri = text(&reply.must_be(200), "/uri");
        match Socket::try_open(&uri) {
            Ok(socket) => sockets.push(socket),
            Err(refused) => {
                must_say_later(&refused);
                return (sockets, uri);
            }
        }
    }
}

/// Expects a refusal in the documented shape, with a time to come back.
#[track_caller]
fn must_say_later(refused: &Reply) {
    let body = refused.must_be(503);
    assert!(body["error"]["message"].is_string(), "{body}");
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(refused.header("Connection"), Some("close"));
}

fn heard_last(mut socket: Socket) -> Heard {
    loop {
        match socket.hear() {
            Heard::Text(_) => {}
            closed @ Heard::Closed(_) => return closed,
        }
    }
}
