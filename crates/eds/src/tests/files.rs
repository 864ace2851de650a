//! Uploads of every client's kind, and what is wrong with others.

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Answer, Credential, World, path_of, reference};

const NOBODY: Credential = Credential::Nothing;
const BOUNDARY: &str = "boundary_.oOo._ryetnFomZTIJA0LMK2UVJdp74XC7+AF4";

/// A part of a form: what its disposition says behind the name, its content type, and its bytes.
type Part<'a> = (&'a str, &'a str, Option<&'a str>, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, rest, kind, bytes) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        if let Some(kind) = kind {
            body.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
        }
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n");
        body.extend_from_slice(disposition.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn target(object: &Value, property: &str) -> Value {
    json!({"id": object["id"], "objectType": object["objectType"], "propertyName": property})
}

impl World {
    async fn send_form(&self, who: &Credential, body: impl Into<Body>) -> Answer {
        let kind = format!("multipart/form-data; boundary=\"{BOUNDARY}\"");
        let headers = [("content-type", kind.as_str())];
        self.send_body(who, "POST", "/v1/files", body.into(), &headers)
            .await
    }

    /// Uploads a file for a property of an object, as Qt does.
    pub(super) async fn upload(
        &self,
        who: &Credential,
        object: &Value,
        property: &str,
        bytes: &[u8],
    ) -> Value {
        let note = json!({"targetFileProperty": target(object, property), "file": {"fileName": "test.png"}});
        let note = note.to_string();
        let body = form(&[
            ("object", "", None, note.as_bytes()),
            ("file", "; filename=\"test.png\"", Some("image/png"), bytes),
        ]);
        self.send_form(who, body).await.must_be(201)
    }

    /// Announces a file for a property of an object.
    pub(super) async fn announce(&self, who: &Credential, object: &Value, property: &str) -> Value {
        let note = json!({"targetFileProperty": target(object, property), "file": {"fileName": "test.png"}});
        self.post(who, "/v1/files", note).await
    }

    async fn chunk(&self, who: &Credential, file: &Value, range: &str, bytes: &[u8]) -> Answer {
        let path = format!("{}/chunk", path_of(file));
        let body = Body::from(bytes.to_vec());
        self.send_body(who, "PUT", &path, body, &[("content-range", range)])
            .await
    }

    async fn photo(&self) -> Value {
        self.post(&NOBODY, "/v1/objects/photos", json!({"title": "A"}))
            .await
    }

    async fn read(&self, object: &Value) -> Value {
        self.send(&NOBODY, "GET", &path_of(object), &Value::Null)
            .await
            .must_be(200)
    }

    async fn kept(&self) -> u64 {
        let backend = self.backend.parse().unwrap();
        self.blobs.usage(backend).await.unwrap().blobs
    }
}

fn message(answer: Answer, status: u16) -> String {
    let body = answer.must_be(status);
    body["errors"][0]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_form_is_a_file_and_its_target_names_it() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let file = world.upload(&NOBODY, &photo, "file", &bytes).await;
    assert_eq!(file["objectType"], "files");
    assert_eq!(file["fileName"], "test.png");
    assert_eq!(file["fileSize"], 300_000);
    assert_eq!(file["contentType"], "image/png");
    assert_eq!(file["status"], "complete");
    assert_eq!(file["variants"], json!({}));
    let url = file["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://localhost:8080/v1/downloads/"),
        "{url}"
    );
    assert!(url.ends_with("/test.png"), "{url}");
    let after = world.read(&photo).await;
    assert_eq!(after["file"], reference(&file));
    assert_eq!(after["title"], "A");
    assert!(after["updatedAt"].as_str() > photo["updatedAt"].as_str());
    // Wherever it is shown, it is shown alike.
    assert_eq!(world.read(&file).await, file);
    let included = format!("{}?include=%7B%22file%22:%7B%7D%7D", path_of(&photo));
    let included = world
        .send(&NOBODY, "GET", &included, &Value::Null)
        .await
        .must_be(200);
    assert_eq!(included["file"], file);
    let listed = world
        .send(&NOBODY, "GET", "/v1/files", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(listed["results"], json!([file]));
    let query = "/v1/files?count=&q=%7B%22fileName%22:%22test.png%22,%22fileSize%22:%7B%22$gt%22:1000%7D%7D";
    assert_eq!(
        world
            .send(&NOBODY, "GET", query, &Value::Null)
            .await
            .must_be(200)["count"],
        1
    );
    // Whoever sends the object back with the whole file in it changes nothing.
    let put = world
        .send(&NOBODY, "PUT", &path_of(&photo), &included)
        .await
        .must_be(200);
    assert_eq!(put["file"], reference(&file));
    assert_eq!(world.kept().await, 1);
}

#[tokio::test]
async fn parts_come_in_any_order_and_are_said_in_many_ways() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let note = json!({"targetFileProperty": target(&photo, "file")}).to_string();
    let named = "; filename=\"C:\\\\dir\\\\from.part.gif\"";
    let old = json!({"object": reference(&photo), "fileName": "old.txt"}).to_string();
    let both =
        json!({"targetFileProperty": target(&photo, "other"), "file": {"fileName": "said.txt"}})
            .to_string();
    let table: [(&[Part<'_>], &str, &str, Option<&str>); 6] = [
        // Node: the name in a part of its own, behind the file.
        (
            &[
                (
                    "file",
                    "; filename=\"x\"",
                    Some("application/octet-stream"),
                    b"1",
                ),
                ("filename", "", None, b"node.png"),
                ("object", "", None, note.as_bytes()),
            ],
            "node.png",
            "image/png",
            Some("file"),
        ),
        // C++.
        (
            &[
                ("object", "", None, note.as_bytes()),
                ("file", named, Some("image/gif"), b"2"),
            ],
            "from.part.gif",
            "image/gif",
            Some("file"),
        ),
        // Qt of old: it sets the property itself.
        (
            &[
                ("object", "", Some("application/json"), old.as_bytes()),
                ("file", named, None, b"3"),
            ],
            "old.txt",
            "text/plain",
            None,
        ),
        (
            &[
                ("unknown", "", None, b"whatever"),
                ("filename", "", None, b"part.png"),
                ("object", "", None, both.as_bytes()),
                ("file", named, None, b""),
            ],
            "said.txt",
            "text/plain",
            Some("other"),
        ),
        // Nothing but the bytes.
        (
            &[("file", "", None, b"5")],
            "file",
            "application/octet-stream",
            None,
        ),
        (
            &[("file", "; filename=\"../../\"", Some("image/png\x01"), b"6")],
            "file",
            "application/octet-stream",
            None,
        ),
    ];
    for (parts, name, kind, property) in table {
        let file = world.send_form(&NOBODY, form(parts)).await.must_be(201);
        assert_eq!(
            (file["fileName"].as_str(), file["contentType"].as_str()),
            (Some(name), Some(kind))
        );
        assert_eq!(file["status"], "complete");
        if let Some(property) = property {
            assert_eq!(world.read(&photo).await[property], reference(&file));
        }
    }
    // As Qt of old goes on.
    let file = world
        .send_form(
            &NOBODY,
            form(&[
                ("object", "", None, old.as_bytes()),
                ("file", "", None, b"7"),
            ]),
        )
        .await;
    let file = file.must_be(201);
    let put = json!({"file": reference(&file)});
    world
        .send(&NOBODY, "PUT", &path_of(&photo), &put)
        .await
        .must_be(200);
    assert_eq!(
        world.read(&file).await["targetFileProperty"],
        target(&photo, "file")
    );
}

#[tokio::test]
async fn a_file_in_pieces_goes_from_empty_over_incomplete_to_complete() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let bytes: Vec<u8> = (0..2837_u32).map(|number| (number % 251) as u8).collect();
    let file = world.announce(&NOBODY, &photo, "file").await;
    assert_eq!(
        (file["status"].as_str(), file["received"].as_u64()),
        (Some("empty"), Some(0))
    );
    assert_eq!(file.get("url"), None);
    let first = world
        .chunk(&NOBODY, &file, "0-1024/2837", &bytes[..1024])
        .await
        .must_be(200);
    assert_eq!(
        (first["status"].as_str(), first["received"].as_u64()),
        (Some("incomplete"), Some(1024))
    );
    assert_eq!(
        (&first["id"], first["objectType"].as_str()),
        (&file["id"], Some("files"))
    );
    // The reply was lost.
    let again = world
        .chunk(&NOBODY, &file, "0-1024/2837", &bytes[..1024])
        .await
        .must_be(200);
    assert_eq!(again["received"], 1024);
    // A Java client's spelling, with an inclusive end.
    let spelled = "Content-Range: bytes 1024-2047/2837";
    world
        .chunk(&NOBODY, &file, spelled, &bytes[1024..2048])
        .await
        .must_be(200);
    assert_eq!(world.read(&photo).await.get("file"), None);
    let last = world
        .chunk(&NOBODY, &file, "2048-2837/2837", &bytes[2048..])
        .await
        .must_be(200);
    assert_eq!(
        (last["status"].as_str(), last["fileSize"].as_u64()),
        (Some("complete"), Some(2837))
    );
    assert_eq!(world.read(&photo).await["file"], reference(&file));
    let again = world
        .chunk(&NOBODY, &file, "2048-2837/2837", &bytes[2048..])
        .await
        .must_be(200);
    assert_eq!(again, last);
    let digest = last["sha256"].as_str().unwrap().parse().unwrap();
    let kept = world
        .blobs
        .read(world.backend.parse().unwrap(), &digest, 1 << 20);
    assert_eq!(kept.await.unwrap(), bytes);
    let uploads = world
        .blobs
        .uploads(world.backend.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(uploads, []);
}

#[tokio::test]
async fn a_file_of_nothing_is_a_file() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let file = world.announce(&NOBODY, &photo, "file").await;
    let whole = world.chunk(&NOBODY, &file, "0-0/0", b"").await.must_be(200);
    assert_eq!(
        (whole["status"].as_str(), whole["fileSize"].as_u64()),
        (Some("complete"), Some(0))
    );
    assert_eq!(world.read(&photo).await["file"], reference(&file));
}

#[tokio::test]
async fn pieces_that_do_not_fit_are_refused_with_where_to_go_on() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let file = world.announce(&NOBODY, &photo, "file").await;
    world
        .chunk(&NOBODY, &file, "0-4/10", b"0123")
        .await
        .must_be(200);
    let table: [(&str, &[u8], &str); 9] = [
        (
            "5-7/10",
            b"56",
            "leaves a gap: 4 bytes of the file are there; go on with Content-Range 4-END/10",
        ),
        ("2-6/10", b"2345", "overlaps what is there: 4 bytes"),
        ("0-3/10", b"012", "overlaps what is there"),
        ("4-6/11", b"45", "the pieces before said 10"),
        ("4-6/10", b"4", "covers 2 bytes"),
        ("4-8/10", b"4", "covers 4 bytes, but the body has 1"),
        ("4-6", b"45", "START-END/TOTAL"),
        ("8-11/10", b"890", "beyond its total"),
        ("6-4/10", b"", "ends before it starts"),
    ];
    for (range, bytes, said) in table {
        let told = message(world.chunk(&NOBODY, &file, range, bytes).await, 400);
        assert!(told.contains(said), "{range}: {told}");
    }
    let path = format!("{}/chunk", path_of(&file));
    let told = message(
        world
            .send_body(&NOBODY, "PUT", &path, Body::from("45"), &[])
            .await,
        400,
    );
    assert!(told.contains("Content-Range"), "{told}");
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("45"))]);
    let headers = [("content-range", "4-6/10")];
    let streamed = world
        .send_body(&NOBODY, "PUT", &path, Body::from_stream(stream), &headers)
        .await;
    assert!(message(streamed, 400).contains("Content-Length"));
    let huge = format!("4-6/{}", u64::MAX >> 4);
    let told = message(world.chunk(&NOBODY, &file, &huge, b"45").await, 400);
    assert!(told.contains("START-END/TOTAL"), "{told}");
    world
        .chunk(&NOBODY, &file, "4-6/1099511627776", b"45")
        .await
        .must_be(413);
    // None of it did any harm.
    assert_eq!(world.read(&file).await["received"], 4);
    world
        .chunk(&NOBODY, &file, "4-10/10", b"456789")
        .await
        .must_be(200);
    let told = message(
        world.chunk(&NOBODY, &file, "0-11/11", b"01234567890").await,
        400,
    );
    assert!(told.contains("whole already"), "{told}");
    let missing = json!({"id": "51cdbc08989e975ec300772a", "objectType": "files"});
    world
        .chunk(&NOBODY, &missing, "0-1/1", b"x")
        .await
        .must_be(404);
    let malformed = json!({"id": "INVALID_ID", "objectType": "files"});
    world
        .chunk(&NOBODY, &malformed, "0-1/1", b"x")
        .await
        .must_be(404);
}

