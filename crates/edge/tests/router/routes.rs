//! Routes that change under the feet of requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilvi_edge::{Absence, Route, Settings, Upstream};
use tokio::sync::Semaphore;

use crate::apps::App;
use crate::world::{HOST, PATIENCE, World, eventually, get};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn hosts_have_one_spelling_and_one_owner() {
    let world = World::default().await;
    let edge = &world.edge;
    let route = |app: &str, hosts: &[&str]| Route {
        app: app.to_owned(),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        upstreams: Vec::new(),
        absence: Absence::NeverDeployed,
        certificate: None,
    };
    edge.publish(route("a", &["A.localhost", "www.example.org"]));
    for host in [
        "a.localhost",
        "A.LocalHost:8080",
        "a.localhost.",
        "www.example.org:443",
    ] {
        assert!(edge.owns(host) && edge.knows(host), "{host}");
    }
    for host in [
        "localhost",
        "localhost:80",
        ".localhost",
        "127.0.0.1:1",
        "[::1]:80",
        "example.org",
        "",
    ] {
        assert!(!edge.owns(host), "{host}");
    }
    let settings = Settings {
        reserved: vec!["API.localhost".to_owned()],
        ..Settings::default()
    };
    let other = World::start(settings).await.edge.clone();
    assert!(!other.owns("api.localhost:80") && other.owns("apis.localhost"));
    assert!(edge.owns("unknown.localhost") && !edge.knows("unknown.localhost"));

    edge.publish(route("b", &["b.localhost", "www.example.org"]));
    edge.publish(route("a", &["a.localhost"]));
    assert!(
        edge.knows("www.example.org"),
        "the new owner keeps it when the old one gives it up"
    );
    edge.withdraw("b");
    assert!(
        !edge.knows("b.localhost") && !edge.owns("www.example.org") && edge.knows("a.localhost")
    );
}

#[tokio::test]
async fn requests_are_spread_over_the_processes() {
    let world = World::default().await;
    let mut apps: Vec<Arc<dyn Upstream>> = Vec::new();
    for id in ["web.1", "web.2", "web.3"] {
        let app = App::start(&world.tasks, id, move |mut wire| async move {
            while wire.head().await.is_some() {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{id}"))
                    .await;
            }
        });
        apps.push(app.await);
    }
    world.publish(&apps);
    let mut client = world.connect().await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..9 {
        client.send(get("/")).await;
        *counts.entry(client.response().await.1).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [3, 3, 3]);
}

#[tokio::test]
async fn a_connection_that_the_app_has_closed_is_not_used_again() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send(OK).await;
    })
    .await;
    world.run(&app);
    let mut client = world.connect().await;
    for turn in 1..20 {
        client
            .send(get("/").replace("GET", if turn % 2 == 0 { "GET" } else { "DELETE" }))
            .await;
        assert_eq!(client.response().await.1, b"ok", "request {turn}");
    }
    eventually("all are closed", || app.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_request_that_crossed_with_the_closing_is_sent_again() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send(OK).await;
        // Reads the next request and closes, as a process does that has just decided to.
        wire.head().await;
    })
    .await;
    world.run(&app);
    let mut client = world.connect().await;
    for _ in 0..3 {
        // Leaves a connection behind that has been used once; one that carried a body is not left.
        client.send(get("/")).await;
        assert_eq!(client.response().await.1, b"ok");
        client
            .send(format!(
                "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"
            ))
            .await;
        assert_eq!(client.response().await.1, b"ok");
    }
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, b"ok");
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"
        ))
        .await;
    let (head, _) = client.response().await;
    assert!(
        head.starts_with("HTTP/1.1 502 "),
        "what may have been done is not done twice: {head}"
    );
}

#[tokio::test]
async fn a_resting_connection_is_closed_in_time() {
    let world = World::start(Settings {
        pool_idle_timeout: Duration::from_millis(40),
        ..Settings::default()
    })
    .await;
    let app = App::answering(&world, OK).await;
    let mut client = world.connect().await;
    client.send(get("/")).await;
    client.response().await;
    assert_eq!(app.open.load(Ordering::SeqCst), 1);
    eventually("it is closed", || app.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_removed_process_finishes_what_it_began() {
    let world = World::default().await;
    let gate = Arc::new(Semaphore::new(0));
    let waits = gate.clone();
    let old = App::start(&world.tasks, "web.1", move |mut wire| {
        let waits = waits.clone();
        async move {
            while wire.head().await.is_some() {
                waits.acquire().await.unwrap().forget();
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
                    .await;
            }
        }
    })
    .await;
    world.run(&old);
    let mut client = world.connect().await;
    client.send(get("/")).await;
    eventually("the request is there", || {
        old.open.load(Ordering::SeqCst) == 1
    })
    .await;

    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew").await;
    let mut other = world.connect().await;
    other.send(get("/")).await;
    assert_eq!(other.response().await.1, b"new");
    assert!(
        !world
            .edge
            .drained("app", &["web.1"], Duration::from_millis(20))
            .await
    );

    gate.add_permits(1);
    assert!(world.edge.drained("app", &["web.1"], PATIENCE).await);
    assert_eq!(client.response().await.1, b"old");
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, b"new");
    eventually("no connection to it is left", || {
        old.open.load(Ordering::SeqCst) == 0
    })
    .await;
    assert!(world.edge.drained("app", &["web.1"], Duration::ZERO).await);
}
