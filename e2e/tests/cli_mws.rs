//! `pilvi mws …` against a real server, with listeners and senders of other kinds beside it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::echo::Echo;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::Heard;
use pilvi_e2e::{node, shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);

/// Makes a gateway and returns it with its security token.
#[track_caller]
fn create(server: &Server, cli: &Cli, words: &[&str]) -> Gateway {
    let made = cli.json(&[&["mws", "create"], words].concat());
    let id = text(&made, "/id");
    let token = cli.run(&["mws", "--gateway", &id, "token"]).lines;
    Gateway::new(server.http, &id, &token[0])
}

/// `pilvi mws --gateway ID …`, running.
#[track_caller]
fn start(cli: &Cli, gateway: &Gateway, words: &[&str]) -> Client {
    let words = [&["mws", "--gateway", &gateway.id], words].concat();
    Client::start(
        &format!("pilvi {}", words.join(" ")),
        &mut cli.command(&words),
    )
}

#[track_caller]
fn sockets(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.send_as_admin(Request::get(gateway.path("sockets")));
    shape::results(&answer.must_be(200)).to_vec()
}

#[track_caller]
fn wait_for_sockets(gateway: &Gateway, count: usize) -> Vec<Value> {
    wait::until(&format!("{count} sockets"), WITHIN, || {
        Some(sockets(gateway)).filter(|sockets| sockets.len() == count)
    })
}

#[test]
fn a_gateway_is_private_unless_it_is_meant_to_be_open() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let closed = create(&server, &cli, &["closed"]);
    let asked = closed.send(&Request::get(closed.path("websocket_uri")));
    assert_eq!(asked.status, 401, "{asked:?}");
    fails(
        &cli,
        &["mws", "--gateway", "closed", "--anonymous", "send", "x"],
        3,
    );

    let printed = cli.run(&["mws", "create", "open", "--open"]).lines;
    assert!(
        printed.contains(&"It is open: everybody who knows its id may send and listen.".to_owned()),
        "{printed:?}"
    );
    cli.run(&["mws", "--gateway", "open", "--anonymous", "send", "x"]);
    let access = |name: &str| {
        let listed = cli.run(&["mws", "list"]).lines;
        let line = listed.iter().find(|line| line.contains(name)).cloned();
        line.unwrap().split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(
        (access("closed"), access("open")),
        ("private".into(), "open".into())
    );

    // What was open can be closed.
    cli.run(&[
        "mws",
        "--gateway",
        "open",
        "config",
        "set",
        "--access",
        "private",
    ]);
    fails(
        &cli,
        &["mws", "--gateway", "open", "--anonymous", "send", "x"],
        3,
    );
    fails(&cli, &["mws", "send", "x"], 2);
    cli.run(&["mws", "--gateway", "open", "remove", "--yes"]);
    fails(&cli, &["mws", "--gateway", "open", "show"], 4);
    server.stop();
}

