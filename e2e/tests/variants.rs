//! Variants of images as clients see them: asked for by a schema, made in the background, fetched by an address, and
//! gone with what they were made of.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::picture::{png, png_of, png_size};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

/// As long as the client's own test waits.
const MADE_WITHIN: Duration = Duration::from_secs(20);
/// What the server may grow by while it refuses images that would take gigabytes, in KiB.
const BOMB_KIB_MAX: u64 = 120 << 10;

/// The schema and the file of `eds.md` §10.5: exactly 20×20 pixels of 181×54.
#[test]
fn a_thumbnail_is_made_as_the_old_client_expects_it() {
    let server = Server::demo();
    let backend = server.backend();
    let described = describe(&backend, &json!({"thumbnail": {"crop": "20x20"}}));
    assert!(!described["properties"].as_array().unwrap().is_empty());
    let (file, _) = upload(&backend, "test.png", "image/png", &png(181, 54, 7));
    assert!(
        file["variants"]["thumbnail"]["status"].is_string(),
        "{file}"
    );
    let file = settled(&backend, &file);
    assert_eq!(
        file["variants"]["thumbnail"]["status"], "complete",
        "{file}"
    );
    let (head, thumbnail) = fetch(&server, &backend, &file, "thumbnail");
    assert_eq!(png_size(&thumbnail), Some((20, 20)));
    assert_eq!(head.header("Content-Type"), Some("image/png"));
    assert_eq!(file["variants"]["thumbnail"]["fileSize"], thumbnail.len());
    let unknown = format!("{}/download_url?variant=poster", path_of(&file));
    backend.send(Request::get(unknown)).must_be(404);
}

#[test]
fn each_format_gives_variants_of_its_own_kind() {
    let server = Server::demo();
    let backend = server.backend();
    describe(
        &backend,
        &json!({"square": {"crop": "16x16"}, "small": {"fit": "24x24"}}),
    );
    for (name, kind, bytes, magic) in [
        (
            "photo.jpg",
            "image/jpeg",
            &include_bytes!("images/photo.jpg")[..],
            &b"\xff\xd8"[..],
        ),
        (
            "picture.webp",
            "image/webp",
            include_bytes!("images/picture.webp"),
            b"RIFF",
        ),
        (
            "moving.gif",
            "image/gif",
            include_bytes!("images/moving.gif"),
            b"GIF89a\x10\0\x10\0",
        ),
    ] {
        // What a file is said to be makes no difference.
        let (file, _) = upload(&backend, name, "application/x-unheard-of", bytes);
        let file = settled(&backend, &file);
        let square = &file["variants"]["square"];
        assert_eq!(square["status"], "complete", "{file}");
        assert_eq!(
            (&square["width"], &square["height"]),
            (&json!(16), &json!(16))
        );
        let small = &file["variants"]["small"];
        assert_eq!(
            (&small["width"], &small["height"]),
            (&json!(24), &json!(16))
        );
        let (head, bytes) = fetch(&server, &backend, &file, "square");
        assert_eq!(head.header("Content-Type"), Some(kind));
        assert!(bytes.starts_with(magic), "{name}");
    }
}

