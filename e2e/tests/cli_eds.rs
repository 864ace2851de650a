//! `pilvi eds …` against a real server, with writers and receivers of other kinds beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{node, shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);

/// Makes a data backend and returns it with its security token.
#[track_caller]
fn create(server: &Server, cli: &Cli, words: &[&str]) -> Backend {
    let made = cli.json(&[&["eds", "create"], words].concat());
    let id = text(&made, "/id");
    let token = cli.run(&["eds", "--backend", &id, "token"]).lines;
    Backend::new(server.http, &id, &token[0])
}

#[track_caller]
fn run(cli: &Cli, words: &[&str]) -> Vec<String> {
    cli.run(&[&["eds"], words].concat()).lines
}

#[track_caller]
fn json(cli: &Cli, words: &[&str]) -> Value {
    cli.json(&[&["eds"], words].concat())
}

/// Runs a command with this on standard input.
#[track_caller]
fn run_with_input(cli: &Cli, words: &[&str], input: &str) -> Ended {
    let words = [&["eds"], words].concat();
    let mut client = Client::start(
        &format!("pilvi {}", words.join(" ")),
        &mut cli.command(&words),
    );
    input.lines().for_each(|line| client.say(line));
    client.ended(WITHIN)
}

/// Runs a command that prints more than a client that is talked to may.
#[track_caller]
fn many_lines(cli: &Cli, words: &[&str]) -> Vec<String> {
    let words = [&["eds"], words].concat();
    let output = cli.command(&words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_backend_is_private_unless_it_is_meant_to_be_open() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let closed = create(&server, &cli, &["closed"]);
    let insert = Request::post("/v1/objects/notes").json(&json!({"text": "x"}));
    assert_eq!(closed.send(insert).status, 401);
    fails(
        &cli,
        &[
            "eds",
            "--backend",
            "closed",
            "--anonymous",
            "insert",
            "notes",
            "text=x",
        ],
        3,
    );

    let printed = run(&cli, &["create", "open", "--open"]);
    let said = "It is open: everybody who knows its id may read and change everything in it.";
    assert!(printed.contains(&said.to_owned()), "{printed:?}");
    run(
        &cli,
        &[
            "--backend",
            "open",
            "--anonymous",
            "insert",
            "notes",
            "text=x",
        ],
    );
    let listed = run(&cli, &["list"]);
    for (name, access) in [("closed", "private"), ("open", "open")] {
        let line = listed.iter().find(|line| line.contains(name)).unwrap();
        assert_eq!(line.split_whitespace().last(), Some(access), "{line}");
    }
    run(&cli, &["--backend", "open", "remove", "--yes"]);
    fails(&cli, &["eds", "--backend", "open", "show"], 4);
    server.stop();
}

#[test]
fn objects_are_written_found_and_deleted() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    create(&server, &cli, &["shop"]);
    let words = [
        "insert",
        "todos",
        "title=Buy milk",
        "done:=false",
        "tags:=[\"a\",\"b\"]",
    ];
    let milk = json(&cli, &words);
    let id = text(&milk, "/id");
    assert_eq!(
        (&milk["title"], &milk["done"]),
        (&json!("Buy milk"), &json!(false))
    );
    json(
        &cli,
        &["insert", "todos", "{\"title\":\"Rest\",\"done\":true}"],
    );

    let table = run(
        &cli,
        &["query", "todos", "done:=false", "--fields", "title,tags"],
    );
    assert!(table[0].starts_with("ID "), "{table:?}");
    let row: Vec<&str> = table[1].split("  ").collect();
    assert_eq!(
        (row[0], row[1], row[2]),
        (&*id, "Buy milk", "[\"a\",\"b\"]")
    );
    assert_eq!(table.len(), 2, "{table:?}");
    assert_eq!(run(&cli, &["count", "todos"]), ["2"]);
    assert_eq!(
        run(&cli, &["count", "todos", "{\"tags\":{\"$in\":[\"a\"]}}"]),
        ["1"]
    );
    let sorted = json(&cli, &["query", "todos", "--sort", "-title"]);
    let titles: Vec<&Value> = shape::results(&sorted)
        .iter()
        .map(|todo| &todo["title"])
        .collect();
    assert_eq!(titles, ["Rest", "Buy milk"]);

    let updated = json(&cli, &["update", "todos", &id, "done:=true", "n:=1"]);
    assert_eq!(
        (&updated["done"], &updated["title"]),
        (&json!(true), &json!("Buy milk"))
    );
    let counted = json(
        &cli,
        &["update", "todos", &id, "--atomic", "{\"$inc\":{\"n\":41}}"],
    );
    assert_eq!(counted["n"], 42);
    assert_eq!(json(&cli, &["get", "todos", &id]), counted);
    assert_eq!(
        run(&cli, &["delete", "todos", &id]),
        [format!("Deleted {id}.")]
    );
    fails(&cli, &["eds", "get", "todos", &id], 4);
    fails(&cli, &["eds", "delete", "todos", &id], 4);
    fails(&cli, &["eds", "query", "todos", "{\"a\":{\"$frob\":1}}"], 5);
    server.stop();
}

