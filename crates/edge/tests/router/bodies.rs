//! Bodies pass as they are, at the pace of whoever is slower.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::apps::App;
use crate::world::{HOST, World, eventually, get, last_get};

#[tokio::test]
async fn chunks_and_trailers_pass_as_they_are() {
    let world = World::default().await;
    App::echoing(&world).await;
    let body = "3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}"
    );
    let response = world.ask(&request).await;
    assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");

    App::answering(
        &world,
        format!("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
    )
    .await;
    assert_eq!(
        world.ask(&last_get("/")).await,
        format!(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}"
        )
    );
}

#[tokio::test]
async fn a_large_body_comes_out_whole_in_both_directions() {
    const SIZE: usize = 8 << 20;
    let world = World::default().await;
    App::echoing(&world).await;
    let body: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    let client = world.connect().await;
    let (read, mut write) = client.stream.into_split();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n"
    );
    let sent = body.clone();
    world.tasks.spawn("sender", async move {
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&sent).await.unwrap();
    });
    let mut all = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::BufReader::new(read), &mut all)
        .await
        .unwrap();
    assert!(all.ends_with(&body), "{} bytes came back", all.len());
}

#[tokio::test]
async fn a_client_that_reads_nothing_slows_the_app_down() {
    let world = World::default().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let app = App::start(&world.tasks, "web.1", move |mut wire| {
        let counter = counter.clone();
        async move {
            wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
                .await;
            loop {
                match wire.stream.write(&[b'x'; 64 << 10]).await {
                    Ok(written) => counter.fetch_add(written, Ordering::SeqCst),
                    Err(_) => return,
                };
            }
        }
    })
    .await;
    world.run(&app);
    let mut client = world.connect().await;
    client.send(get("/")).await;
    client.until("\r\n\r\n").await;
    // The app stops when what lies between is full: it does not write any more while the clock goes on.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 64 << 20, "{before} bytes are somewhere in between");
    drop(client);
    eventually("the app learns that the client has gone", || {
        app.open.load(Ordering::SeqCst) == 0
    })
    .await;
    world.journal.with(&["code=H27"]).await;
}

#[tokio::test]
async fn an_app_may_answer_before_it_has_read_everything() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
            .await;
        wire.gone().await;
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\nbegin"
        ))
        .await;
    let (head, body) = client.response().await;
    assert!(
        head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close"),
        "{head}"
    );
    assert_eq!(body, b"no!");
}

/// An app that answers every head with that head, and leaves bodies where they are.
async fn careless(world: &World) -> Arc<App> {
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        while let Some(head) = wire.head().await {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len());
            wire.send(answer + &head).await;
        }
    })
    .await;
    world.run(&app);
    app
}

#[tokio::test]
async fn what_an_app_leaves_of_a_body_is_nobodys_request() {
    let world = World::default().await;
    careless(&world).await;
    let stolen = "GET /stolen HTTP/1.1\r\nX-Ignored: x";
    let length = stolen.len();
    for (framing, body) in [
        (format!("Content-Length: {length}"), stolen.to_owned()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{length:x}\r\n{stolen}\r\n0\r\n\r\n"),
        ),
    ] {
        let (mut outsider, mut other) = (world.connect().await, world.connect().await);
        outsider
            .send(format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{body}"
            ))
            .await;
        let (_, seen) = outsider.response().await;
        assert!(seen.starts_with(b"POST / "));
        for client in [&mut other, &mut outsider] {
            client.send(get("/mine")).await;
            let (_, seen) = client.response().await;
            let seen = String::from_utf8(seen).unwrap();
            assert!(seen.starts_with("GET /mine HTTP/1.1\r\n"), "{seen}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_carried_no_body_is_used_again() {
    let world = World::default().await;
    let app = careless(&world).await;
    let mut client = world.connect().await;
    for head in ["GET / HTTP/1.1", "POST / HTTP/1.1\r\nContent-Length: 0"] {
        for _ in 0..2 {
            client.send(format!("{head}\r\nHost: {HOST}\r\n\r\n")).await;
            client.response().await;
        }
    }
    assert_eq!(app.dials.load(Ordering::SeqCst), 1);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx"
        ))
        .await;
    client.response().await;
    eventually("the connection that carried a body is closed", || {
        app.open.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn an_app_that_closes_while_the_body_comes_is_still_heard() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
            .await;
        wire.stream.shutdown().await.unwrap();
        wire.gone().await;
    })
    .await;
    world.publish(&[app]);
    let mut client = world.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
    for _ in 0..100 {
        if client.stream.write_all(b"5\r\nhello\r\n").await.is_err() {
            break;
        }
    }
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 400 Bad"), "{head}");
    assert_eq!(body, b"no!");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_seen_to_break_off() {
    let world = World::default().await;
    for (answer, got) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "abc"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "3\r\nabc\r\n",
        ),
    ] {
        let app = App::start(&world.tasks, "web.1", move |mut wire| async move {
            wire.head().await;
            wire.send(answer).await;
        })
        .await;
        world.publish(&[app]);
        let response = world.ask(&get("/")).await;
        assert!(response.ends_with(&format!("\r\n\r\n{got}")), "{response}");
    }
    world.journal.with(&["code=H18", "status=200"]).await;
}

#[tokio::test]
async fn a_client_that_has_finished_sending_gets_its_answers() {
    let world = World::default().await;
    App::echoing(&world).await;
    let mut client = world.connect().await;
    client.send([get("/half"), get("/too")].concat()).await;
    client.stream.shutdown().await.unwrap();
    let all = client.rest().await;
    assert!(
        all.contains("GET /half HTTP/1.1") && all.contains("GET /too HTTP/1.1"),
        "{all}"
    );
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_takes_the_request_along() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.gone().await;
    })
    .await;
    world.run(&app);
    let mut client = world.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\nbegin"
        ))
        .await;
    eventually("the app has the request", || {
        app.open.load(Ordering::SeqCst) == 1
    })
    .await;
    drop(client);
    eventually("the app is told", || app.open.load(Ordering::SeqCst) == 0).await;
}
