//! The bytes of files on their way to clients: addresses that need no header, parts, and what a browser is told.

use std::net::SocketAddr;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

/// Uploads bytes in one request; returns the file.
#[track_caller]
fn upload(backend: &Backend, name: &str, content_type: &str, bytes: &[u8]) -> Value {
    let boundary = "b0undary";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {content_type}\r\n\r\n"
    )
    .into_bytes();
    body.extend(bytes);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    let request = Request::post("/v1/files")
        .header("Content-Type", kind)
        .body(body);
    backend.send_as_admin(request).must_be(201)
}

/// The path of the address under which a file can be downloaded.
#[track_caller]
fn address(backend: &Backend, file: &Value, server: SocketAddr) -> String {
    let path = format!("/v1/files/{}/download_url", text(file, "/id"));
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    let until = text(&reply, "/expiresAt");
    assert!(until.ends_with('Z'), "{until}");
    let url = text(&reply, "/expiringUrl");
    let base = format!("http://{server}");
    let path = url.strip_prefix(&base);
    path.unwrap_or_else(|| panic!("{url} is not below {base}"))
        .to_owned()
}

/// Bytes that are not the same everywhere.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[track_caller]
fn get(server: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = Request::get(path);
    let add = |request: Request, (name, value): &(&str, &str)| request.header(name, *value);
    headers.iter().fold(request, add).send(server)
}

#[test]
fn an_address_gives_the_bytes_to_whoever_has_it() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    // More than one block of reading.
    let bytes = content(700_001);
    let file = upload(&backend, "test.png", "image/png", &bytes);
    let path = address(&backend, &file, server.http);
    assert_eq!(path.rsplit('/').next(), Some("test.png"));
    assert_eq!(
        address(&backend, &file, server.http),
        path,
        "a cache is of use"
    );

    let reply = get(server.http, &path, &[]);
    assert_eq!(reply.status, 200);
    assert!(reply.body == bytes);
    for (name, value) in [
        ("Content-Type", "image/png"),
        ("Content-Length", "700001"),
        ("Accept-Ranges", "bytes"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "sandbox"),
        ("Content-Disposition", "inline; filename=\"test.png\""),
    ] {
        assert_eq!(reply.header(name), Some(value), "{:?}", reply.headers);
    }
    let max_age = reply.header("Cache-Control").unwrap();
    let max_age: u64 = max_age
        .strip_prefix("private, max-age=")
        .unwrap()
        .parse()
        .unwrap();
    assert!((3000..=4000).contains(&max_age), "{max_age}");
    // A client that sends what it always sends, right or wrong.
    let headers = [
        ("Enginio-Backend-Id", backend.id.as_str()),
        ("Authorization", "Bearer none"),
    ];
    assert_eq!(get(server.http, &path, &headers).status, 200);

    let mut connection = Connection::open(server.http);
    connection.write(&Request::new("HEAD", &path).bytes("x"));
    let head = connection.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("\r\nContent-Length: 700001\r\n"), "{head}");
    // Nothing follows but the next reply.
    connection.write(&Request::get(&path).bytes("x"));
    assert_eq!(connection.reply().status, 200);
    server.stop();
}

#[test]
fn a_part_of_a_file_can_be_asked_for() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    let bytes = content(1000);
    let file = upload(&backend, "a.bin", "application/octet-stream", &bytes);
    let path = address(&backend, &file, server.http);
    let tag = get(server.http, &path, &[])
        .header("Etag")
        .map(str::to_owned);
    let tag = tag.expect("a file has a tag");
    for (range, part, said) in [
        ("bytes=0-0", 0..1, "bytes 0-0/1000"),
        ("bytes=10-19", 10..20, "bytes 10-19/1000"),
        ("bytes=990-", 990..1000, "bytes 990-999/1000"),
        ("bytes=-3", 997..1000, "bytes 997-999/1000"),
        ("bytes=0-99999", 0..1000, "bytes 0-999/1000"),
    ] {
        let reply = get(server.http, &path, &[("Range", range)]);
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.header("Content-Range"), Some(said));
        assert_eq!(
            reply.header("Content-Length").unwrap(),
            part.len().to_string()
        );
        assert!(reply.body == bytes[part], "{range}");
    }
    for range in ["bytes=0-1,5-6", "lines=1-2", "bytes=9-1", "nonsense"] {
        let reply = get(server.http, &path, &[("Range", range)]);
        assert_eq!((reply.status, reply.body.len()), (200, 1000), "{range}");
    }
    let beyond = get(server.http, &path, &[("Range", "bytes=1000-")]);
    let refusal = beyond.must_be(416);
    assert_eq!(refusal["errors"][0]["reason"], "RangeNotSatisfiable");
    assert_eq!(beyond.header("Content-Range"), Some("bytes */1000"));

    let range = ("Range", "bytes=0-0");
    assert_eq!(
        get(server.http, &path, &[range, ("If-Range", &tag)]).status,
        206
    );
    assert_eq!(
        get(server.http, &path, &[range, ("If-Range", "\"other\"")]).status,
        200
    );
    let known = get(
        server.http,
        &path,
        &[("If-None-Match", &format!("\"a\", W/{tag}"))],
    );
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("Etag"), Some(tag.as_str()));
    assert_eq!(
        get(server.http, &path, &[("If-None-Match", "\"a\"")]).status,
        200
    );

    let nothing = upload(&backend, "empty", "text/plain", b"");
    let path = address(&backend, &nothing, server.http);
    let reply = get(server.http, &path, &[]);
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("Content-Length"), Some("0"));
    assert_eq!(
        get(server.http, &path, &[("Range", "bytes=0-")]).status,
        416
    );
    server.stop();
}

