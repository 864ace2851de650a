//! `kill -9` in the middle of uploads and of variants, in rounds, on one folder that grows older all the time.
//!
//! What was acknowledged is there afterwards: whole files with all of their bytes, named by the object that they were
//! uploaded for; unfinished ones with every piece. What was deleted stays deleted, and each image gets its variant in
//! the end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::chance::Chance;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::line::Line;
use pilvi_e2e::picture::{png, png_size};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

const UPLOADERS: usize = 4;
/// The server is killed after a random number of acknowledged steps below this.
const STEPS_MAX: usize = 60;
/// Rounds in the gate; `PILVI_KILL_ROUNDS` sets another number.
const ROUNDS: usize = 4;
/// A long campaign ends after the round in which this time is up.
const CAMPAIGN_MAX: Duration = Duration::from_secs(3 * 60);
const STEPS_WITHIN: Duration = Duration::from_secs(60);
const MADE_WITHIN: Duration = Duration::from_secs(60);
const PIECE: usize = 20_000;

#[test]
fn no_acknowledged_byte_is_lost_and_every_image_gets_its_variant() {
    let mut chance = Chance::of_this_run();
    let data = TempDir::new().unwrap();
    let mut server = start(data.path());
    // Addresses change from run to run; ids and tokens stay.
    let mut backend = server.cloud().create_backend("Gallery");
    let (id, token) = (backend.id.clone(), backend.token.clone());
    describe(&backend);
    let mut uploaders: Vec<Uploader> = (0..UPLOADERS).map(|_| Uploader::new(&mut chance)).collect();

    let (started, mut kills) = (Instant::now(), 0);
    while kills < wanted_rounds() && started.elapsed() < CAMPAIGN_MAX {
        work_until_killed(server, &backend, &mut uploaders, chance.below(STEPS_MAX));
        server = start(data.path());
        backend = Backend::new(server.http, &id, &token);
        for uploader in &mut uploaders {
            uploader.compare(&server, &backend);
        }
        kills += 1;
    }

    let (mut files, mut pending) = (0, 0);
    for uploader in &mut uploaders {
        uploader.finish(&backend);
        files += uploader.whole.len();
        pending += uploader
            .whole
            .iter()
            .map(|file| file.has_variant(&server, &backend))
            .filter(|waited| *waited)
            .count();
    }
    // What nobody needs can go, and takes nothing with it that somebody needs.
    let body = json!({"olderThanHours": 0});
    let collected = backend
        .send_as_admin(Request::post("/v1/files/collect").json(&body))
        .must_be(200);
    for uploader in &mut uploaders {
        uploader.compare(&server, &backend);
    }
    server.stop();
    println!(
        "{kills} kills, {files} files, {pending} variants made after the last, {collected} collected, in {:?}",
        started.elapsed()
    );
    assert!(files > 0, "nothing was tried");
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door"
)]
fn wanted_rounds() -> usize {
    match std::env::var("PILVI_KILL_ROUNDS") {
        Ok(text) => text.parse().expect("PILVI_KILL_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

#[track_caller]
fn start(data: &Path) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    })
}

fn describe(backend: &Backend) {
    let property = json!({"name": "file", "type": "ref", "objectType": "files",
        "processors": [{"type": "image", "variants": {"thumbnail": {"crop": "20x20"}}}]});
    let body = json!({"name": "gallery", "properties": [property]});
    let reply = backend.send_as_admin(Request::post("/v1/object_types").json(&body));
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
}