#[tokio::test]
async fn forms_that_are_none_are_refused_and_leave_nothing() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let note = json!({"targetFileProperty": target(&photo, "file")}).to_string();
    let gone = json!({"targetFileProperty": {"id": "51cdbc08989e975ec300772a", "objectType": "objects.photos",
        "propertyName": "file"}});
    let gone = gone.to_string();
    let bad_property = json!({"targetFileProperty": target(&photo, "updatedAt")}).to_string();
    let file: Part<'_> = ("file", "; filename=\"a\"", None, b"bytes");
    let large = vec![b'x'; 70 << 10];
    let table: [(&[Part<'_>], u16, &str); 9] = [
        (&[], 400, "a part named `file`"),
        (
            &[("object", "", None, note.as_bytes())],
            400,
            "a part named `file`",
        ),
        (&[file, file], 400, "several parts"),
        (&[file, ("object", "", None, b"{")], 400, "not JSON"),
        (
            &[file, ("object", "", None, b"[]")],
            400,
            "must be a JSON object",
        ),
        (
            &[file, ("object", "", None, gone.as_bytes())],
            404,
            "no object",
        ),
        (
            &[file, ("object", "", None, bad_property.as_bytes())],
            400,
            "propertyName",
        ),
        (&[file, ("object", "", None, &large)], 413, "`65536`"),
        (&[file, ("other", "", None, &large)], 413, "65536"),
    ];
    for (parts, status, said) in table {
        let told = message(world.send_form(&NOBODY, form(parts)).await, status);
        assert!(told.contains(said.trim_matches('`')), "{said}: {told}");
    }
    let cut = form(&[("object", "", None, note.as_bytes()), file]);
    let cut = cut[..cut.len() - 10].to_vec();
    assert!(
        message(world.send_form(&NOBODY, cut).await, 400).contains("ends before its last boundary")
    );
    let no_boundary = [("content-type", "multipart/form-data")];
    let answer = world
        .send_body(
            &NOBODY,
            "POST",
            "/v1/files",
            Body::from("--\r\n"),
            &no_boundary,
        )
        .await;
    assert!(message(answer, 400).contains("boundary"));
    for (body, status) in [("", 400), ("null", 400), ("[]", 400), ("{", 400)] {
        world
            .send_body(&NOBODY, "POST", "/v1/files", Body::from(body), &[])
            .await
            .must_be(status);
    }
    let listed = world
        .send(&NOBODY, "GET", "/v1/files?count", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(listed["count"], 0);
    assert_eq!(world.read(&photo).await.get("file"), None);
    // What was stored before something turned out to be wrong is written down, to be removed.
    let backend = world.store.backend(world.backend.parse().unwrap());
    let later = pilvi_model::Timestamp::from_millis(super::now().as_millis() + 1);
    assert_eq!(
        backend.doom_blobs(later, 10).await.unwrap().len() as u64,
        world.kept().await
    );
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let note = json!({"targetFileProperty": target(&photo, "file")}).to_string();
    let whole = form(&[
        ("object", "", None, note.as_bytes()),
        ("file", "", None, &vec![7; 1 << 20]),
    ]);
    let most = Bytes::from(whole[..whole.len() * 99 / 100].to_vec());
    let gone = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let broken = futures_util::stream::iter([Ok(most.clone()), Err(gone)]);
    world
        .send_form(&NOBODY, Body::from_stream(broken))
        .await
        .must_be(400);
    // Or the connection takes the whole request with it.
    let stalled = futures_util::stream::iter([Ok::<_, std::io::Error>(most)])
        .chain(futures_util::stream::pending());
    let sending = world.send_form(&NOBODY, Body::from_stream(stalled));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), sending).await;
    assert!(waited.is_err());
    assert_eq!(world.kept().await, 0);
    let drafts = std::fs::read_dir(world.folder.path().join("files/drafts")).unwrap();
    assert_eq!(drafts.count(), 0);
    // A piece, too.
    let file = world.announce(&NOBODY, &photo, "file").await;
    let broken = [
        Ok(Bytes::from("01")),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ];
    let path = format!("{}/chunk", path_of(&file));
    let headers = [("content-range", "0-4/4"), ("content-length", "4")];
    let broken = Body::from_stream(futures_util::stream::iter(broken));
    world
        .send_body(&NOBODY, "PUT", &path, broken, &headers)
        .await
        .must_be(400);
    assert_eq!(world.read(&file).await["received"], 0);
    world
        .chunk(&NOBODY, &file, "0-4/4", b"0123")
        .await
        .must_be(200);
}

