//! A backend goes out and comes in again, and is the same; what is no export comes to nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use pilvi_backup::export::{ExportBounds, ExportManifest, ExportWriter, inspect, objects_path};
use pilvi_base::secret::{hex, sha256};
use pilvi_model::RequestId;
use pilvi_web::Arrival;
use serde_json::{Value, json};

use super::{Answer, Credential, World, everyone, path_of, reference};

/// How often it is looked whether an import has come to its end, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS_MAX: usize = 6000;

impl World {
    fn foreign_admin(&self) -> Credential {
        Credential::Bearer(self.foreign_token.clone())
    }

    /// What a backend's administrator gets from a path that answers with bytes.
    async fn fetch(&self, backend: &str, token: &str, path: &str) -> Vec<u8> {
        let request = http::Request::get(path)
            .header("enginio-backend-id", backend)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        let response = self.door.call(request, arrival).await;
        assert_eq!(response.status().as_u16(), 200);
        let collected = response.into_body().collect().await.unwrap();
        collected.to_bytes().to_vec()
    }

    async fn export(&self) -> Vec<u8> {
        self.fetch(&self.backend, &self.token, "/v1/export").await
    }

    async fn at_foreign(&self, method: &str, path: &str, body: &Value) -> Answer {
        let at = [("enginio-backend-id", self.foreign.as_str())];
        self.send_with(&self.foreign_admin(), method, path, body, &at)
            .await
    }

    /// Announces an archive at the foreign backend and brings it in pieces.
    async fn bring(&self, archive: &[u8], piece: usize) -> String {
        let announced = json!({"bytes": archive.len(), "sha256": hex(&sha256(archive))});
        let import = self
            .at_foreign("POST", "/v1/imports", &announced)
            .await
            .must_be(201);
        let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
        let mut at = 0;
        for piece in archive.chunks(piece) {
            let answer = self.bring_piece(&path, at, piece, archive.len()).await;
            at += piece.len();
            assert_eq!(answer.must_be(200)["received"], at);
        }
        path
    }

    async fn bring_piece(&self, path: &str, at: usize, piece: &[u8], total: usize) -> Answer {
        let range = format!("{at}-{}/{total}", at + piece.len());
        let headers = [
            ("enginio-backend-id", self.foreign.as_str()),
            ("content-range", range.as_str()),
        ];
        let chunk = format!("{path}/chunk");
        let body = Body::from(piece.to_vec());
        self.send_body(&self.foreign_admin(), "PUT", &chunk, body, &headers)
            .await
    }