#[test]
fn what_is_sent_is_heard_by_listen_and_by_other_clients() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let everybody = start(&cli, &gateway, &["listen", "--count", "3"]);
    let tagged = start(
        &cli,
        &gateway,
        &["listen", "--tag", "team", "--count", "4", "--json"],
    );
    let open = wait_for_sockets(&gateway, 2);
    let tags: Vec<&Value> = open.iter().map(|socket| &socket["tags"]).collect();
    assert!(
        tags.contains(&&json!(["team"])) && tags.contains(&&json!([])),
        "{open:?}"
    );
    let made = gateway.send_as_admin(Request::post(gateway.path("sockets")).json(&json!({})));
    let uri = text(&made.must_be(201), "/uri");
    let mut stranger = pilvi_e2e::socket::Socket::open(&uri);
    let mut published = node::is_ready().then(|| {
        let made = gateway.send_as_admin(Request::post(gateway.path("sockets")).json(&json!({})));
        let uri = text(&made.must_be(201), "/uri");
        node::start("listen.cjs", &[("URI", &uri), ("COUNT", "3")])
    });
    if let Some(client) = &mut published {
        client.expect_line("open", WITHIN);
    }

    let send = |words: &[&str]| cli.run(&[&["mws", "--gateway", "live", "send"], words].concat());
    send(&["Grüße, 世界 🎈"]);
    let only = send(&["for the team", "--tag", "team"]);
    assert_eq!(only.lines, ["Sent to the sockets with the tag team."]);
    let mut lines = start(&cli, &gateway, &["send", "-"]);
    for line in ["{\"a\":1}", "", " blanks stay "] {
        lines.say(line);
    }
    let lines = lines.ended(WITHIN);
    assert_eq!(
        lines.lines,
        ["Sent 2 messages to everybody who listens."],
        "{}",
        lines.report()
    );

    let all = ["Grüße, 世界 🎈", "{\"a\":1}", " blanks stay "];
    for expected in all {
        assert_eq!(stranger.hear(), Heard::Text(expected.to_owned()));
    }
    let everybody = everybody.ended(WITHIN);
    assert!(everybody.status.success(), "{}", everybody.report());
    assert_eq!(everybody.lines, all);
    let tagged = tagged.ended(WITHIN);
    let heard: Vec<Value> = tagged
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = [all[0], "for the team", all[1], all[2]];
    assert_eq!(heard, expected.map(|text| json!({"data": text})));
    if let Some(client) = published {
        assert_eq!(client.result(WITHIN), json!(all));
    }
    server.stop();
}

#[test]
fn ctrl_c_lets_go_of_the_socket_at_once() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let listener = start(&cli, &gateway, &["listen"]);
    wait_for_sockets(&gateway, 1);
    listener.interrupt();
    let ended = listener.ended(WITHIN);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.report());
    assert!(ended.lines.is_empty(), "{}", ended.report());
    wait_for_sockets(&gateway, 0);
    server.stop();
}

#[test]
fn a_socket_that_is_closed_ends_its_listener() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let listener = start(&cli, &gateway, &["listen"]);
    let id = text(&wait_for_sockets(&gateway, 1)[0], "/id");
    let listed = cli.run(&["mws", "sockets"]).lines;
    assert!(listed[1].starts_with(&id), "{listed:?}");
    cli.run(&["mws", "close", &id]);
    let ended = listener.ended(WITHIN);
    assert_eq!(ended.status.code(), Some(5), "{}", ended.report());
    assert!(
        ended
            .errors
            .contains("error: somebody closed this socket\n"),
        "{}",
        ended.report()
    );
    fails(&cli, &["mws", "close", &id], 4);
    server.stop();
}

#[test]
fn a_restart_of_the_server_is_survived() {
    let data = TempDir::new().unwrap();
    let options = |http, https| Options {
        http,
        https,
        data: Some(data.path().to_owned()),
        ..Options::serve()
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(&options(any, any));
    let (http, https) = (server.http, server.https());
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let listener = start(&cli, &gateway, &["listen", "--count", "2"]);
    wait_for_sockets(&gateway, 1);
    cli.run(&["mws", "send", "before"]);
    server.stop();

    let server = Server::start(&options(http, https));
    wait_for_sockets(&gateway, 1);
    cli.run(&["mws", "send", "after"]);
    let ended = listener.ended(WITHIN);
    assert!(ended.status.success(), "{}", ended.report());
    assert_eq!(ended.lines, ["before", "after"]);
    assert!(
        ended.errors.contains("; trying again in 1 s\n"),
        "{}",
        ended.report()
    );
    server.stop();
}

#[test]
fn the_users_of_a_backend_come_in_by_their_groups() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let backend = text(&cli.json(&["eds", "create", "people"]), "/id");
    let gateway = create(&server, &cli, &["live", "--users-of", "people"]);
    let mut user = Client::start(
        "pilvi eds users create anna",
        &mut cli.command(&["eds", "users", "create", "anna"]),
    );
    user.say("korvapuusti");
    assert!(user.ended(WITHIN).status.success());
    cli.run(&["eds", "groups", "create", "staff"]);
    let login = json!({"grant_type": "password", "username": "anna", "password": "korvapuusti"});
    let login = Request::post("/v1/auth/oauth2/token")
        .backend(&backend)
        .json(&login);
    let token = text(&login.send(server.http).must_be(200), "/access_token");
    let ask = || {
        let request = Request::get(gateway.path("websocket_uri")).bearer(&token);
        request.send(server.http).status
    };
    assert_eq!(ask(), 200);

    let groups = cli.json(&["eds", "groups"]);
    let staff = format!("usergroups.{}", text(&groups, "/results/0/id"));
    cli.run(&["mws", "config", "set", "--read", &staff]);
    assert_eq!(ask(), 403);
    cli.run(&["eds", "groups", "add", "staff", "anna"]);
    assert_eq!(ask(), 200);
    let config = cli.json(&["mws", "config"]);
    assert_eq!(
        config["permissions"],
        json!({"read": [staff], "write": ["*"]})
    );
    server.stop();
}

