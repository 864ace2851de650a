//! Archives that are not as they were, or that were never any.

use std::process::Command;

use pilvi_e2e::api::text;
use pilvi_e2e::chance::Chance;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::json;
use tempfile::TempDir;

use crate::world::{back_up, backend_of, instances, name, pilvi, send_archive};

#[test]
fn what_was_cut_or_changed_is_refused_and_makes_nothing() {
    let mut chance = Chance::of_this_run();
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    let backend = server.cloud().create_backend("one");
    for number in 0..50 {
        backend.create("todos", &json!({"n": number, "filler": "x".repeat(500)}));
    }
    let file = back_up(&Cli::of(&server), &backend.id, folder.path());
    let whole = std::fs::read(&file).unwrap();
    for _ in 0..8 {
        let end = chance.below(whole.len() - 2048);
        refuse(&server, &folder, &whole[..end]);
    }
    for _ in 0..12 {
        // Within the database, whose bytes all count.
        let place = 512 + chance.below(16 << 10);
        let mut changed = whole.clone();
        changed[place] ^= 1 << chance.below(8);
        refuse(&server, &folder, &changed);
    }
    for bytes in [&b""[..], b"hello", &[0; 4096], b"\x1f\x8b\x08garbage"] {
        refuse(&server, &folder, bytes);
    }
    send_archive(&server, &whole, "").must_be(201);
    server.stop();
}

#[track_caller]
fn refuse(server: &Server, folder: &TempDir, bytes: &[u8]) {
    let refused = send_archive(server, bytes, "");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(instances(server).len(), 1);
    let file = folder.path().join("wrong.tar");
    std::fs::write(&file, bytes).unwrap();
    let ended = pilvi(&["backup", "verify", name(&file)]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.report());
    let ended = Cli::of(server).run_in(folder.path(), &["backup", "restore", "wrong.tar"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.report());
}

#[test]
fn archives_that_want_to_do_harm_are_refused() {
    let (server, folder) = (Server::serve(), TempDir::new().unwrap());
    // Made by the tool that somebody would make them with.
    let script = "
        set -e
        cd \"$0\"
        mkdir -p in/deep && echo x > in/file && ln -s /etc/passwd in/link && mkfifo in/pipe
        tar -cf up.tar -P --transform='s|in/file|../../../tmp/pilvi-escaped|' in/file
        tar -cf root.tar -P --transform='s|in/file|/tmp/pilvi-escaped|' in/file
        tar -cf link.tar -C in link
        tar -cf pipe.tar -C in pipe
        tar -cf folder.tar -C in deep
        tar -cf long.tar --transform=\"s|in/file|$(printf 'a%.0s' $(seq 300))|\" in/file
        truncate -s 4G in/sparse && tar -cSf sparse.tar -C in sparse
        tar -cf pax.tar --format=pax --pax-option=comment=hello in/file
    ";
    let made = Command::new("bash")
        .args(["-c", script])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    for name in [
        "up", "root", "link", "pipe", "folder", "long", "sparse", "pax",
    ] {
        let bytes = std::fs::read(folder.path().join(format!("{name}.tar"))).unwrap();
        let refused = send_archive(&server, &bytes, "");
        assert_eq!(refused.status, 400, "{name}: {}", refused.text());
    }
    assert!(!std::path::Path::new("/tmp/pilvi-escaped").exists());
    assert_eq!(instances(&server).len(), 0);
    server.stop();
}

#[test]
fn only_an_operator_brings_in_what_another_server_made() {
    let (home, abroad) = (Server::serve(), Server::serve());
    let folder = TempDir::new().unwrap();
    let backend = abroad.cloud().create_backend("moved");
    backend.create("todos", &json!({"n": 1}));
    let hook = json!({"url": "http://127.0.0.1:9/x", "headers": {"X-Key": "s3cret"}});
    backend.create_webhook(&hook);
    let file = back_up(&Cli::of(&abroad), &backend.id, folder.path());
    let archive = std::fs::read(&file).unwrap();
    abroad.stop();

    let restored = send_archive(&home, &archive, "").must_be(201);
    let missing = restored["restored"]["missing"].to_string();
    assert!(missing.contains("http://127.0.0.1:9/x"), "{restored}");
    let moved = backend_of(&home, &text(&restored, "/id"));
    let list = moved
        .send_as_admin(Request::get("/v1/objects/todos"))
        .must_be(200);
    assert_eq!(list["results"][0]["n"], 1);
    // Whoever knows the id from elsewhere does not get it here.
    let kept = send_archive(&home, &archive, &format!("?id={}", backend.id)).must_be(422);
    assert!(kept.to_string().contains("account"), "{kept}");
    home.stop();
}