    /// Starts an import and waits for its end.
    async fn carry_out(&self, path: &str, replace: bool) -> Value {
        let start = format!("{path}/start");
        self.at_foreign("POST", &start, &json!({"replace": replace}))
            .await
            .must_be(200);
        for _ in 0..LOOKS_MAX {
            let import = self
                .at_foreign("GET", path, &Value::Null)
                .await
                .must_be(200);
            if import["state"] != "running" {
                return import;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("the import does not come to an end");
    }
}

/// A backend with something of everything.
async fn furnish(world: &World) {
    let admin = world.admin();
    let (user, credential) = world.sign_up("wim").await;
    let (other, _) = world.sign_up("mia {}").await;
    let group = world
        .post(&admin, "/v1/usergroups", json!({"name": "editors"}))
        .await;
    let members = format!("{}/members", path_of(&group));
    for one in [&user, &other] {
        world.post(&admin, &members, reference(one)).await;
    }
    let boards = json!({"name": "boards", "properties": [
        {"name": "code", "type": "string", "indexed": true}],
        "validators": [{"name": "code.unique", "property": "code", "type": "unique"}],
        "accessControlList": {"read": everyone(), "create": everyone()}});
    let cards = json!({"name": "cards", "properties": [{"name": "board", "type": "ref", "objectType": "objects.boards",
        "onCreate": {"accessControlList": "extend"}}]});
    for object_type in [cards, boards] {
        let answer = world
            .send(&admin, "POST", "/v1/object_types", &object_type)
            .await;
        assert!(answer.status.is_success(), "{}", answer.body);
    }
    let board = world
        .post(
            &credential,
            "/v1/objects/boards",
            json!({"code": "a", "n": 1.5, "deep": {"b": [null, "ä"]}}),
        )
        .await;
    let card = world
        .post(
            &credential,
            "/v1/objects/cards",
            json!({"board": reference(&board), "title": "one"}),
        )
        .await;
    let lists = json!({"read": [reference(&group)], "update": [], "admin": [reference(&other)]});
    world
        .send(
            &admin,
            "PUT",
            &format!("{}/access", path_of(&board)),
            &lists,
        )
        .await
        .must_be(200);
    world
        .send(&admin, "PUT", &path_of(&card), &json!({"title": "two"}))
        .await
        .must_be(200);
    let hook = json!({"url": "http://127.0.0.1:1/", "objectTypes": ["objects.none"], "headers": {"X-Key": "k"}});
    world.post(&admin, "/v1/webhooks", hook).await;
    let note = json!({"file": {"fileName": "a.txt"},
        "targetFileProperty": {"id": board["id"], "objectType": "objects.boards", "propertyName": "picture"}});
    let file = world.post(&credential, "/v1/files", note).await;
    let range = [("content-range", "0-5/5")];
    let chunk = format!("{}/chunk", path_of(&file));
    world
        .send_body(&credential, "PUT", &chunk, Body::from("bytes"), &range)
        .await
        .must_be(200);
    world
        .send(
            &admin,
            "PUT",
            &path_of(&board),
            &json!({"picture": reference(&file)}),
        )
        .await
        .must_be(200);
}

/// The texts of an archive by path, without its manifest.
fn texts(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let export = inspect(archive, ExportBounds::default(), |_| true).unwrap();
    let mut texts = BTreeMap::new();
    for record in &export.manifest.files {
        let lies = export.text(&record.path).unwrap();
        let (from, to) = (lies.at as usize, (lies.at + lies.bytes) as usize);
        texts.insert(record.path.clone(), archive[from..to].to_vec());
    }
    texts
}

#[tokio::test]
async fn what_goes_out_comes_in_as_it_was() {
    let world = World::new("private").await;
    furnish(&world).await;
    let archive = world.export().await;
    let path = world.bring(&archive, 10_000).await;
    let import = world.carry_out(&path, false).await;
    assert_eq!(import["state"], "done", "{import}");
    let warnings = import["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].as_str().unwrap().contains("x-key"),
        "{warnings:?}"
    );

    let again = world
        .fetch(&world.foreign, &world.foreign_token, "/v1/export")
        .await;
    let (mut before, mut after) = (texts(&archive), texts(&again));
    for texts in [&mut before, &mut after] {
        // It was switched off on the way.
        let webhooks = texts.remove("webhooks.json").unwrap();
        let webhooks: Value = serde_json::from_slice(&webhooks).unwrap();
        assert_eq!(webhooks[0]["url"], "http://127.0.0.1:1/");
        let schema: Value = serde_json::from_slice(&texts.remove("schema.json").unwrap()).unwrap();
        let mut types = schema["objects"].as_array().unwrap().clone();
        for entry in &mut types {
            entry["object"].as_object_mut().unwrap().remove("updatedAt");
        }
        texts.insert("types".to_owned(), json!(types).to_string().into_bytes());
    }
    for (path, text) in &before {
        assert_eq!(
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(&after[path]),
            "{path}"
        );
    }
    assert_eq!(before.len(), after.len());

    // People sign in with their old passwords, and may do what they might.
    let at = [("enginio-backend-id", world.foreign.as_str())];
    let login = json!({"username": "wim", "password": "secret", "grant_type": "password"});
    let tokens = world
        .send_with(
            &Credential::Nothing,
            "POST",
            "/v1/auth/oauth2/token",
            &login,
            &at,
        )
        .await
        .must_be(200);
    let wim = Credential::Bearer(tokens["access_token"].as_str().unwrap().to_owned());
    let cards = world
        .send_with(&wim, "GET", "/v1/objects/cards", &Value::Null, &at)
        .await
        .must_be(200);
    assert_eq!(cards["results"].as_array().unwrap().len(), 1, "{cards}");
    // What is unique stays so.
    let twice = json!({"code": "a"});
    let refused = world
        .send_with(&wim, "POST", "/v1/objects/boards", &twice, &at)
        .await;
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.body);
    let files = world
        .at_foreign("GET", "/v1/files", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(files["results"][0]["fileSize"], 5, "{files}");
}

#[tokio::test]
async fn what_is_there_is_replaced_only_by_who_says_so() {
    let world = World::new("open").await;
    furnish(&world).await;
    let archive = world.export().await;
    let kept = world
        .at_foreign("POST", "/v1/objects/old", &json!({"here": "before"}))
        .await
        .must_be(201);
    let path = world.bring(&archive, archive.len()).await;
    let start = format!("{path}/start");
    let refused = world.at_foreign("POST", &start, &json!({})).await;
    assert_eq!(refused.status.as_u16(), 409, "{}", refused.body);
    world
        .at_foreign("GET", &path_of(&kept), &Value::Null)
        .await
        .must_be(200);
    let import = world.carry_out(&path, true).await;
    assert_eq!(import["state"], "done", "{import}");
    world
        .at_foreign("GET", &path_of(&kept), &Value::Null)
        .await
        .must_be(404);
    // What is written now is told under numbers that nobody has seen.
    let boards = world
        .at_foreign("GET", "/v1/objects/boards?count", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(boards["count"], 1);
    let again = world.at_foreign("POST", &start, &json!({})).await;
    assert_eq!(again.status.as_u16(), 409, "it is done");
}

#[tokio::test]
async fn an_archive_may_come_in_any_pieces_and_again() {
    let world = World::new("open").await;
    let archive = world.export().await;
    let announced = json!({"bytes": archive.len(), "sha256": hex(&sha256(&archive))});
    let import = world
        .at_foreign("POST", "/v1/imports", &announced)
        .await
        .must_be(201);
    let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    let total = archive.len();
    let gap = world.bring_piece(&path, 10, &archive[10..20], total).await;
    assert_eq!(gap.status.as_u16(), 400);
    assert!(gap.body.to_string().contains("go on at 0"), "{}", gap.body);
    world
        .bring_piece(&path, 0, &archive[..1000], total)
        .await
        .must_be(200);
    // A piece that came already, and one that overlaps.
    for (from, to, received) in [(0, 500, 1000), (900, 2000, 2000)] {
        let answer = world
            .bring_piece(&path, from, &archive[from..to], total)
            .await;
        assert_eq!(answer.must_be(200)["received"], received);
    }
    let other_length = world.bring_piece(&path, 2000, b"x", total + 1).await;
    assert_eq!(other_length.status.as_u16(), 400);
    let early = world
        .at_foreign("POST", &format!("{path}/start"), &json!({}))
        .await;
    assert_eq!(early.status.as_u16(), 409);
    assert!(early.body.to_string().contains("go on at 2000"));
    // Whoever forgot the id finds the same import by its checksum.
    let same = world
        .at_foreign("POST", "/v1/imports", &announced)
        .await
        .must_be(200);
    assert_eq!(same["id"], import["id"]);
    assert_eq!(same["received"], 2000);
    world
        .bring_piece(&path, 2000, &archive[2000..], total)
        .await
        .must_be(200);
    assert_eq!(world.carry_out(&path, false).await["state"], "done");
    // It is nobody else's.
    let theirs = world.send(&world.admin(), "GET", &path, &Value::Null).await;
    assert_eq!(theirs.status.as_u16(), 404);
    world
        .at_foreign("DELETE", &path, &Value::Null)
        .await
        .must_be(200);
    world
        .at_foreign("GET", &path, &Value::Null)
        .await
        .must_be(404);
}

const ID: &str = "51cdbc08989e975ec300772a";

fn note(id: &str, more: &Value) -> Value {
    let mut object = json!({
        "id": id, "objectType": "objects.notes", "createdAt": "2013-06-28T16:38:32.369Z",
        "updatedAt": "2013-06-28T16:38:32.369Z",
    });
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    json!({"object": object, "access": {"read": everyone()}})
}

/// An archive that somebody wrote by hand.
fn by_hand(entries: &[(&str, String)], counts: &Value) -> Vec<u8> {
    by_hand_with(entries, &[], counts)
}

/// The same with the bytes of files.
fn by_hand_with(entries: &[(&str, String)], blobs: &[&[u8]], counts: &Value) -> Vec<u8> {
    let manifest: ExportManifest = serde_json::from_value(json!({
        "format": "pilvi-export", "version": 1, "files": [], "counts": counts,
    }))
    .unwrap();
    let mut out = Vec::new();
    let mut writer = ExportWriter::new(&mut out);
    for (path, text) in entries {
        writer.bytes(path, text.as_bytes()).unwrap();
    }
    for blob in blobs {
        let bytes = blob.len() as u64;
        writer.blob(&hex(&sha256(blob)), bytes, *blob).unwrap();
    }
    writer.finish(manifest).unwrap();
    out
}

/// So many notes of 20 kB.
fn notes_by_hand(count: u64) -> Vec<u8> {
    let text = "x".repeat(20_000);
    let lines: Vec<String> = (0..count)
        .map(|n| note(&format!("{n:024x}"), &json!({"text": text})).to_string())
        .collect();
    by_hand(
        &[(&objects_path("notes"), lines.join("\n"))],
        &json!({"objects": {"objects.notes": count}}),
    )
}

/// A file of so many bytes.
fn file_by_hand(bytes: usize) -> Vec<u8> {
    let blob = vec![b'x'; bytes];
    let mut file = note(ID, &json!({"objectType": "files", "fileName": "a"}));
    file["file"] = json!({"sha256": hex(&sha256(&blob)), "bytes": bytes, "owner": null});
    by_hand_with(
        &[("files.ndjson", file.to_string())],
        &[&blob],
        &json!({"objects": {"files": 1}}),
    )
}

#[tokio::test]
async fn what_is_no_sound_export_changes_nothing_and_says_why() {
    let world = World::new("open").await;
    let notes = objects_path("notes");
    let one = note(ID, &json!({"n": 1})).to_string();
    let count = |name: &str, count: u64| json!({"objects": {name: count}});
    let wrong_type = note(ID, &json!({"objectType": "objects.others"})).to_string();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no tar at all", vec![b'x'; 4096], "no export"),
        (
            "a cut archive",
            by_hand(&[(&notes, one.clone())], &count("objects.notes", 1))[..1100].to_vec(),
            "ends before",
        ),
        (
            "a wrong count",
            by_hand(&[(&notes, one.clone())], &count("objects.notes", 2)),
            "counts 2",
        ),
        (
            "an object twice",
            by_hand(
                &[(&notes, format!("{one}\n{one}\n"))],
                &count("objects.notes", 2),
            ),
            "twice",
        ),
        (
            "another type",
            by_hand(&[(&notes, wrong_type)], &count("objects.notes", 1)),
            "line 1",
        ),
        (
            "a type that is none",
            by_hand(&[], &count("nothing", 0)),
            "which is none",
        ),
        (
            "a stray file",
            by_hand(&[("notes.txt", "x".to_owned())], &count("objects.notes", 0)),
            "nothing is known",
        ),
        (
            "a missing file",
            by_hand(&[], &count("objects.notes", 1)),
            "missing",
        ),
        (
            "no JSON",
            by_hand(&[(&notes, "{".to_owned())], &count("objects.notes", 1)),
            "line 1",
        ),
        (
            "a broken schema",
            by_hand(&[("schema.json", "{}".to_owned())], &json!({"objects": {}})),
            "export of schemas",
        ),
        (
            "a user without a name",
            by_hand(
                &[(
                    "users.ndjson",
                    note(ID, &json!({"objectType": "users"})).to_string(),
                )],
                &count("users", 1),
            ),
            "username",
        ),
        (
            "members of nothing",
            by_hand(
                &[(
                    "members.ndjson",
                    format!("{{\"usergroup\":\"{ID}\",\"user\":\"{ID}\"}}"),
                )],
                &json!({"objects": {}, "members": 1}),
            ),
            "member",
        ),
        (
            "bytes that are not there",
            by_hand(
                &[("files.ndjson", {
                    let mut file = note(ID, &json!({"objectType": "files", "fileName": "a"}));
                    file["file"] = json!({"sha256": "ab".repeat(32), "bytes": 3, "owner": null});
                    file.to_string()
                })],
                &count("files", 1),
            ),
            "does not hold",
        ),
        (
            "a webhook into the machine",
            by_hand(
                &[(
                    "webhooks.json",
                    json!([{"id": ID, "url": "file:///etc/passwd"}]).to_string(),
                )],
                &json!({"objects": {}}),
            ),
            "http",
        ),
    ];
    for (what, archive, why) in cases {
        let path = world.bring(&archive, archive.len()).await;
        let import = world.carry_out(&path, true).await;
        assert_eq!(import["state"], "failed", "{what}: {import}");
        let error = import["error"].as_str().unwrap();
        assert!(error.contains(why), "{what}: {error}");
        let types = world
            .at_foreign("GET", "/v1/object_types", &Value::Null)
            .await
            .must_be(200);
        assert_eq!(types["results"], json!([]), "{what}");
        world
            .at_foreign("DELETE", &path, &Value::Null)
            .await
            .must_be(200);
    }
    let hidden = std::fs::read_dir(world.folder.path().join("eds")).unwrap();
    let files: Vec<String> = hidden
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".db"))
        .collect();
    assert_eq!(
        files.len(),
        2,
        "what was built and given up is gone: {files:?}"
    );
}

