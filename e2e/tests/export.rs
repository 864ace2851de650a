//! A whole backend goes out as a file and comes in elsewhere: by the commands, and into a server that is killed in the
//! middle.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);
const BATCH: usize = 100;

fn create(server: &Server, cli: &Cli, name: &str) -> Backend {
    let made = cli.json(&["eds", "create", name]);
    let id = text(&made, "/id");
    let token = cli.run(&["eds", "--backend", &id, "token"]).lines;
    Backend::new(server.http, &id, &token[0])
}

/// Fills a backend with so many notes.
fn fill(backend: &Backend, count: usize) {
    let padding = "x".repeat(500);
    for batch in 0..count / BATCH {
        let operations: Vec<Value> = (0..BATCH)
            .map(|number| {
                let number = batch * BATCH + number;
                json!({"method": "POST", "path": "/v1/objects/notes", "body": {"n": number, "padding": padding}})
            })
            .collect();
        let request = Request::post("/v1/batch").json(&json!({"operations": operations}));
        backend.send_as_admin(request).must_be(200);
    }
}

fn count(backend: &Backend, object_type: &str) -> u64 {
    let path = format!("/v1/objects/{object_type}?count");
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    reply["count"].as_u64().unwrap()
}

/// All objects of a type, whole.
fn all(backend: &Backend, object_type: &str) -> Vec<Value> {
    let path = format!("/v1/objects/{object_type}?limit=1000");
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    shape::results(&reply).to_vec()
}

/// Brings an archive in one piece, and gives the path of its import.
fn bring(backend: &Backend, archive: &[u8]) -> String {
    let announced = json!({"bytes": archive.len()});
    let import = backend
        .send_as_admin(Request::post("/v1/imports").json(&announced))
        .must_be(201);
    let path = format!("/v1/imports/{}", text(&import, "/id"));
    let chunk = Request::put(format!("{path}/chunk"))
        .header(
            "Content-Range",
            format!("0-{}/{}", archive.len(), archive.len()),
        )
        .body(archive);
    let brought = backend.send_as_admin(chunk).must_be(200);
    assert_eq!(brought["received"], archive.len());
    path
}

fn start(backend: &Backend, path: &str) {
    let start = Request::post(format!("{path}/start")).json(&json!({"replace": true}));
    backend.send_as_admin(start).must_be(200);
}

fn look(backend: &Backend, path: &str) -> Value {
    backend.send_as_admin(Request::get(path)).must_be(200)
}

#[track_caller]
fn ended(backend: &Backend, path: &str) -> Value {
    wait::until("the end of the import", WITHIN, || {
        Some(look(backend, path)).filter(|import| import["state"] != "running")
    })
}

#[test]
fn a_backend_moves_by_the_commands() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let here = create(&server, &cli, "here");
    fill(&here, 300);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("here.tar");
    let shown = file.display().to_string();
    let picture = folder.path().join("picture.bin");
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    fs::write(&picture, &bytes).unwrap();
    let notes = all(&here, "notes");
    let picture = picture.display().to_string();
    let id = text(&notes[0], "/id");
    let upload = ["eds", "--backend", "here", "files", "upload", &picture];
    let uploaded = cli.json(&[&upload[..], &["--for", "notes", &id, "picture"]].concat());

    let exported = cli.json(&["eds", "--backend", "here", "export", &shown]);
    assert_eq!(exported["counts"]["objects"]["objects.notes"], 300);
    assert_eq!(exported["counts"]["blobBytes"], bytes.len());
    // It is nobody else's to read, and not written over.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    fails(&cli, &["eds", "--backend", "here", "export", &shown], 2);

    let there = create(&server, &cli, "there");
    let imported = cli.json(&["eds", "--backend", "there", "import", &shown]);
    assert_eq!(imported["state"], "done");
    assert_eq!(all(&here, "notes"), all(&there, "notes"));
    let fetched = folder.path().join("fetched.bin");
    let target = fetched.display().to_string();
    let file_id = text(&uploaded, "/id");
    cli.run(&[
        "eds",
        "--backend",
        "there",
        "files",
        "download",
        &file_id,
        "--output",
        &target,
    ]);
    assert_eq!(fs::read(&fetched).unwrap(), bytes);

    // What is there is lost only when somebody says so.
    fails(&cli, &["eds", "--backend", "there", "import", &shown], 5);
    let unlike = Request::post("/v1/objects/notes").json(&json!({"n": "of this backend alone"}));
    let unlike = there.send_as_admin(unlike).must_be(201);
    let replace = [
        "eds",
        "--backend",
        "there",
        "import",
        &shown,
        "--replace",
        "--yes",
    ];
    cli.run(&replace);
    let gone = there.send_as_admin(Request::get(path_of(&unlike)));
    shape::eds_error(&gone, 404, "NotFound");
    assert_eq!(count(&there, "notes"), 300);

    let damaged = folder.path().join("damaged.tar");
    let mut archive = fs::read(&file).unwrap();
    let place = archive
        .windows(4)
        .position(|bytes| bytes == b"xxxx")
        .unwrap();
    archive[place] = b'y';
    fs::write(&damaged, &archive).unwrap();
    let damaged = damaged.display().to_string();
    fails(&cli, &["eds", "--backend", "there", "import", &damaged], 2);
    server.stop();
}