#[tokio::test]
async fn what_people_say_of_a_file_can_be_changed_and_what_it_is_cannot() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let file = world.upload(&NOBODY, &photo, "file", b"bytes").await;
    let changes = json!({"fileName": "../../new\u{202e}.html", "contentType": "Text/HTML", "fileSize": 1,
        "status": "empty", "sha256": "x", "url": "javascript:1", "variants": {"a": 1}, "received": 5, "title": "T",
        "targetFileProperty": {"id": "x"}});
    let after = world
        .send(&NOBODY, "PUT", &path_of(&file), &changes)
        .await
        .must_be(200);
    assert_eq!(
        (after["fileName"].as_str(), after["contentType"].as_str()),
        (Some("new.html"), Some("text/html"))
    );
    assert_eq!(
        (&after["title"], &after["status"]),
        (&json!("T"), &json!("complete"))
    );
    for same in ["fileSize", "sha256", "variants", "targetFileProperty"] {
        assert_eq!(after[same], file[same], "{same}");
    }
    assert!(after["url"].as_str().unwrap().ends_with("/new.html"));
    assert_eq!(after.get("received"), None);
    for wrong in [
        json!({"fileName": 5}),
        json!({"contentType": "x"}),
        json!({"contentType": null}),
    ] {
        world
            .send(&NOBODY, "PUT", &path_of(&file), &wrong)
            .await
            .must_be(400);
    }
    world
        .send(&NOBODY, "DELETE", &path_of(&file), &Value::Null)
        .await
        .must_be(200);
    assert_eq!(world.read(&photo).await["file"], Value::Null);
    world
        .send(&NOBODY, "GET", &path_of(&file), &Value::Null)
        .await
        .must_be(404);
}