#[test]
fn what_is_typed_reaches_the_app_and_its_replies_come_back() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["chat"]);
    fails(&cli, &["mws", "listen", "--send"], 5);
    fails(&cli, &["mws", "events", "test"], 5);

    let app = Echo::start();
    cli.run(&["mws", "config", "set", "--events", &app.url()]);
    let config = cli.json(&["mws", "config"]);
    let all = json!(["connect", "message", "disconnect"]);
    assert_eq!(
        config["events"],
        json!({"url": app.url(), "events": all}),
        "{config}"
    );
    let secret = cli.run(&["mws", "events", "secret"]);
    assert!(
        secret.lines.len() == 1 && secret.lines[0].starts_with("whsec_"),
        "{}",
        secret.report()
    );
    assert!(
        !config.to_string().contains("whsec_")
            && !cli.run(&["mws", "config"]).report().contains("whsec_"),
        "a secret is shown once"
    );
    let instance = cli.json(&["instances", "show", &gateway.id]);
    assert!(
        !instance.to_string().contains("ecret"),
        "not even sealed: {instance}"
    );
    let tested = cli.run(&["mws", "events", "test"]);
    assert!(
        tested.lines[0].starts_with("The app answered 200 in "),
        "{}",
        tested.report()
    );

    let mut typing = start(&cli, &gateway, &["listen", "--send", "--count", "2"]);
    let id = text(&wait_for_sockets(&gateway, 1)[0], "/id");
    typing.say("Grüße");
    typing.expect_line("Grüße", WITHIN);
    typing.say("  blanks stay ");
    let ended = typing.ended(WITHIN);
    assert!(ended.status.success(), "{}", ended.report());
    assert_eq!(ended.lines, ["Grüße", "  blanks stay "]);
    let end = app.disconnect(&id);
    assert_eq!((&end["code"], &end["clean"]), (&json!(1000), &json!(true)));
    assert_eq!(app.life(&id).messages, 2);
    app.must_be_orderly();

    cli.run(&["mws", "config", "set", "--no-events"]);
    fails(&cli, &["mws", "listen", "--send"], 5);
    server.stop();
}

#[test]
fn an_app_that_is_away_is_told_of() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    create(&server, &cli, &["chat"]);
    let nobody = format!("http://{}/", pilvi_e2e::receiver::nobody());
    cli.run(&["mws", "config", "set", "--events", &nobody]);
    fails(&cli, &["mws", "events", "test"], 1);
    // Whoever is not let in now may come back later.
    let ended = fails_after_opening(&cli, &["mws", "listen", "--once"], 6);
    assert!(ended.errors.contains("try again"), "{}", ended.report());
    server.stop();
}