#[test]
fn thousands_go_out_as_lines_and_come_in_again() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    create(&server, &cli, &["from"]);
    create(&server, &cli, &["to"]);
    let folder = TempDir::new().unwrap();
    let lines: String = (0..2_345)
        .map(|n| format!("{{\"n\":{n},\"text\":\"Nr. {n}\"}}\n"))
        .collect();
    std::fs::write(folder.path().join("in.ndjson"), lines).unwrap();
    let words = [
        "eds",
        "--backend",
        "from",
        "insert",
        "numbers",
        "--file",
        "in.ndjson",
    ];
    let inserted = cli.run_in(folder.path(), &words);
    assert_eq!(
        inserted.lines,
        ["Inserted 2345 objects."],
        "{}",
        inserted.report()
    );

    let out = many_lines(&cli, &["--backend", "from", "query", "numbers", "--lines"]);
    assert_eq!(out.len(), 2_345);
    let words = ["--backend", "to", "insert", "numbers", "-"];
    let again = run_with_input(&cli, &words, &out.join("\n"));
    assert_eq!(
        again.lines,
        ["Inserted 2345 objects."],
        "{}",
        again.report()
    );
    let numbers = |name: &str| {
        let words = [
            "--backend",
            name,
            "query",
            "numbers",
            "--lines",
            "--sort",
            "n",
        ];
        let lines = many_lines(&cli, &words);
        let objects = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects
            .map(|object| object["n"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers("to"), numbers("from"));
    server.stop();
}

#[test]
fn an_object_that_is_refused_is_named_by_its_line() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    create(&server, &cli, &["shop"]);
    let good = "{\"name\":\"bell\"}\n".repeat(120);
    let ended = run_with_input(
        &cli,
        &["insert", "goods", "-"],
        &format!("{good}{{\"name\":\"x\",\"$bad\":1}}\n"),
    );
    assert_eq!(ended.status.code(), Some(5), "{}", ended.report());
    assert!(
        ended.errors.starts_with("error: line 121: "),
        "{}",
        ended.report()
    );
    assert!(
        ended
            .errors
            .contains("; 100 objects were inserted before and stay\n"),
        "{}",
        ended.report()
    );
    server.stop();
}

#[test]
fn watch_sees_what_the_published_client_writes() {
    if !node::is_ready() {
        return;
    }
    let Some(https) = loopback_with_port_443() else {
        return;
    };
    let server = Server::start(&Options {
        https,
        ..Options::serve()
    });
    let cli = Cli::of(&server);
    let backend = create(&server, &cli, &["notes"]);
    run(&cli, &["insert", "notes", "text=there before"]);
    let words = [
        "eds",
        "watch",
        "notes",
        "{\"hidden\":{\"$ne\":true}}",
        "--json",
    ];
    let mut watch = Client::start("pilvi eds watch", &mut cli.command(&words));
    // What is written until the watch has begun is not its business, so something is written until it is seen.
    let seen = wait::until("the watch to begin", WITHIN, || {
        run(&cli, &["insert", "notes", "text=begin"]);
        watch.try_line(Duration::from_millis(500))
    });
    assert_eq!(data(&seen, "enter")["text"], "begin");
    let mut writer = node::start(
        "writer.cjs",
        &[
            ("ADDRESS", &format!("https://{}", server.https().ip())),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("BACKEND_ID", &backend.id),
            ("TOKEN", &backend.token),
        ],
    );
    let written: Value = serde_json::from_str(&writer.next_line(WITHIN)).unwrap();
    let mut next = || loop {
        let line = watch.next_line(WITHIN);
        // Others that were written while it began.
        if !line.contains("\"begin\"") {
            return line;
        }
    };
    assert_eq!(data(&next(), "enter"), written);
    writer.say("go on");
    let changed = writer.result(WITHIN);
    assert_eq!(changed["text"], "changed by qtc");
    assert_eq!(data(&next(), "update"), changed);
    run(&cli, &["delete", "notes", changed["id"].as_str().unwrap()]);
    assert_eq!(data(&next(), "leave")["deleted"], true);
    watch.interrupt();
    let ended = watch.ended(WITHIN);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.report());
    server.stop();
}