#[tokio::test]
async fn what_is_said_of_a_file_has_one_bound_however_it_comes() {
    let world = World::new("open").await;
    let pieces = [
        b"{\"a\":\"".to_vec(),
        vec![b'a'; 60 << 10],
        vec![b'a'; 60 << 10],
    ];
    let stream = futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>));
    let reply = world
        .send_body(&NOBODY, "POST", "/v1/files", Body::from_stream(stream), &[])
        .await;
    let told = message(reply, 413);
    assert!(told.contains("64 KiB"), "{told}");
}

#[tokio::test]
async fn a_file_too_large_is_refused_before_and_while_it_comes() {
    let world = World::with_file_bytes_max("open", 1000).await;
    let photo = world.photo().await;
    let note = json!({"targetFileProperty": target(&photo, "file")}).to_string();
    let body = |length: usize| {
        form(&[
            ("object", "", None, note.as_bytes()),
            ("file", "", None, &vec![7; length]),
        ])
    };
    world.send_form(&NOBODY, body(1000)).await.must_be(201);
    let told = message(world.send_form(&NOBODY, body(1001)).await, 413);
    assert!(told.contains("at most 1000 bytes"), "{told}");
    // The wrapping has room of its own, but not without end.
    world.send_form(&NOBODY, body(1 << 20)).await.must_be(413);
    let file = world.announce(&NOBODY, &photo, "file").await;
    world
        .chunk(&NOBODY, &file, "0-10/1001", &[7; 10])
        .await
        .must_be(413);
}

