//! The SSH door, from outside: who is let in, and what else than git is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{APP, Mood, Server, ended, kill_all, said, soon, until_said};
use pilvi_git::{Limits, SshLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// `ssh` with this key and these words behind the options.
fn ssh(server: &Server, key: &str, words: &[&str]) -> Command {
    let line = server.ssh_command(key);
    let mut parts = line.split(' ');
    let mut command = Command::new(parts.next().unwrap());
    command
        .args(parts)
        .args(["-p", &server.ssh.port().to_string()])
        .args(words)
        .env("HOME", server.folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What `ssh` says, and its exit code.
async fn run(server: &Server, key: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = ssh(server, key, words).output();
    let outcome = soon("ssh ends", output).await.unwrap();
    (outcome.status.code(), said(&outcome))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_command_there_is_a_friendly_sentence() {
    let server = Server::start().await;
    let (code, said) = run(&server, "id", &["git@127.0.0.1"]).await;
    assert_eq!(code, Some(128));
    assert!(
        said.contains("Hello ada@example.org! Your key is known here."),
        "{said}"
    );
    // Whoever insists on a terminal gets none.
    let (code, said) = run(&server, "id", &["-tt", "git@127.0.0.1"]).await;
    assert_eq!(code, Some(255), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_gits_two_programs_are_run() {
    let server = Server::start().await;
    for line in [
        "ls -la",
        "sh",
        "git-receive-pack '../../etc'",
        "git-receive-pack 'a'; touch owned",
        "git-shell",
        "git-upload-archive 'mar-eu-1-twwto7g0'",
        "git-lfs-authenticate a download",
        "scp -t /tmp",
    ] {
        let (code, said) = run(&server, "id", &["git@127.0.0.1", line]).await;
        assert_eq!(code, Some(128), "{line}");
        assert!(said.trim_end().ends_with('.'), "{line}: {said}");
    }
    let (code, _) = run(&server, "id", &["-s", "git@127.0.0.1", "sftp"]).await;
    assert_eq!(code, Some(255));
    let arguments = ["archive", "--remote", &server.ssh_url(), "master"];
    let said = server.fails(".", &arguments).await;
    assert!(said.contains("git archive is not served here."), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_key_that_is_known() {
    let server = Server::start().await;
    server.make_key("unknown", &["-t", "ed25519"]).await;
    for (key, user, options) in [
        ("unknown", "git", vec![]),
        ("id", "root", vec![]),
        ("id", "ada", vec![]),
        ("id", "git", vec!["-o", "PreferredAuthentications=password"]),
        (
            "id",
            "git",
            vec!["-o", "PreferredAuthentications=keyboard-interactive,none"],
        ),
    ] {
        let address = format!("{user}@127.0.0.1");
        let words = [options, vec![address.as_str(), "git-receive-pack 'a'"]].concat();
        let (code, said) = run(&server, key, &words).await;
        assert_eq!(code, Some(255), "{words:?}");
        assert!(
            said.contains("Permission denied (publickey)"),
            "{words:?}: {said}"
        );
    }
    // A key that was removed is refused the next time.
    server.gatekeeper.keys.lock().unwrap().clear();
    let (code, _) = run(&server, "id", &["git@127.0.0.1"]).await;
    assert_eq!(code, Some(255));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_strong_key_opens_the_door_and_no_sha_1_does() {
    let server = Server::start().await;
    for (name, arguments) in [
        ("rsa", vec!["-t", "rsa", "-b", "2048"]),
        ("p256", vec!["-t", "ecdsa", "-b", "256"]),
        ("p384", vec!["-t", "ecdsa", "-b", "384"]),
        ("p521", vec!["-t", "ecdsa", "-b", "521"]),
    ] {
        server.make_key(name, &arguments).await;
        server.let_in(name);
        let (code, said) = run(&server, name, &["git@127.0.0.1"]).await;
        assert_eq!(code, Some(128), "{name}: {said}");
    }
    let old = ["-o", "PubkeyAcceptedAlgorithms=ssh-rsa", "git@127.0.0.1"];
    assert_eq!(run(&server, "rsa", &old).await.0, Some(255));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_learn_the_fingerprint_that_the_server_tells() {
    let server = Server::start().await;
    run(&server, "id", &["git@127.0.0.1"]).await;
    let mut command = Command::new("ssh-keygen");
    let outcome = command
        .arg("-lf")
        .arg(server.path("known_hosts"))
        .output()
        .await
        .unwrap();
    let listed = said(&outcome);
    assert!(listed.contains(&server.fingerprint), "{listed}");
    assert!(listed.contains("ED25519"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forwarded() {
    let server = Server::start().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    // `-W` asks for a connection from the server to somewhere, and speaks through it.
    let (code, said) = run(
        &server,
        "id",
        &["-W", &format!("127.0.0.1:{port}"), "git@127.0.0.1"],
    )
    .await;
    assert_eq!(code, Some(255));
    assert!(said.contains("forwarding failed"), "{said}");
    let arguments = [
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        "0:127.0.0.1:1",
        "git@127.0.0.1",
    ];
    let (code, said) = run(&server, "id", &arguments).await;
    assert_eq!(code, Some(255), "{said}");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), target.accept())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_nothing_is_closed() {
    let limits = SshLimits {
        idle_timeout: Duration::from_millis(300),
        login_timeout: Duration::from_millis(600),
        ..SshLimits::default()
    };
    let server = Server::with(Limits::default(), limits).await;
    // Somebody who is known and asks for nothing.
    let (code, _) = run(&server, "id", &["-N", "git@127.0.0.1"]).await;
    assert_eq!(code, Some(255));
    // Somebody who says nothing at all, and somebody who stops after the greeting.
    for greeting in ["", "SSH-2.0-Test\r\n"] {
        let mut stream = TcpStream::connect(server.ssh).await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // A reset is an end as well.
        let _ = soon("the server hangs up", stream.read_to_end(&mut all)).await;
        assert!(all.starts_with(b"SSH-2.0-Pilvi\r\n"));
    }
    // A push that takes longer than that goes on.
    server.work("work").await;
    server.mood(Mood::Wait);
    let mut push = server.push_in_background("work", &server.ssh_url());
    until_said(&mut push, "-----> Building").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    server.deployer.go.notify_one();
    let (succeeded, said) = ended(push).await;
    assert!(succeeded, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_room_comes_back() {
    let limits = SshLimits {
        connections_per_address_max: 1,
        ..SshLimits::default()
    };
    let server = Server::with(Limits::default(), limits).await;
    let mut first = TcpStream::connect(server.ssh).await.unwrap();
    let mut greeting = [0; 15];
    first.read_exact(&mut greeting).await.unwrap();
    let (code, _) = run(&server, "id", &["git@127.0.0.1"]).await;
    assert_eq!(code, Some(255));
    drop(first);
    soon("there is room again", async {
        while run(&server, "id", &["git@127.0.0.1"]).await.0 != Some(128) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_may_be_tried_are_bounded() {
    let limits = SshLimits {
        attempts_max: 2,
        ..SshLimits::default()
    };
    let server = Server::with(Limits::default(), limits).await;
    let mut words = Vec::new();
    for name in ["a", "b", "c", "d"] {
        server.make_key(name, &["-t", "ed25519"]).await;
        words.extend(["-i".to_owned(), server.path(name).display().to_string()]);
    }
    words.extend(["-i".to_owned(), server.path("id").display().to_string()]);
    words.push("git@127.0.0.1".to_owned());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (code, said) = run(&server, "a", &words).await;
    assert_eq!(code, Some(255), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_one_connection_are_bounded_and_each_ends_by_itself() {
    let limits = SshLimits {
        channels_max: 1,
        ..SshLimits::default()
    };
    let server = Server::with(Limits::default(), limits).await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let control = server.path("control").display().to_string();
    let shared = format!(
        "{} -o ControlMaster=auto -o ControlPath={control}",
        server.ssh_command("id")
    );
    let mut command = server.git("work", &["push", &server.ssh_url(), "master"]);
    command.env("GIT_SSH_COMMAND", &shared);
    let mut push = command
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    until_said(&mut push, "-----> Building").await;
    let path = format!("ControlPath={control}");
    let (_, said) = run(&server, "id", &["-o", &path, "git@127.0.0.1", "ls"]).await;
    assert!(
        said.contains("refused") || said.contains("open failed"),
        "{said}"
    );
    server.deployer.go.notify_one();
    assert!(ended(push).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_without_a_word_is_noticed() {
    let limits = SshLimits {
        keepalive_interval: Duration::from_millis(100),
        ..SshLimits::default()
    };
    let server = Server::with(Limits::default(), limits).await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let mut push = server.push_in_background("work", &server.ssh_url());
    until_said(&mut push, "-----> Building").await;
    // A stopped process keeps its connection open and answers nothing.
    let group = rustix::process::Pid::from_raw(i32::try_from(push.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::STOP).unwrap();
    let abandoned = soon(
        "the build is abandoned",
        server.deployer.abandoned.acquire(),
    )
    .await;
    abandoned.unwrap().forget();
    kill_all(&mut push).await;
    server.quiet().await;
    assert_eq!(server.served("refs/heads/master").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_to_git_is_parted_from_it() {
    let limits = Limits {
        stall_timeout: Duration::from_millis(300),
        farewell: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    let line = format!("git-receive-pack '{APP}'");
    let mut command = ssh(&server, "id", &["git@127.0.0.1", &line]);
    // The way to the server stays open and silent.
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let stdin = child.stdin.take();
    let (succeeded, said) = ended(child).await;
    assert!(!succeeded, "{said}");
    drop(stdin);
    server.quiet().await;
}
