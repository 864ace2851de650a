//! Qt 5's own classes against the server: our example, built as its README says, writes a todo and hears of it; and a
//! program of ours has the habits of the Qt library.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::text;
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::Socket;
use pilvi_e2e::{qt, shape};
use serde_json::{Value, json};

/// Longer than the example's own limit for a round.
const DONE_WITHIN: Duration = Duration::from_secs(60);

const TITLE: &str = "Grüße, 世界 & \"more\"";

#[test]
fn a_round_in_the_clear() {
    let server = Server::demo();
    if let Some(mut command) = todo_public() {
        command.args(["--round", &format!("http://{}", server.http), TITLE]);
        expect_round(&server, &mut command);
    }
    server.stop();
}

#[test]
fn a_round_over_tls() {
    let server = Server::demo();
    if let Some(mut command) = todo_public() {
        let url = format!("https://{}", server.https());
        command.args(["--round", "--ca", server.ca(), &url, TITLE]);
        expect_round(&server, &mut command);
    }
    server.stop();
}

#[test]
fn a_server_that_is_not_trusted_is_not_talked_to() {
    let server = Server::demo();
    if let Some(mut command) = todo_public() {
        command.args(["--round", &format!("https://{}", server.https()), TITLE]);
        let ended = run(&mut command);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.report());
        assert!(
            ended.errors.contains("SSL handshake failed"),
            "{}",
            ended.report()
        );
        assert!(ended.lines.is_empty(), "{}", ended.report());
    }
    server.stop();
}

/// Without `--round` it goes on listening: to other programs, and until the server says goodbye.
#[test]
fn what_others_do_is_heard() {
    let server = Server::demo();
    let Some(mut command) = todo_public() else {
        return;
    };
    let (backend, gateway) = (server.backend(), server.gateway());
    command.arg(format!("http://{}", server.http));
    command.args(["--backend", &backend.id, "--gateway", &gateway.id]);
    let mut listener = Client::start("todo-public", &mut command);
    listener.expect_line("connected", DONE_WITHIN);

    let todo = backend.create("todos", &json!({"title": TITLE, "completed": false}));
    backend.update(&todo, &json!({"completed": true}));
    backend.delete(&todo);
    let id = text(&todo, "/id");
    for what in [
        format!("heard create {id} [ ] {TITLE}"),
        format!("heard update {id} [x] {TITLE}"),
        format!("heard delete {id} [x] {TITLE}"),
    ] {
        listener.expect_line(&what, DONE_WITHIN);
    }
    server.stop();
    let ended = listener.ended(DONE_WITHIN);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.report());
    assert!(
        ended.errors.contains("(1001): going away"),
        "{}",
        ended.report()
    );
}

/// What each of these lines stands for is in `qt/enginio-habits/main.cpp`.
#[test]
fn the_habits_of_the_qt_library_are_put_up_with() {
    let server = Server::demo();
    let backend = server.backend();
    if let Some(program) = qt::enginio_habits(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        let mut command = Command::new(program);
        command.args([format!("http://{}", server.http), backend.id.clone()]);
        let ended = Client::start("enginio-habits", &mut command).ended(DONE_WITHIN);
        assert!(ended.status.success(), "{}", ended.report());
        assert_eq!(
            ended.lines,
            [
                "stale tokens",
                "whole objects",
                "count=",
                "a plus",
                "members",
                "access"
            ]
        );
        // It says so itself; here is what others see of it.
        let todos = backend.send(Request::get("/v1/objects/todos")).must_be(200);
        let titles: Vec<&Value> = shape::results(&todos)
            .iter()
            .map(|todo| &todo["title"])
            .collect();
        assert_eq!(titles, ["a+b", "a b"]);
        assert_eq!(todos["results"][0]["completed"], true);
    }
    server.stop();
}

/// The program goes through its round, and another socket hears that it wrote what it says.
#[track_caller]
fn expect_round(server: &Server, command: &mut Command) {
    let mut witness = server.gateway().connect();
    let ended = run(command);
    assert!(ended.status.success(), "{}", ended.report());
    assert_eq!(ended.errors, "");

    let created = hear(&mut witness, "create", false);
    let id = text(&created, "/id");
    assert_eq!(text(&hear(&mut witness, "update", true), "/id"), id);
    assert_eq!(text(&hear(&mut witness, "delete", true), "/id"), id);
    let mut lines = ended.lines;
    assert_eq!(lines.len(), 5, "{lines:?}");
    // The reply that tells the id and the message about the new todo come in any order.
    lines[1..3].sort();
    assert_eq!(
        lines,
        [
            "connected".to_owned(),
            format!("created {id}"),
            format!("heard create {id} [ ] {TITLE}"),
            format!("heard update {id} [x] {TITLE}"),
            format!("heard delete {id} [x] {TITLE}"),
        ]
    );
}

/// The object in the next message.
#[track_caller]
fn hear(witness: &mut Socket, event: &str, completed: bool) -> Value {
    let message = witness.hear_json();
    assert_eq!(message["meta"]["eventName"], event);
    assert_eq!(message["object"]["title"], TITLE);
    assert_eq!(message["object"]["completed"], completed);
    message["object"].clone()
}

#[track_caller]
fn run(command: &mut Command) -> Ended {
    Client::start("todo-public", command).ended(DONE_WITHIN)
}

#[track_caller]
fn todo_public() -> Option<Command> {
    let program = qt::todo_public(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut command = Command::new(program);
    // Titles are printed in the encoding of the locale.
    command.env("LC_ALL", "C.UTF-8");
    Some(command)
}
