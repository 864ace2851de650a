//! Uploads, and what lies in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::{Options, Server};
use serde_json::{Value, json};

const KIND: &str = "multipart/form-data; boundary=b";

#[track_caller]
pub(crate) fn start(data: &Path, more: &[&str]) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        more: more.iter().map(|word| (*word).to_owned()).collect(),
        ..Options::serve()
    })
}

/// An upload in one request.
pub(crate) fn upload_of(bytes: &[u8]) -> Request {
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n"
            .to_vec();
    body.extend(bytes);
    body.extend(b"\r\n--b--\r\n");
    Request::post("/v1/files")
        .header("Content-Type", KIND)
        .body(body)
}

#[track_caller]
pub(crate) fn upload(backend: &Backend, bytes: &[u8]) -> Reply {
    backend.send_as_admin(upload_of(bytes))
}

/// Announces a file that will come in pieces; returns its id.
#[track_caller]
pub(crate) fn announce(backend: &Backend) -> String {
    let note = json!({"file": {"fileName": "pieces.bin"}});
    let file = backend.send_as_admin(Request::post("/v1/files").json(&note));
    text(&file.must_be(201), "/id")
}

/// The request that brings a piece.
pub(crate) fn piece(id: &str, start: usize, bytes: &[u8], total: usize) -> Request {
    let end = start + bytes.len();
    Request::put(format!("/v1/files/{id}/chunk"))
        .header("Content-Range", format!("{start}-{end}/{total}"))
        .body(bytes)
}

#[track_caller]
pub(crate) fn file(backend: &Backend, id: &str) -> Value {
    backend
        .send_as_admin(Request::get(format!("/v1/files/{id}")))
        .must_be(200)
}

/// The reply to a download.
#[track_caller]
pub(crate) fn download(server: &Server, backend: &Backend, id: &str) -> Reply {
    let path = format!("/v1/files/{id}/download_url");
    let url = backend.send_as_admin(Request::get(path)).must_be(200);
    let url = text(&url, "/expiringUrl");
    let path = &url[url.find("/v1/downloads/").unwrap()..];
    Request::get(path).send(server.http)
}

/// Bytes that are not the same everywhere.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let below = |path: PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    };
    entries
        .flat_map(|entry| below(entry.unwrap().path()))
        .collect()
}
