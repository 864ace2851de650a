//! What a server that is killed in the middle leaves behind, and what the next one makes of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{APP, Server, ended, processes_with, soon, until_said};
use pilvi_git::{Git, Repositories};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The hook's program as a server of its own, whose builds never end.
async fn daemon(server: &Server) -> (Child, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilvi-git-hook"));
    command
        .arg("serve")
        .arg(server.path("crash"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = soon("the daemon tells its port", lines.next_line())
        .await
        .unwrap()
        .unwrap();
    (child, port.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_build_leaves_the_repository_as_it_was() {
    let server = Server::start().await;
    server.work("work").await;
    let repository = server.path("crash/mar").join(APP).join("repository.git");
    let (mut first, port) = daemon(&server).await;
    let mut push = server.push_in_background("work", &format!("ssh://git@127.0.0.1:{port}/{APP}"));
    until_said(&mut push, "-----> Building").await;
    first.kill().await.unwrap();
    let (succeeded, said) = ended(push).await;
    assert!(!succeeded, "{said}");

    // Locks that a less lucky moment leaves behind.
    std::fs::create_dir_all(repository.join("refs/heads")).unwrap();
    std::fs::write(repository.join("refs/heads/master.lock"), "").unwrap();
    std::fs::write(repository.join("HEAD.lock"), "").unwrap();
    let (mut second, port) = daemon(&server).await;
    let mark = format!(
        "PILVI_REPOSITORY={}",
        repository.canonicalize().unwrap().display()
    );
    assert!(
        !processes_with(&mark),
        "a git of the killed server is still there"
    );
    let objects = std::fs::read_dir(repository.join("objects")).unwrap();
    for entry in objects {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with("incoming-"), "{name}");
    }
    let url = format!("ssh://git@127.0.0.1:{port}/{APP}");
    // The same commit is new to the repository, and another branch can be stored.
    server.ok("work", &["push", &url, "master:feature"]).await;
    let mut push = server.push_in_background("work", &url);
    until_said(&mut push, "-----> Building").await;
    second.kill().await.unwrap();
    assert!(!ended(push).await.0);
    let checked = server
        .git(".", &["--git-dir"])
        .arg(&repository)
        .args(["fsck", "--full"])
        .output()
        .await;
    assert!(checked.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_cannot_be_run_stops_the_start() {
    let server = Server::start().await;
    let repositories = Repositories::open(&server.path("other")).unwrap();
    let settings = pilvi_git::Settings {
        program: vec!["/bin/false".into()],
        ..common::git_settings(&server.path("other"), pilvi_git::Limits::default())
    };
    let started = Git::start(
        settings,
        repositories,
        server.gatekeeper.clone(),
        server.deployer.clone(),
        server.tasks.clone(),
    );
    let error = started.await.err().unwrap().to_string();
    assert!(error.contains("cannot be run"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_without_a_server_rejects_the_push() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master:feature"])
        .await;
    // A push into the repository's folder, past the server.
    let repository = server.path("mar").join(APP).join("repository.git");
    let hooks = server.path("git/hooks");
    let pack = format!("git -c core.hooksPath={} receive-pack", hooks.display());
    let mut command = server.git("work", &["push", "--receive-pack", &pack]);
    command.arg(&repository).arg("master");
    let outcome = soon("a push", command.output()).await.unwrap();
    assert!(!outcome.status.success(), "{}", common::said(&outcome));
    assert!(common::said(&outcome).contains("pre-receive hook declined"));
    assert!(
        tokio::time::timeout(Duration::ZERO, server.deployer.begun.acquire())
            .await
            .is_err()
    );
}
