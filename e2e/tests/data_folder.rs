//! Data folders that cannot be used: each is refused with a sentence that says what to do, and with an exit code.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::Cloud;
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::http::Request;
use pilvi_e2e::mount::Disk;
use pilvi_e2e::process;
use pilvi_e2e::server::{Options, Server};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);

#[track_caller]
fn start(data: &Path) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    })
}

/// A folder with an operator and a backend in it. The operator's account and token.
#[track_caller]
fn lived_in(data: &Path) -> (String, String) {
    let server = start(data);
    let cloud = server.cloud();
    cloud
        .create_backend("one")
        .create("todos", &json!({"n": 1}));
    server.stop();
    (cloud.account_id, cloud.token)
}

/// `pilvi serve`, which must not get far.
#[track_caller]
fn serve(data: &Path) -> Ended {
    try_to_serve(data).ended(SOON)
}

#[track_caller]
fn try_to_serve(data: &Path) -> Client {
    let mut command = Command::new(process::binary());
    command.args([
        "serve",
        "--json",
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
    ]);
    command.args(["--ssh", "127.0.0.1:0", "--data"]).arg(data);
    Client::start("pilvi serve", &mut command)
}

/// Expects a start to fail with these words and with the exit code of a failure, and to print nothing that a script
/// could take for a server.
#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{}", ended.report());
    assert!(ended.lines.is_empty(), "{}", ended.report());
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{}", ended.report());
    assert!(!ended.errors.contains("panicked"), "{}", ended.report());
    for word in words {
        assert!(
            last.contains(word),
            "{word:?} is missing\n{}",
            ended.report()
        );
    }
}

#[test]
fn a_folder_that_another_server_uses() {
    let folder = TempDir::new().unwrap();
    let server = start(folder.path());
    refused(
        &serve(folder.path()),
        &["in use by another server", "--data"],
    );
    server.cloud().send(Request::get("/v1/user")).must_be(200);
    server.stop();
}

#[test]
fn a_file_where_a_folder_is_needed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    refused(&serve(&file), &["could not make the folder", "file"]);
    refused(&serve(&file.join("below")), &["could not make the folder"]);

    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("eds"), "x").unwrap();
    refused(&serve(&data), &["eds"]);
    fs::remove_file(data.join("eds")).unwrap();
    fs::create_dir(data.join("pilvi.db")).unwrap();
    refused(&serve(&data), &["pilvi.db"]);
}

#[test]
fn a_folder_of_a_newer_version() {
    let folder = TempDir::new().unwrap();
    lived_in(folder.path());
    let file = folder.path().join("pilvi.db");
    let format = |version: u32| {
        let connection = Connection::open(&file).unwrap();
        let before = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
        before.unwrap()
    };
    let own: u32 = format(999);
    refused(&serve(folder.path()), &["format 999", "newer version"]);
    assert_eq!(format(own), 999, "it is left as it was");
    start(folder.path()).stop();
}

#[test]
fn a_folder_that_cannot_be_written_to() {
    let Some(disk) = Disk::mount(64) else { return };
    let data = disk.path().join("data");
    lived_in(&data);
    disk.set_read_only(true);
    refused(&serve(&data), &["Read-only file system"]);
    refused(&serve(&disk.path().join("new")), &["Read-only file system"]);
    disk.set_read_only(false);
    start(&data).stop();
}

#[test]
fn a_disk_that_is_full_to_the_last_byte() {
    let Some(disk) = Disk::mount(64) else { return };
    let data = disk.path().join("data");
    let (account, token) = lived_in(&data);
    disk.fill("full", 1 << 30);
    let none = disk.path().join("none");
    refused(&serve(&none), &["No space left on device"]);

    // What the last run made anew at its start may leave room enough to start once more, or not.
    let mut server = try_to_serve(&data);
    match server.try_line(SOON) {
        None => refused(&server.ended(SOON), &["disk is full", "make room"]),
        Some(line) => {
            let said: Value = serde_json::from_str(&line).unwrap();
            let http = said["http"].as_str().unwrap();
            let http = http.strip_prefix("http://").unwrap().parse().unwrap();
            let cloud = Cloud::new(http, &account, &token);
            cloud.send(Request::get("/v1/user")).must_be(200);
            let more = Request::post("/v1/accounts").json(&json!({"name": "more"}));
            let reply = cloud.send(more);
            assert!(reply.text().contains("disk"), "{}", reply.text());
            reply.must_be(503);
            server.interrupt();
            server.ended(SOON);
        }
    }
    fs::remove_file(disk.path().join("full")).unwrap();
    start(&data).stop();
    start(&none).stop();
}

