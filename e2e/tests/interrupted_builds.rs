//! Builds that do not come to their end: nothing of them is left, and what ran before goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pilvi_e2e::app::{App, Source};
use pilvi_e2e::child::Client;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{skip, wait};

const SOON: Duration = Duration::from_secs(60);

/// A project whose build says in the cache that it has begun, and then takes its time.
const SLOW: &str =
    r#"{"scripts": {"build": "touch /tmp/cache/begun && sleep 1000", "start": "perl hello.pl"}}"#;

/// An app that runs, and a commit whose build does not end.
fn app_and_slow_commit(server: &Server) -> Option<(App, Source)> {
    // The stack is this machine's `/usr` without `/usr/local`.
    if !["node", "npm"]
        .iter()
        .all(|name| Path::new("/usr/bin").join(name).exists())
    {
        skip::report("node and npm are needed: as root, run apt-get install nodejs npm");
        return None;
    }
    let source = Source::of_example("hello-procfile")?;
    let app = App::create(server, "hello");
    app.deploy(&source);
    source.write("package.json", SLOW);
    Some((app, source))
}

fn options(data: &Path) -> Options {
    Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    }
}

/// The folders of builds under way, or left behind.
fn builds(data: &Path, app: &App) -> Vec<PathBuf> {
    let folder = data.join("mar").join(&app.id).join("builds");
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn begun(data: &Path, app: &App) {
    let mark = data.join("mar").join(&app.id).join("cache/begun");
    wait::until("the build to begin", SOON, || mark.exists().then_some(()));
    fs::remove_file(mark).unwrap();
    assert_eq!(builds(data, app).len(), 1);
}

fn must_still_serve(server: &Server, app: &App) {
    let answer = || {
        let reply = Request::get("/")
            .header("Host", app.host())
            .header("Connection", "close")
            .send(server.http);
        (reply.status == 200).then_some(reply)
    };
    let reply = wait::until("the app to answer", SOON, answer);
    assert!(
        reply.text().contains("Hello, world, from a Procfile"),
        "{}",
        reply.text()
    );
}

/// Pushes something that can be built.
fn must_deploy_again(server: &Server, app: &App, source: &Source) {
    source.write("package.json", r#"{"scripts": {"start": "perl hello.pl"}}"#);
    app.deploy(source);
    must_still_serve(server, app);
}

#[test]
fn a_build_ends_when_the_pusher_goes_away() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&options(data.path()));
    let Some((app, source)) = app_and_slow_commit(&server) else {
        return;
    };
    // To git and its helper alike, as Ctrl-C does. Where tests run in the background, SIGINT is ignored.
    let mut pusher = app
        .push_command(&source)
        .process_group(0)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    begun(data.path(), &app);
    let group = format!("-{}", pusher.id());
    let interrupted = Command::new("kill")
        .args(["-TERM", "--", &group])
        .status()
        .unwrap();
    assert!(interrupted.success());
    pusher.wait().unwrap();
    wait::until("the build to be cleared away", SOON, || {
        builds(data.path(), &app).is_empty().then_some(())
    });
    must_still_serve(&server, &app);
    must_deploy_again(&server, &app, &source);
    server.stop();
}

#[test]
fn a_build_that_was_under_way_when_the_server_was_killed_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&options(data.path()));
    let Some((app, source)) = app_and_slow_commit(&server) else {
        return;
    };
    let again = Options {
        http: server.http,
        https: server.https(),
        ..options(data.path())
    };
    let pusher = Client::start("git push", &mut app.push_command(&source));
    begun(data.path(), &app);
    server.kill();
    let ended = pusher.ended(SOON);
    assert!(!ended.status.success(), "{}", ended.report());

    let server = Server::start(&again);
    assert_eq!(builds(data.path(), &app), Vec::<PathBuf>::new());
    must_still_serve(&server, &app);
    must_deploy_again(&server, &app, &source);
    server.stop();
}
