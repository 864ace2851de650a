//! Clones and fetches by the real `git`, through both doors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{APP, Server, said};

/// What a client said and heard, packet by packet.
async fn traced(server: &Server, folder: &str, arguments: &[&str]) -> String {
    let mut command = server.git(folder, arguments);
    command.env("GIT_TRACE_PACKET", "1");
    let outcome = command.output().await.unwrap();
    assert!(outcome.status.success(), "{}", said(&outcome));
    said(&outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_what_was_pushed_in_every_version_of_the_protocol() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    let head = server.head_of("work").await;
    for (number, url) in server.urls().iter().enumerate() {
        for version in ["0", "1", "2"] {
            let name = format!("clone-{number}-{version}");
            let version = format!("protocol.version={version}");
            let trace = traced(&server, ".", &["-c", &version, "clone", "-q", url, &name]).await;
            assert_eq!(server.head_of(&name).await, head);
            let is_second = trace.contains("< version 2");
            assert_eq!(is_second, version.ends_with('2'), "{version} {trace}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_fetched_also_by_a_shallow_clone() {
    let server = Server::start().await;
    server.work("work").await;
    // So much history that the question of a fetch is long enough to be sent compressed.
    for number in 0..60 {
        let text = number.to_string();
        server
            .ok("work", &["commit", "-q", "--allow-empty", "-m", &text])
            .await;
    }
    server
        .ok("work", &["push", &server.http_url(), "master"])
        .await;
    for (number, url) in server.urls().iter().enumerate() {
        let (deep, shallow) = (format!("deep{number}"), format!("shallow{number}"));
        server.ok(".", &["clone", "-q", url, &deep]).await;
        for text in 0..60 {
            let text = text.to_string();
            server
                .ok(&deep, &["commit", "-q", "--allow-empty", "-m", &text])
                .await;
        }
        server
            .ok(".", &["clone", "-q", "--depth", "1", url, &shallow])
            .await;
        server.commit("work", "new.txt", url).await;
        server.ok("work", &["push", url, "master"]).await;
        server.ok(&deep, &["fetch", "-q", "origin"]).await;
        server.ok(&shallow, &["pull", "-q", "--ff-only"]).await;
        let head = server.head_of("work").await;
        let fetched = server.ok(&deep, &["rev-parse", "origin/master"]).await;
        assert_eq!(fetched.trim(), head);
        assert_eq!(server.head_of(&shallow).await, head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_push_can_be_cloned_and_is_empty() {
    let server = Server::start().await;
    for (number, url) in server.urls().iter().enumerate() {
        let name = format!("clone{number}");
        let said = server.ok(".", &["clone", url, &name]).await;
        assert!(said.contains("empty repository"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_fetches_and_is_told_why_a_push_is_refused() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    *server.gatekeeper.read_only.lock().unwrap() = true;
    server.commit("work", "more.txt", "more").await;
    for url in server.urls() {
        server.ok("work", &["fetch", &url, "master"]).await;
        let said = server.fails("work", &["push", &url, "master"]).await;
        assert!(
            said.contains("Your role may not push to this app."),
            "{said}"
        );
    }
    assert_eq!(server.deployed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_there_is_told_in_words() {
    let server = Server::start().await;
    server.work("work").await;
    for url in server.urls() {
        let other = url.replace(APP, "mar-eu-1-00000000");
        for arguments in [["push", &other, "master"], ["fetch", &other, "master"]] {
            let said = server.fails("work", &arguments).await;
            assert!(
                said.contains("There is no app mar-eu-1-00000000."),
                "{said}"
            );
        }
        let strange = url.replace(APP, "..%2F..");
        server.fails("work", &["fetch", &strange, "master"]).await;
    }
    assert!(!server.path("mar/mar-eu-1-00000000").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_an_address_lead_to_the_app() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    for url in server.urls() {
        for spelled in [
            format!("{url}.git"),
            format!("{url}/"),
            format!("{url}.git/"),
        ] {
            server.ok("work", &["fetch", &spelled, "master"]).await;
        }
    }
    // The classic form has no place for a port, so the port is in the command.
    let command = format!("{} -p {}", server.ssh_command("id"), server.ssh.port());
    for path in [APP.to_owned(), format!("{APP}.git"), format!("/{APP}")] {
        let mut fetch = server.git(
            "work",
            &["fetch", &format!("git@127.0.0.1:{path}"), "master"],
        );
        let outcome = fetch
            .env("GIT_SSH_COMMAND", &command)
            .output()
            .await
            .unwrap();
        assert!(outcome.status.success(), "{path}: {}", said(&outcome));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_whole_or_an_error() {
    use tokio::io::AsyncReadExt;
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    let head = server.head_of("work").await;
    let none = pilvi_git::Quarantine::default();
    let mut tar = Vec::new();
    let mut archive = server.repositories.archive(APP, &head, &none).unwrap();
    archive.read_to_end(&mut tar).await.unwrap();
    assert!(tar.len() > 1024);
    let missing = "1".repeat(40);
    let mut archive = server.repositories.archive(APP, &missing, &none).unwrap();
    let error = archive.read_to_end(&mut tar).await.unwrap_err();
    assert!(error.to_string().contains("git failed"), "{error}");
    for wrong in ["master", "--output=/tmp/x", ""] {
        assert!(server.repositories.archive(APP, wrong, &none).is_err());
    }
    assert!(server.repositories.archive("../x", &head, &none).is_err());
}