#[test]
fn a_key_file_that_others_can_read_is_damaged_or_is_gone() {
    let folder = TempDir::new().unwrap();
    lived_in(folder.path());
    let key = folder.path().join("secret.key");
    let whole = fs::read(&key).unwrap();

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        &serve(folder.path()),
        &["can be read by others", "chmod 600"],
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    for damaged in [&whole[..20], b"", b"pilvi keys 2\ntokens 00\n"] {
        fs::write(&key, damaged).unwrap();
        refused(&serve(folder.path()), &["secret.key", "damaged", "backup"]);
    }
    fs::remove_file(&key).unwrap();
    refused(&serve(folder.path()), &["there is no key file", "backup"]);
    assert!(!key.exists(), "no other key is made in its place");

    fs::write(&key, &whole).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    start(folder.path()).stop();
}

#[test]
fn a_database_that_is_damaged() {
    let folder = TempDir::new().unwrap();
    lived_in(folder.path());
    let file = folder.path().join("pilvi.db");
    // The log beside it would mend it.
    let connection = Connection::open(&file).unwrap();
    let settled: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(settled, 0);
    connection.close().unwrap();
    let whole = fs::read(&file).unwrap();
    for (damaged, word) in [
        (
            &b"this is no database, and long enough to look like one"[..],
            "pilvi.db",
        ),
        (&[7; 8192], "pilvi.db"),
    ] {
        fs::write(&file, damaged).unwrap();
        refused(&serve(folder.path()), &[word]);
    }
    fs::write(&file, whole).unwrap();
    start(folder.path()).stop();
}

#[test]
fn a_folder_that_belongs_to_somebody_else() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    lived_in(&data);
    // The program lies where only its builder may look.
    let program = folder.path().join("pilvi");
    fs::copy(process::binary(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(&program).args([
        "serve",
        "--json",
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
    ]);
    command.args(["--ssh", "127.0.0.1:0", "--data"]).arg(&data);
    command
        .current_dir(folder.path())
        .env("HOME", folder.path());
    if !is_root() {
        pilvi_e2e::skip::report("to become somebody else takes root");
        return;
    }
    let ended = Client::start("pilvi serve", &mut command).ended(SOON);
    refused(&ended, &["Permission denied"]);
    start(&data).stop();
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

#[test]
fn admin_needs_a_servers_data_and_needs_it_alone() {
    let folder = TempDir::new().unwrap();
    let admin = |words: &[&str]| {
        let mut command = Command::new(process::binary());
        command
            .arg("admin")
            .args(words)
            .arg("--data")
            .arg(folder.path());
        Client::start("pilvi admin", &mut command).ended(SOON)
    };
    let none = admin(&["create-token", "operator@localhost"]);
    refused(&none, &["there is no server's data"]);
    let server = start(folder.path());
    refused(&admin(&["rotate-key"]), &["in use by another server"]);
    server.stop();

    // The first token is lost; another one opens everything.
    let made = admin(&["create-token", "operator@localhost"]);
    assert!(made.status.success(), "{}", made.report());
    let token = made.lines[0].clone();
    refused(
        &admin(&["create-token", "nobody@localhost"]),
        &["there is no person"],
    );
    let person = admin(&["create-person", "anna@example.org", "--name", "Anna"]);
    assert!(person.status.success(), "{}", person.report());
    let operator = admin(&["make-operator", "anna@example.org"]);
    assert!(operator.status.success(), "{}", operator.report());
    let undone = admin(&["make-operator", "operator@localhost", "--undo"]);
    assert!(undone.status.success(), "{}", undone.report());
    refused(
        &admin(&["make-operator", "anna@example.org", "--undo"]),
        &["only operator"],
    );

    let mut command = Command::new(process::binary());
    command
        .args(["admin", "set-password", "anna@example.org", "--data"])
        .arg(folder.path());
    let mut client = Client::start("pilvi admin set-password", &mut command);
    client.say("correct horse battery staple");
    let set = client.ended(SOON);
    assert!(set.status.success(), "{}", set.report());
    assert!(!set.report().contains("correct horse"), "{}", set.report());

    let server = start(folder.path());
    Request::get("/v1/user")
        .bearer(&token)
        .send(server.http)
        .must_be(200);
    let body = json!({"email": "anna@example.org", "password": "correct horse battery staple"});
    let signed_in = Request::post("/v1/user/sign_in")
        .json(&body)
        .send(server.http);
    signed_in.must_be(201);
    server.stop();
}