#[test]
fn an_event_stream_hears_what_a_socket_hears() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let words = ["listen", "--tag", "a", "--count", "2", "--json"];
    let socket = start(&cli, &gateway, &words);
    let stream = start(&cli, &gateway, &[&words[..], &["--sse"]].concat());
    wait_for_sockets(&gateway, 2);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bytes");
    std::fs::write(&file, [0, 13, 10, 255]).unwrap();

    cli.run(&["mws", "send", "two\nlines: Grüße", "--tag", "a"]);
    cli.run(&[
        "mws",
        "send",
        "--binary",
        file.to_str().unwrap(),
        "--tag",
        "a",
    ]);
    let heard = |client: Client| -> Vec<Value> {
        let ended = client.ended(WITHIN);
        assert!(ended.status.success(), "{}", ended.report());
        let lines = ended.lines.iter();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let expected = [
        json!({"data": "two\nlines: Grüße"}),
        json!({"data": "AA0K/w==", "encoding": "base64"}),
    ];
    assert_eq!(heard(socket), expected);
    let mut streamed = heard(stream);
    let ids: Vec<String> = streamed
        .iter_mut()
        .map(|message| {
            let id = message.as_object_mut().unwrap().remove("id");
            id.unwrap().as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(streamed, expected);
    assert!(ids[0] < ids[1], "ids grow: {ids:?}");

    // It is closed as a socket is.
    let stream = start(&cli, &gateway, &["listen", "--sse"]);
    let id = text(&wait_for_sockets(&gateway, 1)[0], "/id");
    cli.run(&["mws", "close", &id]);
    let ended = stream.ended(WITHIN);
    assert_eq!(ended.status.code(), Some(5), "{}", ended.report());
    server.stop();
}

#[test]
fn who_is_there_follows_the_tags_of_sockets() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    cli.run(&["mws", "config", "set", "--presence", "room.*"]);
    let listener = start(
        &cli,
        &gateway,
        &["listen", "--tag", "room.1", "--tag", "other"],
    );
    let id = text(&wait_for_sockets(&gateway, 1)[0], "/id");
    let there = |tag: &str| cli.json(&["mws", "presence", tag]);
    let first = there("room.1");
    assert_eq!(first["count"], 1, "{first}");
    assert_eq!(first["results"][0]["socket"], id.as_str(), "{first}");

    cli.run(&["mws", "retag", &id, "--tag", "room.2"]);
    assert_eq!(
        (&there("room.1")["count"], &there("room.2")["count"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(wait_for_sockets(&gateway, 1)[0]["tags"], json!(["room.2"]));
    let all = cli.run(&["mws", "presence"]).lines;
    assert_eq!(all, ["TAG     COUNT", "room.2  1"]);

    listener.interrupt();
    assert!(listener.ended(WITHIN).status.success());
    wait::until("nobody to be there", WITHIN, || {
        (there("room.2")["count"] == 0).then_some(())
    });
    fails(&cli, &["mws", "retag", &id, "--none"], 4);
    server.stop();
}

#[test]
fn what_was_missed_is_listed_and_newcomers_get_the_last_of_it() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let gateway = create(&server, &cli, &["live"]);
    let rule = "news.*,messages=3,replay=2";
    cli.run(&["mws", "config", "set", "--history", rule]);
    for message in ["one", "two", "three", "four"] {
        cli.run(&["mws", "send", message, "--tag", "news.fi"]);
    }
    cli.run(&["mws", "send", "not kept"]);
    let kept = cli.json(&["mws", "history", "news.fi"]);
    let texts = |answer: &Value| -> Vec<String> {
        shape::results(answer)
            .iter()
            .map(|message| text(message, "/data"))
            .collect()
    };
    assert_eq!(texts(&kept), ["two", "three", "four"]);
    let second = text(&kept, "/results/1/id");
    let after = cli.json(&["mws", "history", "news.fi", "--after", &second]);
    assert_eq!(texts(&after), ["four"]);
    assert_eq!(after["complete"], true, "{after}");

    let words = ["listen", "--tag", "news.fi", "--count", "3"];
    let newcomer = start(&cli, &gateway, &words);
    wait_for_sockets(&gateway, 1);
    cli.run(&["mws", "send", "five", "--tag", "news.fi"]);
    let ended = newcomer.ended(WITHIN);
    assert_eq!(ended.lines, ["three", "four", "five"], "{}", ended.report());
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

/// A command that fails after it said that it listens.
#[track_caller]
fn fails_after_opening(cli: &Cli, words: &[&str], code: i32) -> Ended {
    let ended = cli.run_in(Path::new("/"), words);
    assert_eq!(ended.status.code(), Some(code), "{}", ended.report());
    assert!(
        ended.errors.starts_with("Listening as "),
        "{}",
        ended.report()
    );
    ended
}
