//! The bytes of files: in a backup with the rows that name them, and gone with their backend.

use std::fs;
use std::path::Path;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{SOON, back_up, backend_of, name, pilvi_well, restore, start, verified};

#[track_caller]
fn upload(backend: &Backend, name: &str, bytes: &[u8]) -> Value {
    let mut body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
    )
    .into_bytes();
    body.extend(bytes);
    body.extend(b"\r\n--b--\r\n");
    let request = Request::post("/v1/files")
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(body);
    backend.send_as_admin(request).must_be(201)
}

/// The bytes of a file, or why there are none.
#[track_caller]
fn download(server: &Server, backend: &Backend, file: &str) -> Result<Vec<u8>, u16> {
    let path = format!("/v1/files/{file}/download_url");
    let reply = backend.send_as_admin(Request::get(path));
    if reply.status != 200 {
        return Err(reply.status);
    }
    let url = text(&reply.must_be(200), "/expiringUrl");
    let path = url
        .strip_prefix(&format!("http://{}", server.http))
        .unwrap();
    let reply = Request::get(path).send(server.http);
    match reply.status {
        200 => Ok(reply.body),
        status => Err(status),
    }
}

/// Begins a file in pieces of which one comes.
#[track_caller]
fn begin(backend: &Backend) -> String {
    let note = json!({"file": {"fileName": "half.bin"}});
    let file = backend
        .send_as_admin(Request::post("/v1/files").json(&note))
        .must_be(201);
    let id = text(&file, "/id");
    let piece = Request::put(format!("/v1/files/{id}/chunk"))
        .header("Content-Range", "0-5/10")
        .body("01234");
    let file = backend.send_as_admin(piece).must_be(200);
    assert_eq!(file["status"], "incomplete");
    id
}

fn count_below(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => count_below(&path),
        false => 1,
    };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

#[test]
fn a_backend_comes_back_with_the_bytes_of_its_files() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = start(data.path());
    let (cli, backend) = (Cli::of(&server), server.cloud().create_backend("gallery"));
    let large = vec![7; 3 << 20];
    let files: Vec<(String, Vec<u8>)> = [b"one".to_vec(), b"two".to_vec(), large]
        .into_iter()
        .map(|bytes| (text(&upload(&backend, "a.bin", &bytes), "/id"), bytes))
        .collect();
    // The same bytes once more, which are kept once.
    let again = upload(&backend, "b.bin", b"one");
    let half = begin(&backend);
    let file = back_up(&cli, &backend.id, folder.path());
    let said = verified(&file);
    // The database, and each of the bytes once.
    assert_eq!(said["files"], 4, "{said}");

    // As a copy beside it.
    let copy = restore(&cli, &file, &["--name", "copy"]);
    let missing = copy["restored"]["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{copy}");
    assert!(
        missing[0]
            .as_str()
            .unwrap()
            .starts_with("1 uploads were under way"),
        "{copy}"
    );
    let copy = backend_of(&server, &text(&copy, "/id"));
    for (id, bytes) in &files {
        assert!(download(&server, &copy, id).as_ref() == Ok(bytes));
    }
    assert_eq!(download(&server, &copy, &half), Err(404));
    // It has bytes of its own: the first one can go.
    let gone = Request::delete(format!("/v1/instances/{}", backend.id));
    server.cloud().send(gone);
    for (id, bytes) in &files {
        assert!(download(&server, &copy, id).as_ref() == Ok(bytes));
    }
    assert_eq!(
        download(&server, &copy, &text(&again, "/id")),
        Ok(b"one".to_vec())
    );

    // And in its place, with what it had in the meantime gone.
    let archive = back_up(&cli, &copy.id, folder.path());
    let late = upload(&copy, "late.bin", b"too late");
    copy.send_as_admin(Request::delete(format!("/v1/files/{}", files[0].0)))
        .must_be(200);
    restore(&cli, &archive, &["--in-place", "--yes"]);
    for (id, bytes) in &files {
        assert!(download(&server, &copy, id).as_ref() == Ok(bytes));
    }
    assert_eq!(download(&server, &copy, &text(&late, "/id")), Err(404));
    server.stop();
}

#[test]
fn a_server_comes_back_with_the_bytes_of_all_files() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = start(data.path());
    let (cli, cloud) = (Cli::of(&server), server.cloud());
    let backends = ["one", "two"].map(|name| cloud.create_backend(name));
    // Both have the same bytes, and each its own copy of them.
    let files = backends
        .each_ref()
        .map(|backend| text(&upload(backend, "a", b"shared"), "/id"));
    let half = begin(&backends[0]);
    let archive = folder.path().join("server.tar");
    cli.run(&["backup", "create", name(&archive), "--include-key"]);
    server.stop();

    let restored = folder.path().join("restored");
    let ended = pilvi_well(&["backup", "restore", name(&archive), "--to", name(&restored)]);
    let said = ended.lines.join("\n");
    assert!(said.contains("1 uploads were under way"), "{said}");
    let server = start(&restored);
    for (backend, file) in backends.iter().zip(&files) {
        let backend = Backend::new(server.http, &backend.id, &backend.token);
        assert_eq!(download(&server, &backend, file), Ok(b"shared".to_vec()));
    }
    let backend = Backend::new(server.http, &backends[0].id, &backends[0].token);
    assert_eq!(download(&server, &backend, &half), Err(404));
    let path = format!("files/{}", backend.id);
    assert_eq!(count_below(&restored.join(path)), 1);
    server.stop();
}

#[test]
fn the_bytes_of_a_deleted_backend_are_removed() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        more: ["--keep-deleted", "0"].map(str::to_owned).to_vec(),
        ..Options::serve()
    });
    let backend = server.cloud().create_backend("short-lived");
    upload(&backend, "a", b"bytes");
    begin(&backend);
    let folder = data.path().join("files").join(&backend.id);
    assert_eq!(count_below(&folder), 2);
    let gone = Request::delete(format!("/v1/instances/{}", backend.id));
    let reply = server.cloud().send(gone);
    assert!(reply.status < 300, "{}", reply.text());
    let gone = || (!folder.exists()).then_some(());
    wait::until("the folder to go", SOON, gone);
    server.stop();
}