/// Lets everybody work until so many steps were acknowledged, and kills the server while they go on.
fn work_until_killed(server: Server, backend: &Backend, uploaders: &mut [Uploader], enough: usize) {
    let (address, steps) = (server.http, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for uploader in uploaders {
            let steps = &steps;
            scope.spawn(move || {
                let mut wire = Wire {
                    line: Line::to(address),
                    backend,
                };
                while uploader.step(&mut wire).is_some() {
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait::until("uploads to be acknowledged", STEPS_WITHIN, || {
            (steps.load(Ordering::Relaxed) >= enough).then_some(())
        });
        server.kill();
    });
}

/// Requests that may meet a server that dies.
struct Wire<'b> {
    line: Line,
    backend: &'b Backend,
}

impl Wire<'_> {
    /// The JSON of a good answer; none when there was no answer.
    fn ask(&mut self, request: Request) -> Option<Value> {
        let request = request
            .backend(&self.backend.id)
            .bearer(&self.backend.token);
        let reply: Reply = self.line.ask(&request)?;
        let status = reply.status;
        assert!(matches!(status, 200 | 201), "{status}: {}", reply.text());
        Some(serde_json::from_slice(&reply.body).unwrap())
    }
}

/// A file that the server has acknowledged as whole.
struct Whole {
    file: Value,
    owner: Value,
    bytes: Vec<u8>,
}

/// A file that is coming in pieces.
struct Begun {
    file: Value,
    owner: Value,
    bytes: Vec<u8>,
    /// How much was acknowledged.
    received: usize,
}

/// A client, and what it remembers.
struct Uploader {
    chance: Chance,
    whole: Vec<Whole>,
    begun: Option<Begun>,
    deleted: Vec<Value>,
    /// Asked to be deleted, and never answered.
    unsure: Vec<Whole>,
}

impl Uploader {
    fn new(chance: &mut Chance) -> Self {
        Self {
            chance: chance.split(),
            whole: Vec::new(),
            begun: None,
            deleted: Vec::new(),
            unsure: Vec::new(),
        }
    }

    /// One thing more; none when the server is gone.
    fn step(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        if self.begun.is_some() {
            return self.send_piece(wire);
        }
        match self.chance.below(10) {
            0..3 => self.begin(wire),
            3 if !self.whole.is_empty() => self.delete(wire),
            _ => self.upload(wire),
        }
    }

    fn image(&mut self) -> Vec<u8> {
        let edge = |chance: &mut Chance| u32::try_from(40 + chance.below(100)).unwrap();
        let (width, height) = (edge(&mut self.chance), edge(&mut self.chance));
        png(width, height, u8::try_from(self.chance.below(256)).unwrap())
    }

    fn upload(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        let bytes = self.image();
        let owner = wire.ask(Request::post("/v1/objects/gallery").json(&json!({})))?;
        let note = note(&owner);
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{note}\r\n--b\r\nContent-Disposition: \
             form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"
        );
        let body = [head.as_bytes(), &bytes, b"\r\n--b--\r\n"].concat();
        let request =
            Request::post("/v1/files").header("Content-Type", "multipart/form-data; boundary=b");
        let file = wire.ask(request.body(body))?;
        assert_eq!(file["status"], "complete");
        self.whole.push(Whole { file, owner, bytes });
        Some(())
    }

    fn begin(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        let bytes = self.image();
        let owner = wire.ask(Request::post("/v1/objects/gallery").json(&json!({})))?;
        let file = wire.ask(Request::post("/v1/files").json(&note(&owner)))?;
        assert_eq!(file["status"], "empty");
        self.begun = Some(Begun {
            file,
            owner,
            bytes,
            received: 0,
        });
        Some(())
    }

    fn send_piece(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        let begun = self.begun.as_mut()?;
        let file = wire.ask(begun.next_piece())?;
        self.took_piece(file);
        Some(())
    }

    fn took_piece(&mut self, file: Value) {
        let Some(mut begun) = self.begun.take() else {
            return;
        };
        begun.received = begun.end();
        match begun.received == begun.bytes.len() {
            true => {
                assert_eq!(file["status"], "complete");
                self.whole.push(Whole {
                    file,
                    owner: begun.owner,
                    bytes: begun.bytes,
                });
            }
            false => {
                assert_eq!(file["status"], "incomplete");
                self.begun = Some(begun);
            }
        }
    }

    fn delete(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        let place = self.chance.below(self.whole.len());
        let doomed = self.whole.swap_remove(place);
        match wire.ask(Request::delete(path_of(&doomed.owner))) {
            Some(_) => self.deleted.push(doomed.file),
            None => self.unsure.push(doomed),
        }
        Some(())
    }

    /// Expects the server to have what it acknowledged.
    fn compare(&mut self, server: &Server, backend: &Backend) {
        for whole in std::mem::take(&mut self.unsure) {
            let owner = backend.send_as_admin(Request::get(path_of(&whole.owner)));
            match owner.status {
                // Both or neither: the file goes with the object, in one transaction.
                404 => self.deleted.push(whole.file),
                _ => self.whole.push(whole),
            }
        }
        for file in &self.deleted {
            backend
                .send_as_admin(Request::get(path_of(file)))
                .must_be(404);
        }
        for whole in &self.whole {
            whole.must_be_there(server, backend);
        }
        let Some(begun) = &mut self.begun else {
            return;
        };
        let file = backend
            .send_as_admin(Request::get(path_of(&begun.file)))
            .must_be(200);
        if file["status"] == "complete" {
            assert_eq!(begun.end(), begun.bytes.len(), "{file}");
            if let Some(Begun { owner, bytes, .. }) = self.begun.take() {
                self.whole.push(Whole { file, owner, bytes });
            }
            return;
        }
        let received = usize::try_from(file["received"].as_u64().unwrap_or(0)).unwrap();
        assert!(
            received == begun.received || received == begun.end(),
            "{received} of {file}"
        );
        // All pieces may be there and not yet be one file: the last one is sent again.
        if received < begun.bytes.len() {
            begun.received = received;
        }
    }

    /// Sends what is left of a file that was begun.
    fn finish(&mut self, backend: &Backend) {
        while let Some(begun) = &self.begun {
            let file = backend.send_as_admin(begun.next_piece()).must_be(200);
            self.took_piece(file);
        }
    }
}