#[test]
fn bombs_and_other_files_are_refused_with_a_reason_and_hurt_nobody() {
    let server = Server::demo();
    let backend = server.backend();
    describe(&backend, &json!({"thumbnail": {"crop": "20x20"}}));
    let (file, _) = upload(&backend, "warm.png", "image/png", &png(40, 40, 1));
    settled(&backend, &file);
    let before = server.resident_kib();
    // Pixels that are not there: a stream that ends at once.
    let nothing = [0x78, 1, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 1];
    let gif = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;";
    let files = [
        (
            "bomb.png",
            png_of(60_000, 60_000, &nothing),
            "3600000000 pixels",
        ),
        ("bomb.gif", gif.to_vec(), "4294836225 pixels"),
        ("long.png", png_of(u32::MAX >> 1, 1, &nothing), "memory"),
        ("greedy.png", png_of(7000, 7000, &nothing), "damaged"),
        ("cut.png", png(181, 54, 3)[..1000].to_vec(), "damaged"),
        (
            "notes.txt",
            b"no image at all".to_vec(),
            "PNG, JPEG, GIF and WebP",
        ),
        (
            "page.png",
            b"<html><script>alert(1)</script>".to_vec(),
            "PNG, JPEG, GIF and WebP",
        ),
        ("nothing.png", Vec::new(), "PNG, JPEG, GIF and WebP"),
    ];
    for (name, bytes, why) in files {
        let (file, _) = upload(&backend, name, "image/png", &bytes);
        let file = settled(&backend, &file);
        let thumbnail = &file["variants"]["thumbnail"];
        assert_eq!(thumbnail["status"], "failed", "{name}: {file}");
        let reason = thumbnail["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{name}: {reason}");
        let address = format!("{}/download_url?variant=thumbnail", path_of(&file));
        backend.send(Request::get(address)).must_be(404);
        // The file itself is as good as any.
        backend
            .send(Request::get(format!("{}/download_url", path_of(&file))))
            .must_be(200);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < BOMB_KIB_MAX, "the server grew by {grown} KiB");
    let (file, _) = upload(&backend, "after.png", "image/png", &png(50, 50, 9));
    assert_eq!(
        settled(&backend, &file)["variants"]["thumbnail"]["status"],
        "complete"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn processors_that_are_none_are_refused() {
    let server = Server::demo();
    let backend = server.backend();
    for (processors, word) in [
        (json!([{"type": "video", "variants": {}}]), "image"),
        (
            json!([{"type": "image", "variants": {"a": {"crop": "0x20"}}}]),
            "4096",
        ),
        (
            json!([{"type": "image", "variants": {"a": {"crop": "5000x20"}}}]),
            "4096",
        ),
        (
            json!([{"type": "image", "variants": {"a": {"turn": "20x20"}}}]),
            "crop",
        ),
        (
            json!([{"type": "image", "variants": {"../a": {"crop": "20x20"}}}]),
            "name",
        ),
        (json!("image"), "array"),
    ] {
        let property =
            json!({"name": "file", "type": "ref", "objectType": "files", "processors": processors});
        let body = json!({"name": "gallery", "properties": [property]});
        let reply = backend.send_as_admin(Request::post("/v1/object_types").json(&body));
        let refusal = reply.must_be(400).to_string();
        assert!(
            refusal.contains(word) && refusal.contains("properties[0]"),
            "{refusal}"
        );
    }
}

#[test]
fn other_processors_make_other_variants_of_the_same_files() {
    let server = Server::demo();
    let backend = server.backend();
    // A file that is there before anybody asks for variants.
    let (file, _) = upload(&backend, "a.png", "image/png", &png(100, 80, 2));
    assert_eq!(file["variants"], json!({}));
    describe(&backend, &json!({"thumbnail": {"crop": "20x20"}}));
    let first = wait::until("a thumbnail", MADE_WITHIN, || {
        let file = read(&backend, &file);
        (file["variants"]["thumbnail"]["width"] == 20).then_some(file)
    });
    describe(
        &backend,
        &json!({"thumbnail": {"crop": "30x10"}, "large": {"fit": "90x90"}}),
    );
    let second = wait::until("other variants", MADE_WITHIN, || {
        let file = read(&backend, &file);
        let variants = &file["variants"];
        (variants["thumbnail"]["width"] == 30 && variants["large"]["width"] == 90).then_some(file)
    });
    let (_, thumbnail) = fetch(&server, &backend, &second, "thumbnail");
    assert_eq!(png_size(&thumbnail), Some((30, 10)));
    assert_ne!(first["updatedAt"], second["updatedAt"]);
}

/// What the image gallery of 2014 finds when it is started against a new backend.
#[test]
fn the_template_of_the_image_gallery_makes_thumbnails() {
    let server = Server::demo();
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let body = json!({"name": "Gallery", "serviceProviderId": "eds", "config": {"template": "image-gallery"}});
    let instance = cloud.send(Request::post(path).json(&body)).must_be(201);
    let path = format!("/v1/instances/{}/authorizations", text(&instance, "/id"));
    let tokens = cloud.send(Request::get(path)).must_be(200);
    let token = text(&tokens, "/results/0/access_token");
    let backend = Backend::new(server.http, &text(&instance, "/id"), &token);
    let image = backend.create("image", &json!({"name": "a", "localPath": "/tmp/a.png"}));
    let (file, _) = upload_for(&backend, &image, "a.png", "image/png", &png(300, 200, 5));
    let file = settled(&backend, &file);
    let (_, thumbnail) = fetch(&server, &backend, &file, "thumbnail");
    assert_eq!(png_size(&thumbnail), Some((100, 100)));
}

#[test]
fn what_nobody_needs_is_collected_and_nothing_else() {
    let data = TempDir::new().unwrap();
    let options = Options {
        data: Some(data.path().to_owned()),
        ..Options::demo()
    };
    let server = Server::start(&options);
    let backend = server.backend();
    describe(&backend, &json!({"thumbnail": {"crop": "20x20"}}));
    let (kept, _) = upload(&backend, "kept.png", "image/png", &png(60, 60, 1));
    let (doomed, owner) = upload(&backend, "doomed.png", "image/png", &png(60, 60, 2));
    let (dropped, holder) = upload(&backend, "dropped.png", "image/png", &png(60, 60, 3));
    for file in [&kept, &doomed, &dropped] {
        settled(&backend, file);
    }
    let kept = read(&backend, &kept);
    assert_eq!(blobs(data.path()), 6);
    // An upload that nobody goes on with, and one that nobody named.
    let begun = json!({"file": {"fileName": "begun.bin"}});
    let begun = backend
        .send(Request::post("/v1/files").json(&begun))
        .must_be(201);
    let chunk = Request::put(format!("{}/chunk", path_of(&begun)));
    let chunk = chunk.header("Content-Range", "0-5/10").body("12345");
    backend.send(chunk).must_be(200);
    backend.delete(&owner);
    backend.update(&holder, &json!({"file": null}));

    // The server alone would wait: what is young may still be wanted.
    let none = json!({"files": 0, "uploads": 0, "blobs": 0, "bytes": 0});
    assert_eq!(collect(&backend, &json!({})), none);
    backend
        .send_as_admin(Request::get(path_of(&dropped)))
        .must_be(200);
    let collected = collect(&backend, &json!({"olderThanHours": 0}));
    assert_eq!(
        (&collected["files"], &collected["uploads"]),
        (&json!(1), &json!(1)),
        "{collected}"
    );
    assert_eq!(collected["blobs"], 4, "{collected}");
    for gone in [&doomed, &dropped, &begun] {
        backend
            .send_as_admin(Request::get(path_of(gone)))
            .must_be(404);
    }
    assert_eq!(read(&backend, &kept), kept);
    assert_eq!(blobs(data.path()), 2);
    let (_, bytes) = fetch(&server, &backend, &kept, "thumbnail");
    assert_eq!(png_size(&bytes), Some((20, 20)));
    assert_eq!(collect(&backend, &json!({"olderThanHours": 0})), none);
    for wrong in [
        json!({"olderThanHours": -1}),
        json!({"olderThanHours": "1"}),
    ] {
        let reply = backend.send_as_admin(Request::post("/v1/files/collect").json(&wrong));
        reply.must_be(400);
    }
}

/// Lets the property `file` of `gallery` have these variants.
#[track_caller]
fn describe(backend: &Backend, variants: &Value) -> Value {
    let property = json!({"name": "file", "type": "ref", "objectType": "files",
        "processors": [{"type": "image", "variants": variants}]});
    let body = json!({"name": "gallery", "properties": [property]});
    let reply = backend.send_as_admin(Request::post("/v1/object_types").json(&body));
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// Uploads a file for a new object; gives both.
#[track_caller]
fn upload(backend: &Backend, name: &str, kind: &str, bytes: &[u8]) -> (Value, Value) {
    let object = backend.create("gallery", &json!({"title": name}));
    upload_for(backend, &object, name, kind, bytes)
}

/// Uploads a file for the property `file` of an object; gives both.
#[track_caller]
fn upload_for(
    backend: &Backend,
    object: &Value,
    name: &str,
    kind: &str,
    bytes: &[u8],
) -> (Value, Value) {
    let target =
        json!({"id": object["id"], "objectType": object["objectType"], "propertyName": "file"});
    let note = json!({"targetFileProperty": target, "file": {"fileName": name}});
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{note}\r\n--b\r\nContent-Disposition: \
         form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
    );
    let body = [head.as_bytes(), bytes, b"\r\n--b--\r\n"].concat();
    let request =
        Request::post("/v1/files").header("Content-Type", "multipart/form-data; boundary=b");
    let file = backend.send(request.body(body)).must_be(201);
    (file, object.clone())
}

#[track_caller]
fn read(backend: &Backend, file: &Value) -> Value {
    let mut file = backend
        .send_as_admin(Request::get(path_of(file)))
        .must_be(200);
    // Another one each time.
    file.as_object_mut().unwrap().remove("url");
    file
}

/// The file once all of its variants are made or given up.
#[track_caller]
fn settled(backend: &Backend, file: &Value) -> Value {
    wait::until("the variants of a file", MADE_WITHIN, || {
        let file = read(backend, file);
        let variants = file["variants"].as_object().unwrap();
        let is_open = |variant: &Value| variant["status"] == "processing";
        let done = !variants.is_empty() && !variants.values().any(is_open);
        done.then_some(file)
    })
}

/// The bytes of a variant, by way of its address, which needs no header.
#[track_caller]
fn fetch(server: &Server, backend: &Backend, file: &Value, variant: &str) -> (Reply, Vec<u8>) {
    let address = format!("{}/download_url?variant={variant}", path_of(file));
    let address = backend.send(Request::get(address)).must_be(200);
    let url = text(&address, "/expiringUrl");
    let base = format!("http://{}", server.http);
    let target = url
        .strip_prefix(&base)
        .unwrap_or_else(|| panic!("{url} is not at {base}"));
    let reply = Request::get(target).send(server.http);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bytes = reply.body.clone();
    (reply, bytes)
}

#[track_caller]
fn collect(backend: &Backend, body: &Value) -> Value {
    backend
        .send_as_admin(Request::post("/v1/files/collect").json(body))
        .must_be(200)
}

/// How many blobs the server keeps.
fn blobs(data: &Path) -> usize {
    let is_digest =
        |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut folders = vec![data.join("files")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found += usize::from(is_digest(&entry.file_name().to_string_lossy())),
            }
        }
    }
    found
}
