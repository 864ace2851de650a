//! What the app sees, and what the client gets.

use crate::apps::App;
use crate::world::{HOST, World, get, last_get};

/// The head that the app saw, without what differs from run to run.
fn seen(response: &str) -> String {
    let (_, seen) = response.split_once("\r\n\r\n").unwrap();
    let lines = seen
        .split("\r\n")
        .map(|line| match line.strip_prefix("X-Forwarded-Port: ") {
            Some(_) => "X-Forwarded-Port: N",
            None => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_head_goes_on_with_what_the_app_needs_to_know() {
    let world = World::default().await;
    App::echoing(&world).await;
    let request = "GET /a%20b?c=\"d\" HTTP/1.1\r\nhost: App.localhost:8080\r\nAccept: */*\r\nX-Request-Id: abc-123\r\n\
         X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nCookie: a=b\r\n\
         Connection: close, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\n\
         Forwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n\
         X_Forwarded_For: 6.6.6.6\r\nX_Forwarded_Host: evil\r\nContent_Length: 7\r\nx_own: stays\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n";
    assert_eq!(
        seen(&world.ask(request).await),
        "GET /a%20b?c=\"d\" HTTP/1.1\nHost: App.localhost:8080\nAccept: */*\nCookie: a=b\nx_own: stays\n\
         Connection: TE\nTE: trailers\nX-Forwarded-For: 10.0.0.1, 127.0.0.1\nX-Forwarded-Proto: http\n\
         X-Forwarded-Port: N\nX-Request-Id: abc-123\n\n"
    );
}

#[tokio::test]
async fn what_must_arrive_cannot_be_listed_away() {
    let world = World::default().await;
    App::echoing(&world).await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nAuthorization: a\r\nX-Request-Id: no id!\r\n\
         Connection: close, Content-Length, Authorization, Host\r\n\r\nhi"
    );
    let seen = seen(&world.ask(&request).await);
    for line in [
        "\nContent-Length: 2\n",
        "\nAuthorization: a\n",
        "\nHost: app.localhost\n",
    ] {
        assert!(seen.contains(line), "{seen}");
    }
    assert!(seen.ends_with("\n\nhi"));
    let id = seen
        .lines()
        .find_map(|line| line.strip_prefix("X-Request-Id: "))
        .unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
}

#[tokio::test]
async fn requests_on_one_connection_have_ids_of_their_own() {
    let world = World::default().await;
    let app = App::echoing(&world).await;
    let mut client = world.connect().await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..3 {
        client.send(get("/")).await;
        let (_, body) = client.response().await;
        let text = String::from_utf8(body).unwrap();
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("X-Request-Id: "))
            .unwrap();
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 3);
    assert_eq!(
        app.dials.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "the connection was used again"
    );
}

#[tokio::test]
async fn a_response_keeps_its_headers_but_those_of_its_connection() {
    let world = World::default().await;
    App::answering(
        &world,
        "HTTP/1.1 299 Very Fine\r\nServer: own\r\nSet-Cookie: a\r\nset-cookie: b\r\nKeep-Alive: timeout=5\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(
        world.ask(&last_get("/")).await,
        "HTTP/1.1 299 Very Fine\r\nServer: own\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\nok"
    );
    let mut client = world.connect().await;
    client.send(get("/")).await;
    let (head, _) = client.response().await;
    assert!(!head.contains("Connection"), "{head}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::default().await;
    App::echoing(&world).await;
    let mut client = world.connect().await;
    client
        .send([get("/1"), get("/2"), last_get("/3")].concat())
        .await;
    let all = client.rest().await;
    let at = |path: &str| all.find(&format!("GET {path} ")).unwrap();
    assert!(at("/1") < at("/2") && at("/2") < at("/3"));
}

#[tokio::test]
async fn a_whole_address_as_target_outranks_the_host() {
    let world = World::default().await;
    App::echoing(&world).await;
    let response = world
        .ask("GET http://app.localhost:81/x?y HTTP/1.1\r\nHost: other.localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        seen(&response).starts_with("GET /x?y HTTP/1.1\nHost: app.localhost:81\nX-Forwarded"),
        "{response}"
    );
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let world = World::default().await;
    App::answering(
        &world,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    )
    .await;
    let response = world
        .ask("GET / HTTP/1.0\r\nHost: app.localhost\r\nConnection: keep-alive\r\n\r\n")
        .await;
    assert_eq!(
        response,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde"
    );

    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client
            .send("GET / HTTP/1.0\r\nHost: app.localhost\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let (head, body) = client.response().await;
        assert!(
            head.contains("Connection: keep-alive\r\n") && body == b"ok",
            "{head}"
        );
    }
}

#[tokio::test]
async fn an_app_of_http_1_0_is_served() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
            .await;
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send(get("/")).await;
        let head = client.until("\r\n\r\n").await;
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            client.until("0\r\n\r\n").await,
            "d\r\nuntil the end\r\n0\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        while let Some(head) = wire.head().await {
            let answer = match head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
            };
            wire.send(answer).await;
        }
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    client.send(get("/head").replace("GET", "HEAD")).await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    );
    client.send(get("/204")).await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    client.send(last_get("/304")).await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn interim_responses_come_before_the_one_that_counts() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        let head = wire.head().await.unwrap();
        assert!(head.contains("Expect: 100-continue\r\n"));
        wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            .await;
        while wire.read.len() < 4 {
            wire.more().await;
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        ))
        .await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    );
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("body").await;
    assert_eq!(client.response().await.1, b"ok");
}

#[tokio::test]
async fn a_head_for_nobody_here_goes_back_with_its_connection() {
    let world = World::default().await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = world.connect().await;
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, b"ok");
    client
        .send("GET /v1 HTTP/1.1\r\nHost: localhost:8080\r\n\r\nmore")
        .await;
    assert_eq!(
        client.rest().await,
        "NOT MINE: GET /v1 HTTP/1.1\r\nHost: localhost:8080\r\n\r\nmore"
    );
}