impl Begun {
    /// Behind the next piece.
    fn end(&self) -> usize {
        self.bytes.len().min(self.received + PIECE)
    }

    fn next_piece(&self) -> Request {
        let range = format!("{}-{}/{}", self.received, self.end(), self.bytes.len());
        let piece = &self.bytes[self.received..self.end()];
        Request::put(format!("{}/chunk", path_of(&self.file)))
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", range)
            .body(piece)
    }
}

impl Whole {
    #[track_caller]
    fn must_be_there(&self, server: &Server, backend: &Backend) {
        let file = backend
            .send_as_admin(Request::get(path_of(&self.file)))
            .must_be(200);
        assert_eq!(file["status"], "complete", "{file}");
        assert!(
            file["variants"]["thumbnail"]["status"] != "failed",
            "{file}"
        );
        let owner = backend
            .send_as_admin(Request::get(path_of(&self.owner)))
            .must_be(200);
        assert_eq!(owner["file"]["id"], self.file["id"], "{owner}");
        assert!(
            fetch(server, backend, &self.file, "") == self.bytes,
            "other bytes came back"
        );
    }

    /// Waits for the variant. Says whether it was not there at once.
    #[track_caller]
    fn has_variant(&self, server: &Server, backend: &Backend) -> bool {
        let mut waited = false;
        wait::until("a thumbnail", MADE_WITHIN, || {
            let file = backend
                .send_as_admin(Request::get(path_of(&self.file)))
                .must_be(200);
            let status = file["variants"]["thumbnail"]["status"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_ne!(status, "failed", "{file}");
            waited |= status != "complete";
            (status == "complete").then_some(())
        });
        let thumbnail = fetch(server, backend, &self.file, "?variant=thumbnail");
        assert_eq!(png_size(&thumbnail), Some((20, 20)));
        waited
    }
}

/// What is said of a file that an object is to name.
fn note(owner: &Value) -> Value {
    let target =
        json!({"id": owner["id"], "objectType": "objects.gallery", "propertyName": "file"});
    json!({"targetFileProperty": target, "file": {"fileName": "a.png"}})
}

#[track_caller]
fn fetch(server: &Server, backend: &Backend, file: &Value, query: &str) -> Vec<u8> {
    let request = Request::get(format!("{}/download_url{query}", path_of(file)));
    let address = backend.send_as_admin(request).must_be(200);
    let url = text(&address, "/expiringUrl");
    let target = url
        .strip_prefix(&format!("http://{}", server.http))
        .unwrap();
    let reply = Request::get(target).send(server.http);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.body
}