/// The object of a line of `watch --json`.
#[track_caller]
fn data(line: &str, event: &str) -> Value {
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["event"], event, "{line}");
    line["data"].clone()
}

#[test]
fn rights_of_types_and_of_objects() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let backend = create(&server, &cli, &["shop"]);
    let ended = run_with_input(
        &cli,
        &["users", "create", "anna", "email=anna@example.org"],
        "korvapuusti",
    );
    assert!(ended.status.success(), "{}", ended.report());
    let anna = text(&json(&cli, &["users", "show", "anna"]), "/id");
    let login = json!({"grant_type": "password", "username": "anna", "password": "korvapuusti"});
    let login = backend
        .send(Request::post("/v1/auth/oauth2/token").json(&login))
        .must_be(200);
    let token = text(&login, "/access_token");
    let status = |request: Request| backend.send(request.bearer(&token)).status;

    // What the owner of the backend writes is theirs in a private one.
    let note = text(&json(&cli, &["insert", "notes", "text=hello"]), "/id");
    let path = format!("/v1/objects/notes/{note}");
    assert_eq!(status(Request::get(&*path)), 404);
    run(
        &cli,
        &[
            "access",
            "grant",
            "notes",
            &note,
            "read",
            &format!("users.{anna}"),
        ],
    );
    assert_eq!(status(Request::get(&*path)), 200);
    assert_eq!(
        status(Request::put(&*path).json(&json!({"text": "x"}))),
        403
    );
    let shown = run(&cli, &["access", "show", "notes", &note]);
    assert_eq!(shown[0], format!("Read    users.{anna}"));
    run(
        &cli,
        &[
            "access",
            "withdraw",
            "notes",
            &note,
            "read",
            &format!("users.{anna}"),
        ],
    );
    assert_eq!(status(Request::get(&*path)), 404);
    run(
        &cli,
        &[
            "access",
            "set",
            "notes",
            &note,
            "--read",
            "everyone",
            "--update",
            "authenticated",
        ],
    );
    assert_eq!(backend.send(Request::get(&*path)).status, 200);
    assert_eq!(
        status(Request::put(&*path).json(&json!({"text": "x"}))),
        200
    );

    run(
        &cli,
        &[
            "types",
            "access",
            "notes",
            "--list",
            "everyone",
            "--new-read",
            "everyone,creator",
        ],
    );
    let types = run(&cli, &["types"]);
    assert!(
        types.iter().any(|line| line.starts_with("notes ")),
        "{types:?}"
    );
    run(&cli, &["insert", "notes", "text=for all"]);
    assert_eq!(run(&cli, &["--anonymous", "count", "notes"]), ["2"]);

    let ended = run_with_input(&cli, &["users", "password", "anna"], "pulla");
    assert!(ended.status.success(), "{}", ended.report());
    let login = json!({"grant_type": "password", "username": "anna", "password": "korvapuusti"});
    assert_eq!(
        backend
            .send(Request::post("/v1/auth/oauth2/token").json(&login))
            .status,
        400
    );
    fails(&cli, &["eds", "users", "remove", "anna"], 2);
    run(&cli, &["users", "remove", "anna", "--yes"]);
    fails(&cli, &["eds", "users", "show", "anna"], 4);
    server.stop();
}

