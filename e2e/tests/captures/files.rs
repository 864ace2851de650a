//! What the Qt library makes of the answers about files and about its stream (`eds.md` §10, §12), and what was lost
//! when its uploads were recorded.

use pilvi_e2e::api::{path_of, text};
use pilvi_e2e::captures::Captured;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::socket::{CLOSE, FIN, PING, PONG, Socket, client_frame};
use serde_json::{Value, json};

use super::{Replayed, World};

/// What stands for the picture, of which the recording has but the beginning.
const BYTES: &str = "the bytes of a picture\r\n--boundary_.oOo\r\n, which are no text to anybody\n";

/// How the library cuts a file into pieces when it is told to.
const PIECE_BYTES: usize = 32;

/// Whether a recorded request names an object in its body only.
pub(super) fn names_a_target(captured: &Captured) -> bool {
    captured.method == "POST" && captured.target == "/v1/files"
}

/// The object for whose property a recorded upload is.
#[track_caller]
pub(super) fn target(world: &World, captured: &Captured) -> Value {
    let said = captured.body.split("\"objectType\":\"objects.").nth(1);
    let said = said.and_then(|rest| rest.split('"').next());
    let name = said.expect("a recorded upload names the type of its target");
    world
        .backend
        .create(name, &json!({"title": "before", "kept": true}))
}

/// A file that is there, uploaded as it was recorded.
#[track_caller]
pub(super) fn existing(world: &World) -> Value {
    let object = world.backend.create("CustomObject1", &json!({}));
    let note = json!({"file": {"fileName": "test.png"}, "targetFileProperty":
        {"id": object["id"], "objectType": object["objectType"], "propertyName": "fileAttachment"}});
    let body = format!(
        "--x9\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{note}\r\n--x9\r\nContent-Type: image/png\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"test.png\"\r\n\r\n{BYTES}\r\n--x9--\r\n"
    );
    let upload = Request::post("/v1/files")
        .header("Content-Type", "multipart/form-data; boundary=\"x9\"")
        .body(body);
    world.backend.send(upload).must_be(201)
}

/// The line ends and the end of a multipart body, which the recording does not have.
pub(super) fn restore(captured: &mut Captured) {
    let boundary = captured
        .headers
        .iter()
        .find_map(|(_, value)| value.strip_prefix("multipart/form-data; boundary="));
    let Some(boundary) = boundary else {
        return;
    };
    let boundary = boundary.trim_matches('"');
    let (heads, _) = captured
        .body
        .split_once("filename=\"test.png\"\n\n")
        .expect("the head of the file is recorded");
    let heads = heads.replace('\n', "\r\n");
    captured.body = format!("{heads}filename=\"test.png\"\r\n\r\n{BYTES}\r\n--{boundary}--\r\n");
}

/// In one request, or empty at first; the library goes by the content type of what it sent.
pub(super) fn uploads(replayed: &Replayed<'_>) {
    let file = replayed.must_be(201);
    let object = replayed.object.as_ref().expect("an upload has a target");
    assert_eq!(file["objectType"], "files");
    assert_eq!(file["fileName"], "test.png");
    let backend = &replayed.world.backend;
    let linked = || backend.send(Request::get(path_of(object))).must_be(200);
    let is_whole = replayed.captured.body.starts_with("--");
    let whole = match is_whole {
        true => file,
        false => {
            assert_eq!(file["status"], "empty");
            assert_eq!(linked().get("fileAttachment"), None);
            in_pieces(replayed, file)
        }
    };
    assert_eq!(whole["status"], "complete");
    assert_eq!(whole["fileSize"], BYTES.len());
    assert!(!text(&whole, "/url").is_empty());
    // A query right after the upload sees it.
    let after = linked();
    let reference = json!({"id": whole["id"], "objectType": "files"});
    assert_eq!(after["fileAttachment"], reference);
    assert_eq!(after["kept"], true);
    assert!(text(&after, "/updatedAt") > text(object, "/updatedAt"));
}

/// Takes the id for the next piece from each reply, and gives up on anything but the next status.
#[track_caller]
fn in_pieces(replayed: &Replayed<'_>, mut file: Value) -> Value {
    for start in (0..BYTES.len()).step_by(PIECE_BYTES) {
        let end = BYTES.len().min(start + PIECE_BYTES);
        assert_eq!(file["objectType"], "files");
        let piece = Request::put(format!("/v1/files/{}/chunk", text(&file, "/id")))
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", format!("{start}-{end}/{}", BYTES.len()))
            .body(&BYTES.as_bytes()[start..end]);
        file = replayed.world.backend.send(piece).must_be(200);
        let expected = match end == BYTES.len() {
            true => "complete",
            false => "incomplete",
        };
        assert_eq!(file["status"], expected);
    }
    file
}

/// The library fetches the address by a plain request, and takes the name from it.
pub(super) fn says_where_the_bytes_are(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let url = text(&reply, "/expiringUrl");
    assert!(!text(&reply, "/expiresAt").is_empty());
    assert_eq!(url.rsplit('/').next(), Some("test.png"));
    let http = replayed.world.http;
    let path = url.strip_prefix(&format!("http://{http}"));
    let path = path.expect("the address is where the client asked");
    let fetched: Reply = Request::get(path).send(http);
    assert_eq!(fetched.status, 200, "{}", fetched.text());
    assert_eq!(fetched.header("Content-Type"), Some("image/png"));
    assert_eq!(fetched.body, BYTES.as_bytes());
}

/// The library opens a plain connection there, pings at once, and says goodbye.
pub(super) fn opens_a_stream(replayed: &Replayed<'_>) {
    let url = text(&replayed.must_be(200), "/expiringUrl");
    let base = format!("ws://{}/", replayed.world.http);
    assert!(url.starts_with(&base), "{url}");
    let mut socket = Socket::open(&url);
    socket.write(&client_frame(FIN | PING, b"Ping."));
    assert_eq!(socket.frame(), (PONG, b"Ping.".to_vec()));
    let goodbye = 1001_u16.to_be_bytes();
    socket.write(&client_frame(FIN | CLOSE, &goodbye));
    assert_eq!(socket.frame(), (CLOSE, goodbye.to_vec()));
}
