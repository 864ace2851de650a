//! Uploads through the real door that are not what they should be, and how long a file lives. What is wrong inside one
//! body or between two pieces is tried in the crate; here is what the connection, other tenants and time do.

use std::path::Path;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How soon a server notices what happened to a connection.
const NOTICED_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

fn note(object: &Value, property: &str, name: &str) -> Value {
    json!({"targetFileProperty": {"id": object["id"], "objectType": object["objectType"],
        "propertyName": property}, "file": {"fileName": name}})
}

/// A multipart upload for a property of an object.
fn form(object: &Value, name: &str, bytes: &[u8]) -> Request {
    let note = note(object, "file", name);
    let head = format!(
        "--bound\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{note}\r\n--bound\r\n\
         Content-Disposition: form-data; name=\"file\"\r\n\r\n"
    );
    let body = [head.as_bytes(), bytes, b"\r\n--bound--\r\n"].concat();
    Request::post("/v1/files")
        .header("Content-Type", "multipart/form-data; boundary=bound")
        .body(body)
}

#[track_caller]
fn upload(backend: &Backend, object: &Value, name: &str, bytes: &[u8]) -> Value {
    backend
        .send_as_admin(form(object, name, bytes))
        .must_be(201)
}

#[track_caller]
fn announce(backend: &Backend, object: &Value) -> Value {
    let note = note(object, "file", "in pieces.bin");
    backend
        .send_as_admin(Request::post("/v1/files").json(&note))
        .must_be(201)
}

fn piece(file: &Value, range: &str, bytes: &[u8]) -> Request {
    Request::put(format!("{}/chunk", path_of(file)))
        .header("Content-Range", range)
        .body(bytes)
}

#[track_caller]
fn read(backend: &Backend, object: &Value) -> Value {
    backend
        .send_as_admin(Request::get(path_of(object)))
        .must_be(200)
}

/// Nothing is half there: no draft of an upload is left in the data folder.
#[track_caller]
fn no_draft_is_left(data: &Path) {
    let drafts = data.join("files/drafts");
    wait::until("the drafts to be removed", NOTICED_WITHIN, || {
        let left = std::fs::read_dir(&drafts).map_or(0, |entries| entries.count());
        (left == 0).then_some(())
    });
}

#[track_caller]
fn download(server: &Server, backend: &Backend, file: &Value) -> (String, Reply) {
    let path = format!("{}/download_url", path_of(file));
    let url = backend.send_as_admin(Request::get(path)).must_be(200);
    let url = text(&url, "/expiringUrl");
    let target = url.strip_prefix(&format!("http://{}", server.http));
    let target = target.expect("the address is where we asked").to_owned();
    let reply = Request::get(&*target).send(server.http);
    (target, reply)
}

#[test]
fn whoever_goes_before_the_end_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(folder.path().to_owned()),
        ..Options::serve()
    });
    let backend = server.cloud().create_backend("files");
    let photo = backend.create("photos", &json!({"title": "A"}));
    let whole = form(&photo, "a.bin", &vec![7; 2 << 20])
        .backend(&backend.id)
        .bytes("host");
    let mut connection = Connection::open(server.http);
    connection.write(&whole[..whole.len() * 99 / 100]);
    drop(connection);
    no_draft_is_left(folder.path());

    // A piece that breaks off is sent again, although the server may still wait for the rest of the first.
    let file = announce(&backend, &photo);
    let bytes = vec![8; 300_000];
    let request = piece(&file, "0-300000/300000", &bytes).backend(&backend.id);
    let request = request.bytes("host");
    let mut stalled = Connection::open(server.http);
    stalled.write(&request[..request.len() / 2]);
    let uploads = folder
        .path()
        .join("files")
        .join(&backend.id)
        .join("uploads");
    wait::until("the first half to arrive", NOTICED_WITHIN, || {
        let mut begun = std::fs::read_dir(&uploads).ok()?;
        begun.next().map(drop)
    });
    let again = backend.send_as_admin(piece(&file, "0-300000/300000", &bytes));
    assert_eq!(again.must_be(200)["status"], "complete");
    drop(stalled);
    let count = backend.send_as_admin(Request::get("/v1/files?count="));
    assert_eq!(count.must_be(200)["count"], 1);
    assert_eq!(read(&backend, &photo)["file"]["id"], file["id"]);
    assert_eq!(download(&server, &backend, &file).1.body, bytes);
    no_draft_is_left(folder.path());
    server.stop();
}