#[tokio::test]
async fn what_may_not_be_uploaded_is_refused_before_its_bytes_come() {
    let world = World::new("private").await;
    let (_, owner) = world.sign_up("owner").await;
    let (_, stranger) = world.sign_up("stranger").await;
    let photo = world.post(&owner, "/v1/objects/photos", json!({})).await;
    let note = json!({"targetFileProperty": target(&photo, "file")}).to_string();
    let start = form(&[
        ("object", "", None, note.as_bytes()),
        ("file", "", None, b""),
    ]);
    let start = Bytes::from(start[..start.len() - 20].to_vec());
    for (who, status) in [(&stranger, 404), (&NOBODY, 401)] {
        // It never ends, and need not.
        let endless = futures_util::stream::iter([Ok::<_, std::io::Error>(start.clone())])
            .chain(futures_util::stream::pending());
        world
            .send_form(who, Body::from_stream(endless))
            .await
            .must_be(status);
    }
    let file = world.upload(&owner, &photo, "file", b"bytes").await;
    world
        .send(&stranger, "GET", &path_of(&file), &Value::Null)
        .await
        .must_be(404);
    world
        .send(&owner, "GET", &path_of(&file), &Value::Null)
        .await
        .must_be(200);
    // Of a backend that is not this one.
    let at = [("enginio-backend-id", world.foreign.as_str())];
    let admin = Credential::Bearer(world.foreign_token.clone());
    world
        .send_with(&admin, "GET", &path_of(&file), &Value::Null, &at)
        .await
        .must_be(404);
    let foreign = json!({"targetFileProperty": target(&photo, "file"), "file": {"fileName": "x"}});
    world
        .send_with(&admin, "POST", "/v1/files", &foreign, &at)
        .await
        .must_be(404);
}