#[test]
fn what_somebody_uploads_does_not_run_in_a_browser() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    for (name, content_type, disposition) in [
        (
            "page.html",
            "text/html",
            "attachment; filename=\"page.html\"",
        ),
        (
            "logo.svg",
            "image/svg+xml",
            "attachment; filename=\"logo.svg\"",
        ),
        ("photo.jpg", "image/jpeg", "inline; filename=\"photo.jpg\""),
        (
            "Übersicht.pdf",
            "application/pdf",
            "attachment; filename=\"_bersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf",
        ),
    ] {
        let file = upload(&backend, name, content_type, b"<script>alert(1)</script>");
        let path = address(&backend, &file, server.http);
        let reply = get(server.http, &path, &[]);
        assert_eq!(reply.status, 200, "{name}");
        assert_eq!(reply.header("Content-Disposition"), Some(disposition));
        assert_eq!(reply.header("Content-Type"), Some(content_type));
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(reply.header("Content-Security-Policy"), Some("sandbox"));
    }
    server.stop();
}

#[test]
fn an_address_opens_one_file_and_nothing_else() {
    let server = Server::serve();
    let cloud = server.cloud();
    let (backend, other) = (cloud.create_backend("mine"), cloud.create_backend("theirs"));
    let file = upload(&backend, "a.txt", "text/plain", b"hello");
    let path = address(&backend, &file, server.http);
    let segments: Vec<&str> = path.split('/').collect();
    let [_, _, _, at, token, name] = segments[..] else {
        panic!("{path}");
    };
    assert_eq!(at, backend.id);
    let with = |backend: &str, token: &str| format!("/v1/downloads/{backend}/{token}/{name}");
    // Whatever it is called, it is the same file.
    let renamed = get(
        server.http,
        &format!("/v1/downloads/{at}/{token}/b.txt"),
        &[],
    );
    assert_eq!(renamed.body, b"hello");
    assert_eq!(get(server.http, &with(&other.id, token), &[]).status, 403);
    for place in [0, token.len() / 2, token.len() - 1] {
        let mut changed = token.to_owned();
        let letter = if token.as_bytes()[place] == b'A' {
            "B"
        } else {
            "A"
        };
        changed.replace_range(place..=place, letter);
        let refused = get(server.http, &with(at, &changed), &[]).must_be(403);
        let message = text(&refused, "/errors/0/message");
        assert!(message.contains("download_url"), "{message}");
    }
    for wrong in ["x", "%00", &"A".repeat(2000), &token[..token.len() - 2]] {
        assert_eq!(
            get(server.http, &with(at, wrong), &[]).status,
            403,
            "{wrong}"
        );
    }
    assert_eq!(get(server.http, &with("nobody", token), &[]).status, 404);

    // Nobody gets an address for what they may not read.
    let path_of_it = format!("/v1/files/{}/download_url", text(&file, "/id"));
    let stranger = other.send_as_admin(Request::get(&path_of_it));
    assert_eq!(stranger.status, 404);
    let variant = backend.send_as_admin(Request::get(format!("{path_of_it}?variant=none")));
    let refused = variant.must_be(404);
    assert!(
        text(&refused, "/errors/0/message").contains("no variant"),
        "{refused}"
    );

    // And nothing is left when the file is gone.
    let gone = Request::delete(format!("/v1/files/{}", text(&file, "/id")));
    backend.send_as_admin(gone).must_be(200);
    get(server.http, &path, &[]).must_be(404);
    server.stop();
}

#[test]
fn a_file_that_is_not_whole_has_no_address_yet() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    let note = json!({"file": {"fileName": "a.txt"}});
    let file = backend
        .send_as_admin(Request::post("/v1/files").json(&note))
        .must_be(201);
    let path = format!("/v1/files/{}/download_url", text(&file, "/id"));
    let refused = backend.send_as_admin(Request::get(path)).must_be(404);
    let message = text(&refused, "/errors/0/message");
    assert!(message.contains("not whole"), "{message}");
    server.stop();
}
