//! The developer's commands against a real server, before anything is deployed. What they print in which case is told
//! by the tests beside their code; here is that both sides mean the same.

use std::fs;
use std::path::Path;

use pilvi_e2e::api::text;
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::server::Server;
use pilvi_e2e::shape;
use serde_json::json;
use tempfile::TempDir;

/// An ed25519 key that nobody uses.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ anna@desk\n";

#[test]
fn an_app_is_made_looked_at_and_removed() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let created = cli.run(&["mar", "create", "echo", "--size", "small"]);
    let printed = created.lines.join("\n");
    let id = shape::results(&cli.json(&["mar", "list"]))[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        printed.starts_with(&format!("Created {id}, called echo, small (512 MB).")),
        "{printed}"
    );
    for address in ["url", "httpsUrl"] {
        let address = text(
            &cli.json(&["mar", "--app", &id, "show"]),
            &format!("/{address}"),
        );
        assert!(printed.contains(&address), "{address} is not in\n{printed}");
    }
    for address in ["gitSshUrl", "gitHttpsUrl"] {
        let address = text(
            &cli.json(&["mar", "--app", &id, "show"]),
            &format!("/{address}"),
        );
        let line = format!("  git remote add qtc {address}\n");
        assert!(printed.contains(&line), "{line} is not in\n{printed}");
    }

    let facts = cli.json(&["mar", "--app", &id, "show"]);
    assert_eq!(facts["structure"], json!({}));
    assert_eq!(facts["status"]["processes"], json!([]));
    cli.run(&["mar", "--app", &id, "remove", "--yes"]);
    assert_eq!(cli.json(&["mar", "list"]), json!({"results": []}));
    fails(&cli, &["mar", "--app", &id, "show"], 4);
    server.stop();
}

#[test]
fn settings_of_an_app_are_kept() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let id = text(&cli.json(&["mar", "create", "echo"]), "/id");
    let mar = |words: &[&str]| cli.run(&[&["mar", "--app", &id], words].concat());

    mar(&["envs", "set", "GREETING=Grüße = 世界", "GOES=1"]);
    mar(&["envs", "unset", "GOES"]);
    let envs = mar(&["envs"]).lines;
    assert!(
        envs.contains(&"GREETING=Grüße = 世界".to_owned()),
        "{envs:?}"
    );
    assert!(
        !envs.iter().any(|line| line.starts_with("GOES")),
        "{envs:?}"
    );
    let refused = fails(
        &cli,
        &["mar", "--app", &id, "envs", "set", "PORT=hunter2"],
        5,
    );
    assert!(!refused.errors.contains("hunter2"), "{}", refused.report());

    mar(&["domains", "add", "www.example.com"]);
    assert_eq!(mar(&["domains"]).lines, ["www.example.com"]);
    mar(&["domains", "remove", "www.example.com"]);
    assert!(mar(&["domains"]).lines.is_empty());

    for (words, code) in [
        (&["scale", "web=2"][..], 5),
        (&["exec", "date"], 5),
        (&["domains", "remove", "www.example.com"], 4),
        (&["rollback"], 4),
        (&["slugs", "deploy", "v1"], 4),
        (&["stack", "set", "no-such-stack"], 5),
    ] {
        fails(&cli, &[&["mar", "--app", &id], words].concat(), code);
    }
    assert!(mar(&["slugs"]).lines.is_empty());
    assert!(mar(&["releases"]).lines.is_empty());
    server.stop();
}

#[test]
fn a_certificate_must_be_one() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let id = text(&cli.json(&["mar", "create", "echo"]), "/id");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key.pem");
    fs::write(
        &file,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let words = [
        "mar", "--app", &id, "ssl", "add", "--key", file, "--cert", file,
    ];
    let refused = fails(&cli, &words, 5);
    assert!(!refused.errors.contains("AAAA"), "{}", refused.report());
    server.stop();
}

#[test]
fn keys_come_and_go() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key.pub");
    fs::write(&file, KEY).unwrap();
    let file = file.to_str().unwrap();
    let added = cli.run(&["keys", "add", file]);
    assert!(
        added.lines[0].starts_with("Added the key anna@desk (SHA256:"),
        "{}",
        added.report()
    );
    fails(&cli, &["keys", "add", file], 5);
    let keys = cli.json(&["keys"]);
    assert_eq!(shape::results(&keys)[0]["name"], "anna@desk");
    cli.run(&["keys", "remove", "anna@desk"]);
    assert_eq!(cli.json(&["keys"]), json!({"results": []}));
    server.stop();
}

#[test]
fn a_server_that_is_not_trusted_gets_no_token() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let mut command = cli.command(&["mar", "list"]);
    let ended = Client::start("pilvi mar list", command.env_remove("PILVI_CA")).ended(WITHIN);
    assert_eq!(ended.status.code(), Some(6), "{}", ended.report());
    assert!(
        ended.errors.contains("try: save what `pilvi ca` prints"),
        "{}",
        ended.report()
    );

    let mut command = cli.command(&["mar", "list"]);
    let ended =
        Client::start("pilvi mar list", command.env("PILVI_TOKEN", "hunter2")).ended(WITHIN);
    assert_eq!(ended.status.code(), Some(3), "{}", ended.report());
    assert!(!ended.errors.contains("hunter2"), "{}", ended.report());
    server.stop();
}

const WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

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