#[tokio::test]
async fn an_upload_whose_end_was_refused_can_still_be_ended() {
    let world = World::new("open").await;
    let photo = world.photo().await;
    let file = world.announce(&NOBODY, &photo, "file").await;
    // The object that is to name the file is taken away from whoever uploads, and given back later.
    let access = format!("{}/access", path_of(&photo));
    let closed = json!({"read": super::everyone()});
    world
        .send(&world.admin(), "POST", &access, &closed)
        .await
        .must_be(200);
    world
        .chunk(&world.admin(), &file, "0-4/8", b"0123")
        .await
        .must_be(200);
    world
        .chunk(&NOBODY, &file, "4-8/8", b"4567")
        .await
        .must_be(401);
    let rule = json!({"name": "photos", "validators": [
        {"name": "file.type", "property": "file", "type": "type", "options": {"type": "string"}}]});
    let types = "/v1/object_types";
    world
        .send(&world.admin(), "POST", types, &rule)
        .await
        .must_be(200);
    world
        .chunk(&world.admin(), &file, "4-8/8", b"4567")
        .await
        .must_be(400);
    // Long enough for what nobody needs to be removed.
    let backend = world.store.backend(world.backend.parse().unwrap());
    let later = pilvi_model::Timestamp::from_millis(super::now().as_millis() + 86_400_000);
    assert_eq!(backend.doom_blobs(later, 10).await.unwrap(), []);
    let none = json!({"validators": []});
    let photos = "/v1/object_types/photos";
    world
        .send(&world.admin(), "PUT", photos, &none)
        .await
        .must_be(200);
    let whole = world.chunk(&world.admin(), &file, "4-8/8", b"4567").await;
    assert_eq!(whole.must_be(200)["status"], "complete");
    assert_eq!(world.read(&photo).await["file"], reference(&file));
}