#[test]
fn lengths_that_lie_are_noticed() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    let photo = backend.create("photos", &json!({}));
    // A body that says it is shorter than it is: the boundary is missing, and the rest is no request.
    let whole = form(&photo, "a.bin", b"0123456789");
    let length = whole.bytes("host");
    let body = length.len() - find(&length, b"\r\n\r\n") - 4;
    let short = whole
        .clone()
        .header("Content-Length", (body - 20).to_string());
    let refused = backend.send_as_admin(short);
    shape::eds_error(&refused, 400, "BadRequest");
    let file = announce(&backend, &photo);
    for (range, bytes) in [
        ("0-4/4", &b"012"[..]),
        ("0-4/4", b"01234"),
        ("0-4/3", b"0123"),
        ("4-0/4", b"0123"),
        ("-1-4/4", b"0123"),
        ("0-4/99999999999999999999999", b"0123"),
        ("0-4/*", b"0123"),
        ("4-8/8", b"0123"),
    ] {
        let refused = backend.send_as_admin(piece(&file, range, bytes));
        shape::eds_error(&refused, 400, "BadRequest");
    }
    for _ in 0..2 {
        let sent = backend.send_as_admin(piece(&file, "0-4/8", b"0123"));
        assert_eq!(sent.must_be(200)["received"], 4);
    }
    let refused = backend.send_as_admin(piece(&file, "3-8/8", b"34567"));
    let refused = shape::eds_error(&refused, 400, "BadRequest");
    assert!(
        refused.to_string().contains("Content-Range 4-END/8"),
        "{refused}"
    );
    let sent = backend.send_as_admin(piece(&file, "4-8/8", b"4567"));
    assert_eq!(sent.must_be(200)["status"], "complete");
    server.stop();
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    let mut windows = bytes.windows(wanted.len());
    let at = windows.position(|window| window == wanted);
    at.expect("what is looked for is there")
}

#[test]
fn a_body_of_a_thousand_tiny_parts_is_refused() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    let part = "--bound\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n";
    let body = format!("{}--bound--\r\n", part.repeat(1000));
    for body in [body, "--bound--\r\n".to_owned(), "--bound\r\n".to_owned()] {
        let upload = Request::post("/v1/files")
            .header("Content-Type", "multipart/form-data; boundary=bound")
            .body(body);
        shape::eds_error(&backend.send_as_admin(upload), 400, "BadRequest");
    }
    server.stop();
}

#[test]
fn names_lead_nowhere_and_hide_nothing() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    for (said, kept) in [
        ("../../../etc/passwd", "passwd"),
        ("C:\\Windows\\System32\\a.dll", "a.dll"),
        ("..", "file"),
        ("", "file"),
        ("a\u{0}b\r\nSet-Cookie: x=y.png", "abSet-Cookie: x=y.png"),
        ("gnp\u{202e}exe.png", "gnpexe.png"),
        ("\"quoted\"; x=y.png", "\"quoted\"; x=y.png"),
        ("Grüße 世界.png", "Grüße 世界.png"),
    ] {
        let photo = backend.create("photos", &json!({}));
        let file = upload(&backend, &photo, said, b"bytes");
        assert_eq!(file["fileName"], kept, "{said:?}");
        let (target, reply) = download(&server, &backend, &file);
        assert_eq!(reply.status, 200, "{target}");
        assert_eq!(reply.body, b"bytes");
        // What a client makes of the address is a name in its folder.
        let last = target.rsplit('/').next().unwrap();
        assert!(
            !last.is_empty() && last.is_ascii() && !last.contains(['"', ' ', '\\']),
            "{last}"
        );
        assert!(reply.headers.iter().all(|(name, _)| name != "Set-Cookie"));
    }
    server.stop();
}

#[track_caller]
fn create_private(server: &Server) -> Backend {
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let body = json!({"name": "p", "serviceProviderId": "eds", "config": {"openness": "private"}});
    let made = cloud.send(Request::post(path).json(&body)).must_be(201);
    let id = text(&made, "/id");
    let path = format!("/v1/instances/{id}/authorizations");
    let tokens = cloud.send(Request::get(path)).must_be(200);
    Backend::new(server.http, &id, &text(&tokens, "/results/0/access_token"))
}