#[tokio::test]
async fn an_archive_written_by_hand_is_enough() {
    let world = World::new("open").await;
    let user = json!({"objectType": "users", "username": "wim", "email": "wim@example.org"});
    let archive = by_hand(
        &[
            (
                &objects_path("notes"),
                note(ID, &json!({"n": 1})).to_string(),
            ),
            ("users.ndjson", note(ID, &user).to_string()),
        ],
        &json!({"objects": {"objects.notes": 1, "users": 1}}),
    );
    let path = world.bring(&archive, archive.len()).await;
    assert_eq!(world.carry_out(&path, false).await["state"], "done");
    let found = world
        .at_foreign("GET", &format!("/v1/objects/notes/{ID}"), &Value::Null)
        .await
        .must_be(200);
    assert_eq!(found["n"], 1);
    // Nobody knows the password of somebody who came without one.
    let at = [("enginio-backend-id", world.foreign.as_str())];
    for password in ["", "secret", "nobody knows"] {
        let login = json!({"username": "wim", "password": password, "grant_type": "password"});
        world
            .send_with(
                &Credential::Nothing,
                "POST",
                "/v1/auth/oauth2/token",
                &login,
                &at,
            )
            .await
            .must_be(400);
    }
}

#[tokio::test]
async fn an_import_takes_no_more_than_the_quota_leaves() {
    let world = World::new("open").await;
    let foreign = world.foreign.parse().unwrap();
    let kept = world
        .at_foreign("POST", "/v1/objects/notes", &json!({"n": 1}))
        .await
        .must_be(201);
    for archive in [notes_by_hand(60), notes_by_hand(200), file_by_hand(2 << 20)] {
        world.store.limit_backend(foreign, None);
        let path = world.bring(&archive, archive.len()).await;
        world.store.limit_backend(foreign, Some(1 << 20));
        let import = world.carry_out(&path, true).await;
        assert_eq!(import["state"], "failed", "{import}");
        let error = import["error"].as_str().unwrap();
        assert!(error.contains("quota"), "{error}");
        let notes = world
            .at_foreign("GET", "/v1/objects/notes", &Value::Null)
            .await
            .must_be(200);
        assert_eq!(notes["results"], json!([kept]));
        let announced = json!({"bytes": archive.len()});
        let refused = world.at_foreign("POST", "/v1/imports", &announced).await;
        assert!(refused.status.is_client_error(), "{}", refused.body);
        assert!(
            refused.body.to_string().contains("quota"),
            "{}",
            refused.body
        );
    }
    let files = std::fs::read_dir(world.folder.path().join("eds")).unwrap();
    let files = files.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|ending| ending == "db")
    });
    assert_eq!(files.count(), 2, "what was built and given up is gone");
}

#[tokio::test]
async fn what_is_replaced_does_not_count_and_what_came_does() {
    let world = World::new("open").await;
    let foreign = world.foreign.parse().unwrap();
    world.store.limit_backend(foreign, Some(4 << 20));
    let archive = file_by_hand(2 << 20);
    for _ in 0..2 {
        let path = world.bring(&archive, archive.len()).await;
        let import = world.carry_out(&path, true).await;
        assert_eq!(import["state"], "done", "{import}");
        assert!(world.store.check_room_beside(foreign, 2 << 20).is_err());
        assert!(world.store.check_room_beside(foreign, 1 << 20).is_ok());
    }
}
