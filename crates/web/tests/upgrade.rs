//! A WebSocket's handshake, byte by byte.

mod common;

use common::{Answer, House, PATIENCE};
use pilvi_web::Limits;
use tokio::io::AsyncWriteExt;

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[tokio::test]
async fn the_handshake_is_spelled_as_old_clients_compare_it() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send(handshake("/?token=a b")).await;
    assert_eq!(wire.until("\r\n\r\n").await, ACCEPTED);
    assert_eq!(wire.until("||").await, "/?token=a%20b||");
    wire.send("frames").await;
    wire.0.shutdown().await.unwrap();
    assert_eq!(wire.rest().await, "frames");
}

#[tokio::test]
async fn bytes_sent_behind_the_handshake_are_handed_over() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    wire.send(handshake("/any/path?token=x") + "ahead").await;
    assert_eq!(wire.until("\r\n\r\n").await, ACCEPTED);
    assert_eq!(wire.until("|ahead|").await, "/any/path?token=x|ahead|");
}

#[tokio::test]
async fn an_upgrade_may_follow_other_requests() {
    let house = House::open().await;
    let mut wire = house.connect().await;
    let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\n\r\n";
    wire.send(get).await;
    assert_eq!(wire.reply().await.status, 200);
    wire.send(handshake("/?token=x")).await;
    assert_eq!(wire.until("\r\n\r\n").await, ACCEPTED);

    let mut wire = house.connect().await;
    wire.send([get, get, &handshake("/?token=x"), "ahead"].concat())
        .await;
    for _ in 0..2 {
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.header("Connection")), (200, None));
    }
    assert_eq!(wire.until("\r\n\r\n").await, ACCEPTED);
    assert_eq!(wire.until("|ahead|").await, "/?token=x|ahead|");
}

#[tokio::test]
async fn a_handshake_that_cannot_be_completed_is_refused_in_shape() {
    let house = House::open().await;
    let good = handshake("/?token=x");
    let table = [
        (good.replace("Version: 13", "Version: 8"), 426, Some("13")),
        (
            good.replace("Sec-WebSocket-Version: 13\r\n", ""),
            426,
            Some("13"),
        ),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400, None),
        (good.replace("Sec-WebSocket-Key", "X-Key"), 400, None),
        (
            good.replace("Host: h", "Host: h\r\nContent-Length: 2"),
            400,
            None,
        ),
        (handshake("/?token=full"), 503, None),
    ];
    for (request, status, version) in table {
        let reply = Answer::parse(&house.ask(&request).await);
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(reply.header("Sec-WebSocket-Version"), version, "{request}");
        assert_eq!(reply.header("Connection"), Some("close"));
        assert!(reply.json()["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn a_socket_keeps_the_place_of_its_connection_until_it_is_closed() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let house = House::with(limits, None).await;
    let mut socket = house.connect().await;
    socket.send(handshake("/?token=x")).await;
    assert_eq!(socket.until("\r\n\r\n").await, ACCEPTED);
    let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(Answer::parse(&house.ask(get).await).status, 503);
    socket.0.shutdown().await.unwrap();
    socket.rest().await;
    let again = async { while Answer::parse(&house.ask(get).await).status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn sockets_leave_the_last_descriptors_to_requests() {
    let limits = Limits {
        socket_files_max: 0,
        ..Limits::default()
    };
    let house = House::with(limits, None).await;
    let refused = Answer::parse(&house.ask(handshake("/?token=x")).await);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert!(refused.json()["error"]["message"].is_string());
    let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(Answer::parse(&house.ask(get).await).status, 200);
}