#[track_caller]
fn fails(cli: &Cli, words: &[&str], code: i32) {
    let output = cli.command(words).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
}

/// Wherever the server is killed, the backend is what it was or what came.
#[test]
fn an_import_happens_or_does_not() {
    let folder = TempDir::new().unwrap();
    let options = || Options {
        data: Some(folder.path().to_owned()),
        ..Options::serve()
    };
    let mut server = Server::start(&options());
    let source = server.cloud().create_backend("source");
    fill(&source, 2000);
    let cli = Cli::of(&server);
    let file = folder.path().join("source.tar");
    let shown = file.display().to_string();
    cli.run(&["eds", "--backend", "source", "export", &shown]);
    let archive = fs::read(&file).unwrap();
    let target = server.cloud().create_backend("target");
    let marker = target.create("marks", &json!({"of": "before"}));
    let target_id = target.id.clone();
    let token = target.token.clone();
    let mut happened = 0;
    for step in ["", "checking", "objects", "placing", "gone on"] {
        let target = Backend::new(server.http, &target_id, &token);
        let path = bring(&target, &archive);
        start(&target, &path);
        // As soon as it has come so far, or later: what is asked takes a while, too.
        wait::until("the step", WITHIN, || {
            let import = look(&target, &path);
            let at = import["progress"]["step"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let order = ["", "checking", "objects", "placing"];
            let place = |name: &str| order.iter().position(|step| *step == name);
            (import["state"] != "running" || place(&at) >= place(step) && step != "gone on")
                .then_some(())
        });
        server.kill();
        server = Server::start(&options());
        let target = Backend::new(server.http, &target_id, &token);
        let import = ended(&target, &path);
        let marks = target.send_as_admin(Request::get(path_of(&marker))).status;
        match (import["state"].as_str(), marks, count(&target, "notes")) {
            (Some("failed"), 200, 0) => {
                assert!(
                    text(&import, "/error").contains("nothing was changed"),
                    "{import}"
                );
            }
            // It may have happened in an earlier round.
            (Some("failed" | "done"), 404, 2000) => happened += 1,
            other => panic!("{step}: half an import: {other:?}"),
        }
        assert_eq!(
            databases(folder.path()),
            2,
            "what was built and not used is gone"
        );
        if import["state"] == "failed" {
            start(&target, &path);
            let again = ended(&target, &path);
            assert_eq!(again["state"], "done", "{again}");
            assert_eq!(count(&target, "notes"), 2000);
            if step != "gone on" {
                // As it was, for the next round.
                let marked = json!({"of": "before"});
                target.create("marks", &marked);
            }
        }
    }
    assert!(happened > 0, "the last round kills after the end");
    server.stop();
}

fn databases(folder: &Path) -> usize {
    let entries = fs::read_dir(folder.join("eds")).unwrap();
    entries
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().is_some_and(|name| name.ends_with(".db"))
        })
        .count()
}