#[test]
fn only_what_may_be_changed_gets_a_file() {
    let server = Server::serve();
    let cloud = server.cloud();
    let (backend, other) = (cloud.create_backend("one"), cloud.create_backend("other"));
    let elsewhere = other.create("photos", &json!({}));
    let send = |object: &Value, reason: &str, status| {
        let in_one = backend.send_as_admin(form(object, "a.bin", b"bytes"));
        shape::eds_error(&in_one, status, reason);
        let announced = Request::post("/v1/files").json(&note(object, "file", "a.bin"));
        shape::eds_error(&backend.send_as_admin(announced), status, reason);
    };
    send(&elsewhere, "NotFound", 404);
    let unknown = json!({"id": "51cdbc08989e975ec300772a", "objectType": "objects.photos"});
    send(&unknown, "NotFound", 404);

    // Everybody may read it, and nobody but an administrator may change it.
    let private = create_private(&server);
    let create = Request::post("/v1/objects/photos").json(&json!({}));
    let photo = private.send_as_admin(create).must_be(201);
    let readers = json!({"read": [{"id": "*", "objectType": "aclSubject"}]});
    let access = Request::put(format!("{}/access", path_of(&photo))).json(&readers);
    private.send_as_admin(access).must_be(200);
    private.send(Request::get(path_of(&photo))).must_be(200);
    let user = json!({"username": "user", "password": "password"});
    private
        .send(Request::post("/v1/users").json(&user))
        .must_be(201);
    let form_of_user = "grant_type=password&username=user&password=password";
    let login = Request::post("/v1/auth/oauth2/token").body(form_of_user);
    let token = text(&private.send(login).must_be(200), "/access_token");
    let file = announce(&private, &photo);
    for refused in [form(&photo, "a.bin", b"bytes"), piece(&file, "0-1/1", b"x")] {
        let by_nobody = private.send(refused.clone());
        shape::eds_error(&by_nobody, 401, "Unauthorized");
        let by_user = private.send(refused.bearer(&token));
        shape::eds_error(&by_user, 403, "Forbidden");
    }
    // A file of another backend is none here.
    let refused = other.send_as_admin(piece(&file, "0-1/1", b"x"));
    shape::eds_error(&refused, 404, "NotFound");
    let count = other.send_as_admin(Request::get("/v1/files?count="));
    assert_eq!(count.must_be(200)["count"], 0);
    server.stop();
}

#[test]
fn a_file_goes_with_its_object_and_is_an_orphan_without_its_property() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("files");
    let photo = backend.create("photos", &json!({"title": "A"}));
    let first = upload(&backend, &photo, "first.bin", b"first");
    let (address, reply) = download(&server, &backend, &first);
    assert_eq!(reply.body, b"first");
    // The second takes its place; the first belongs to nothing, and is there until it is collected.
    let second = upload(&backend, &photo, "second.bin", b"second");
    assert_eq!(read(&backend, &photo)["file"]["id"], second["id"]);
    assert_eq!(read(&backend, &first).get("targetFileProperty"), None);
    assert_eq!(
        read(&backend, &second)["targetFileProperty"]["id"],
        photo["id"]
    );
    let collect = Request::post("/v1/files/collect").json(&json!({"olderThanHours": 0}));
    assert_eq!(backend.send_as_admin(collect).must_be(200)["files"], 1);
    for gone in [&*path_of(&first), &address] {
        let reply = backend.send_as_admin(Request::get(gone));
        assert_eq!(reply.status, 404, "{gone}: {}", reply.text());
    }

    let (address, reply) = download(&server, &backend, &second);
    assert_eq!(reply.body, b"second");
    backend.delete(&photo);
    for gone in [&*path_of(&second), &address] {
        let reply = backend.send_as_admin(Request::get(gone));
        assert_eq!(reply.status, 404, "{gone}: {}", reply.text());
    }
    let count = backend.send_as_admin(Request::get("/v1/files?count="));
    assert_eq!(count.must_be(200)["count"], 0);
    server.stop();
}
