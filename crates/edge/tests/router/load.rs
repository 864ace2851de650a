//! Many connections, and redeploys under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pilvi_base::TaskGroup;

use crate::apps::App;
use crate::world::{HOST, PATIENCE, World, eventually, get};

async fn version(world: &World, number: usize) -> Arc<App> {
    App::start(
        &world.tasks,
        &format!("web.{number}"),
        move |mut wire| async move {
            while let Some((_, body)) = wire.request().await {
                let text = format!("v{number} {}", body.len());
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ))
                .await;
            }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_at_once() {
    let world = World::default().await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(world.connect().await);
    }
    for _ in 0..2 {
        for client in &mut clients {
            client.send(get("/")).await;
        }
        for client in &mut clients {
            assert_eq!(client.response().await.1, b"ok");
        }
    }
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_redeploys_under_load_fail_no_request() {
    let world = World::default().await;
    let mut current = version(&world, 0).await;
    world.run(&current);
    let (over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let good = Arc::new(AtomicUsize::new(0));
    let load = TaskGroup::new();
    for turn in 0..16 {
        let good = good.clone();
        let (over, answered, mut client) = (over.clone(), answered.clone(), world.connect().await);
        load.spawn("load", async move {
            // Requests that may be repeated, and such that may not.
            let request = match turn % 2 {
                0 => get("/"),
                _ => format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"),
            };
            let length = if turn % 2 == 0 { "0" } else { "5" };
            while !over.load(Ordering::SeqCst) {
                client.send(&request).await;
                let (head, body) = client.response().await;
                assert!(
                    head.starts_with("HTTP/1.1 200 ") && body.ends_with(length.as_bytes()),
                    "{head}"
                );
                answered.fetch_add(1, Ordering::SeqCst);
            }
            good.fetch_add(1, Ordering::SeqCst);
        });
    }
    for number in 1..=20 {
        let before = answered.load(Ordering::SeqCst);
        eventually("requests are answered", || {
            answered.load(Ordering::SeqCst) > before + 50
        })
        .await;
        let next = version(&world, number).await;
        world.run(&next);
        let old = format!("web.{}", number - 1);
        assert!(world.edge.drained("app", &[old], PATIENCE).await);
        // Nothing of it is needed any more: it can be killed.
        let gone = current;
        eventually("no connection is left", || {
            gone.open.load(Ordering::SeqCst) == 0
        })
        .await;
        current = next;
    }
    over.store(true, Ordering::SeqCst);
    assert!(load.drain(PATIENCE).await);
    assert_eq!(
        good.load(Ordering::SeqCst),
        16,
        "every client got an answer to each of its requests"
    );
    assert_eq!(world.journal.count(), 0, "the app's log has no error");
    assert!(answered.load(Ordering::SeqCst) > 1000);
}
