//! What is said when there is nobody to answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pilvi_edge::{Absence, Route, Settings};

use crate::apps::App;
use crate::world::{HOST, World, get, last_get};

fn without_upstream(absence: Absence) -> Route {
    Route {
        app: "app".to_owned(),
        hosts: vec![HOST.to_owned()],
        upstreams: Vec::new(),
        absence,
        certificate: None,
    }
}

#[tokio::test]
async fn an_unknown_host_is_404() {
    let world = World::default().await;
    let response = world
        .ask("GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        response.starts_with("HTTP/1.1 404 Not Found\r\n"),
        "{response}"
    );
    assert!(response.contains("There is no app at this address."));
    assert_eq!(world.journal.count(), 0);
}

#[tokio::test]
async fn a_page_names_the_cause_in_the_form_the_client_reads() {
    let world = World::default().await;
    for (absence, code, words) in [
        (Absence::NeverDeployed, "H14", "Nothing has been deployed"),
        (Absence::ScaledToZero, "H14", "no web process"),
        (Absence::Stopped, "H14", "stopped by its owner"),
        (Absence::Crashed, "H10", "has crashed"),
    ] {
        world.edge.publish(without_upstream(absence));
        let json = world.ask(&last_get("/")).await;
        let (head, body) = json.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(
            body["error"]["message"].as_str().unwrap().contains(words),
            "{body}"
        );

        let page = last_get("/").replace("\r\n\r\n", "\r\nAccept: text/html,*/*\r\n\r\n");
        let page = world.ask(&page).await;
        assert!(
            page.contains("Content-Type: text/html") && page.contains(words),
            "{page}"
        );
        world
            .journal
            .with(&["app at=error", code, "status=503", "process=-"])
            .await;
    }
}

#[tokio::test]
async fn a_connection_survives_an_error_page() {
    let world = World::default().await;
    world.edge.publish(without_upstream(Absence::Crashed));
    let mut client = world.connect().await;
    client.send(get("/")).await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 503 "));
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, b"ok");
    client
        .send(
            get("/")
                .replace("GET", "HEAD")
                .replace(HOST, "nobody.localhost"),
        )
        .await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    client.send(get("/")).await;
    assert_eq!(client.response().await.1, b"ok");
}

#[tokio::test]
async fn a_request_waits_for_an_app_that_starts() {
    let world = World::default().await;
    world.edge.publish(without_upstream(Absence::Starting));
    let mut client = world.connect().await;
    client.send(get("/")).await;
    tokio::task::yield_now().await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.response().await.1, b"ok");
}

#[tokio::test]
async fn a_request_waits_only_so_long_for_an_app_that_starts() {
    let world = World::start(Settings {
        start_patience: Duration::from_millis(50),
        ..Settings::default()
    })
    .await;
    world.edge.publish(without_upstream(Absence::Starting));
    let response = world.ask(&last_get("/")).await;
    assert!(response.contains("\"code\":\"H20\""), "{response}");
}

#[tokio::test]
async fn an_app_that_takes_no_connection_is_503_and_one_that_says_nothing_502() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
    })
    .await;
    world.run(&app);
    let response = world.ask(&last_get("/x?secret=1")).await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    let line = world
        .journal
        .with(&["code=H13", "method=GET", "path=\"/x\"", "status=502"])
        .await;
    assert!(!line.contains("secret"), "{line}");

    app.refuses.store(true, Ordering::SeqCst);
    let response = world.ask(&last_get("/")).await;
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("H21"),
        "{response}"
    );
}

#[tokio::test]
async fn another_process_answers_for_one_that_takes_no_connection() {
    let world = World::default().await;
    let good = App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let bad = App::start(&world.tasks, "web.2", |_| async {}).await;
    bad.refuses.store(true, Ordering::SeqCst);
    world.publish(&[bad, good]);
    let mut client = world.connect().await;
    for _ in 0..4 {
        client.send(get("/")).await;
        assert_eq!(client.response().await.1, b"ok");
    }
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_given_up() {
    let world = World::start(Settings {
        request_timeout: Duration::from_millis(80),
        ..Settings::default()
    })
    .await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.gone().await;
    })
    .await;
    world.run(&app);
    let response = world
        .ask(&get("/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
        .await;
    assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
    world.journal.with(&["code=H12", "status=504"]).await;
    crate::world::eventually("the app is told", || app.open.load(Ordering::SeqCst) == 0).await;

    let slow = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            .await;
        wire.gone().await;
    })
    .await;
    world.publish(&[slow]);
    assert!(world.ask(&get("/")).await.ends_with("\r\n\r\nabc"));
    world.journal.with(&["code=H15", "status=200"]).await;
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_told_so_and_not_the_app_blamed() {
    let world = World::start(Settings {
        request_timeout: Duration::from_millis(80),
        ..Settings::default()
    })
    .await;
    App::echoing(&world).await;
    let response = world
        .ask(&format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nhalf"
        ))
        .await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    world.journal.with(&["code=H28", "status=408"]).await;
}

#[tokio::test]
async fn each_request_can_have_a_line() {
    let world = World::start(Settings {
        access_lines: true,
        ..Settings::default()
    })
    .await;
    App::answering(&world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    world.ask(&last_get("/a?b")).await;
    let line = world
        .journal
        .with(&["app at=info method=GET path=\"/a\" host=app.localhost request_id="])
        .await;
    assert!(
        line.contains("process=web.1") && line.contains("status=200 bytes=59 protocol=http"),
        "{line}"
    );
}