#[test]
fn a_webhook_to_a_gateway_reaches_whoever_listens() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    create(&server, &cli, &["notes"]);
    cli.run(&["mws", "create", "live"]);
    let created = run(
        &cli,
        &[
            "webhooks",
            "create",
            "--to-gateway",
            "live",
            "--type",
            "notes",
            "--event",
            "create",
        ],
    );
    assert!(
        created[0].starts_with("Created the webhook "),
        "{created:?}"
    );
    let hook = text(&json(&cli, &["webhooks"]), "/results/0/id");
    run(&cli, &["types", "set", "notes", "text:string"]);
    run(
        &cli,
        &["types", "access", "notes", "--new-read", "everyone"],
    );
    let words = ["mws", "listen", "--count", "1"];
    let listener = Client::start("pilvi mws listen", &mut cli.command(&words));
    wait::until("the listener", WITHIN, || {
        let sockets = cli.json(&["mws", "sockets"]);
        (shape::results(&sockets).len() == 1).then_some(())
    });
    let note = json(&cli, &["insert", "notes", "text=hello"]);
    let heard = listener.ended(WITHIN);
    let heard: Value = serde_json::from_str(&heard.lines[0]).unwrap();
    assert_eq!(
        (&heard["object"], &heard["meta"]["eventName"]),
        (&note, &json!("create"))
    );
    let delivered = wait::until("the delivery to be noted", WITHIN, || {
        let lines = run(&cli, &["webhooks", "deliveries", &hook]);
        lines.get(1).filter(|line| line.contains("201")).cloned()
    });
    assert!(delivered.contains("create"), "{delivered}");
    let shown = run(&cli, &["webhooks", "show", &hook]).join("\n");
    assert!(shown.contains("Headers  Authorization"), "{shown}");
    run(&cli, &["webhooks", "change", &hook, "--event", "delete"]);
    run(&cli, &["webhooks", "remove", &hook]);
    fails(&cli, &["eds", "webhooks", "show", &hook], 4);
    server.stop();
}

#[test]
fn tokens_are_made_and_made_worthless() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let backend = create(&server, &cli, &["notes"]);
    let made = run(&cli, &["token", "new"])[0].clone();
    assert_ne!(made, backend.token);
    let types = |token: &str| {
        let request = Request::get("/v1/object_types").bearer(token);
        backend.send(request).status
    };
    assert_eq!((types(&made), types(&backend.token)), (200, 200));
    let listed = json(&cli, &["token", "list"]);
    let tokens = shape::results(&listed);
    let old = tokens
        .iter()
        .find(|token| token["access_token"] == backend.token.as_str())
        .unwrap();
    run(&cli, &["token", "remove", &old["id"].to_string()]);
    assert_eq!((types(&made), types(&backend.token)), (200, 401));
    assert_eq!(run(&cli, &["token"]), [made]);
    // The command line takes whichever there is.
    run(&cli, &["types"]);
    server.stop();
}

#[test]
fn the_token_of_a_cloud_is_good_enough() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let backend = create(&server, &cli, &["notes"]);
    run(&cli, &["insert", "notes", "text=hello"]);
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/authorizations", cloud.account_id);
    let tokens = cloud.send(Request::get(path)).must_be(200);
    let machine = cli.with_token(&text(&tokens, "/results/0/access_token"));
    let count = ["--backend", &backend.id, "count", "notes"];
    assert_eq!(run(&machine, &count), ["1"]);
    // It may not hand out what opens the backend for good.
    let token = ["eds", "--backend", &backend.id, "token"];
    fails(&machine, &token, 7);
    server.stop();
}

/// A command that fails says two lines, and nothing on standard output.
#[track_caller]
fn fails(cli: &Cli, words: &[&str], code: i32) -> Ended {
    let ended = cli.run_in(Path::new("/"), words);
    let line = words.join(" ");
    assert_eq!(
        ended.status.code(),
        Some(code),
        "pilvi {line}\n{}",
        ended.report()
    );
    let said: Vec<&str> = ended.errors.lines().collect();
    assert!(
        matches!(said.as_slice(), [error, next] if error.starts_with("error: ") && next.starts_with("try: ")),
        "pilvi {line}\n{}",
        ended.report()
    );
    assert!(ended.lines.is_empty(), "pilvi {line}\n{}", ended.report());
    ended
}
