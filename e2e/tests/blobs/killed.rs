//! A server that is killed while files come in: what it said yes to is there, and of everything else nothing is seen.

use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::{Connection, Request};
use pilvi_e2e::wait;
use tempfile::TempDir;

use crate::world::{
    announce, content, download, file, files_below, piece, start, upload, upload_of,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_upload_that_was_cut_off_leaves_nothing_and_one_that_was_acknowledged_is_there() {
    let data = TempDir::new().unwrap();
    let server = start(data.path(), &[]);
    let backend = server.cloud().create_backend("files");
    let bytes = content(3 << 20);
    let kept = text(&upload(&backend, &bytes).must_be(201), "/id");

    // Nearly all of another one.
    let request = upload_of(&content(5 << 20))
        .backend(&backend.id)
        .bearer(&backend.token)
        .bytes("127.0.0.1");
    let mut connection = Connection::open(server.http);
    connection.write(&request[..request.len() - 100]);
    let drafts = data.path().join("files/drafts");
    let begun = || (!files_below(&drafts).is_empty()).then_some(());
    wait::until("the upload to reach the disk", SOON, begun);
    server.kill();
    assert!(!files_below(&drafts).is_empty(), "the kill came in between");

    let server = start(data.path(), &[]);
    let backend = Backend::new(server.http, &backend.id, &backend.token);
    assert!(
        files_below(&drafts).is_empty(),
        "what was under way is swept"
    );
    let list = backend
        .send_as_admin(Request::get("/v1/files"))
        .must_be(200);
    assert_eq!(list["results"].as_array().unwrap().len(), 1, "{list}");
    assert!(download(&server, &backend, &kept).body == bytes);
    let folder = data.path().join("files").join(&backend.id);
    assert_eq!(files_below(&folder).len(), 1);
    server.stop();
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let data = TempDir::new().unwrap();
    let server = start(data.path(), &[]);
    let backend = server.cloud().create_backend("files");
    let request = upload_of(&content(5 << 20))
        .backend(&backend.id)
        .bearer(&backend.token)
        .bytes("127.0.0.1");
    let mut connection = Connection::open(server.http);
    connection.write(&request[..request.len() * 99 / 100]);
    let drafts = data.path().join("files/drafts");
    let count = || files_below(&drafts).len();
    wait::until("the upload to reach the disk", SOON, || {
        (count() > 0).then_some(())
    });
    drop(connection);
    wait::until("the draft to go", SOON, || (count() == 0).then_some(()));
    let folder = data.path().join("files").join(&backend.id);
    assert!(files_below(&folder).is_empty());
    let list = backend
        .send_as_admin(Request::get("/v1/files"))
        .must_be(200);
    assert_eq!(list["results"].as_array().unwrap().len(), 0, "{list}");
    server.stop();
}

#[test]
fn an_upload_in_pieces_goes_on_after_a_kill_where_it_was_acknowledged() {
    let data = TempDir::new().unwrap();
    let bytes = content(1_200_000);
    let part = 400_000;
    let mut server = start(data.path(), &[]);
    let backend = server.cloud().create_backend("files");
    let (id, key) = (backend.id.clone(), backend.token.clone());
    let upload = announce(&backend);
    for start_of_piece in [0, part] {
        let backend = Backend::new(server.http, &id, &key);
        let whole = piece(
            &upload,
            start_of_piece,
            &bytes[start_of_piece..start_of_piece + part],
            bytes.len(),
        );
        backend.send_as_admin(whole).must_be(200);
        // Half of the next one comes before the kill.
        let next = start_of_piece + part;
        let half = piece(&upload, next, &bytes[next..next + part], bytes.len())
            .backend(&id)
            .bearer(&key)
            .bytes("127.0.0.1");
        let mut connection = Connection::open(server.http);
        connection.write(&half[..half.len() / 2]);
        server.kill();
        server = start(data.path(), &[]);
        let backend = Backend::new(server.http, &id, &key);
        let seen = file(&backend, &upload);
        assert_eq!(seen["status"], "incomplete", "{seen}");
        assert_eq!(seen["received"], next, "{seen}");
    }
    let backend = Backend::new(server.http, &id, &key);
    let last = piece(&upload, 2 * part, &bytes[2 * part..], bytes.len());
    let whole = backend.send_as_admin(last).must_be(200);
    assert_eq!(whole["status"], "complete");
    server.kill();
    let server = start(data.path(), &[]);
    let backend = Backend::new(server.http, &id, &key);
    assert!(download(&server, &backend, &upload).body == bytes);
    server.stop();
}
