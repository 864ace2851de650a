//! `pilvi admin rotate-key`, killed at random moments: everything sealed opens afterwards, every time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::chance::Chance;
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::process;
use pilvi_e2e::server::{Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(120);
const BACKENDS: usize = 4;
const WEBHOOKS: usize = 8;
const VARS: usize = 30;
/// Kills in the gate; `PILVI_ROTATE_KILLS` sets another number.
const KILLS: usize = 50;
/// A server is started on what is left once in so many kills.
const START_EVERY: usize = 10;

/// A folder with many secrets, and what opened them on the first day.
struct World {
    _folder: TempDir,
    data: PathBuf,
    token: String,
    app: String,
    backends: Vec<(String, String)>,
    hooks: Vec<Value>,
    vars: Value,
}

impl World {
    #[track_caller]
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let server = start(&data);
        let (cli, cloud) = (Cli::of(&server), server.cloud());
        let mut world = Self {
            token: cloud.token.clone(),
            app: text(&cli.json(&["mar", "create", "secretive"]), "/id"),
            backends: Vec::new(),
            hooks: Vec::new(),
            vars: Value::Null,
            data,
            _folder: folder,
        };
        for number in 0..BACKENDS {
            let backend = cloud.create_backend(&format!("b{number}"));
            for hook in 0..WEBHOOKS {
                let headers = json!({"X-Key": format!("s3cret {number} {hook}")});
                let hook = json!({"url": "http://127.0.0.1:9/x", "headers": headers});
                backend.create_webhook(&hook);
            }
            world.hooks.push(hooks(&backend));
            world.backends.push((backend.id, backend.token));
        }
        let vars = (0..VARS).map(|number| format!("VAR{number}=s3cret{number}"));
        let vars: Vec<String> = vars.collect();
        let words: Vec<&str> = vars.iter().map(String::as_str).collect();
        cli.run(&[&["mar", "--app", &world.app, "envs", "set"], &words[..]].concat());
        world.vars = world.read_vars(&server);
        server.stop();
        world
    }

    fn read_vars(&self, server: &Server) -> Value {
        let path = format!("/v1/apps/{}/env_vars", self.app);
        let request = Request::get(path).bearer(&self.token);
        request.send(server.http).must_be(200)
    }

    /// Expects everything to open, and every token to be what it was unless tokens were exchanged.
    #[track_caller]
    fn expect_all(&self, tokens: Tokens) {
        let server = start(&self.data);
        assert_eq!(self.read_vars(&server), self.vars);
        for ((id, token), expected) in self.backends.iter().zip(&self.hooks) {
            let path = format!("/v1/instances/{id}/authorizations");
            let listed = Request::get(path).bearer(&self.token).send(server.http);
            let now = text(&listed.must_be(200), "/results/0/access_token");
            match tokens {
                Tokens::Same => assert_eq!(now, *token),
                Tokens::Other => {
                    assert_ne!(now, *token);
                    let old = Backend::new(server.http, id, token);
                    let refused = old.send_as_admin(Request::get("/v1/webhooks"));
                    assert!(matches!(refused.status, 401 | 403), "{}", refused.text());
                }
            }
            assert_eq!(hooks(&Backend::new(server.http, id, &now)), *expected);
        }
        server.stop();
    }

    fn rotate(&self, words: &[&str]) -> Client {
        let mut command = Command::new(process::binary());
        let data = self.data.to_str().unwrap();
        command.args([&["admin", "rotate-key", "--data", data], words].concat());
        Client::start("pilvi admin rotate-key", &mut command)
    }

    #[track_caller]
    fn rotate_well(&self, words: &[&str]) -> Ended {
        let ended = self.rotate(words).ended(SOON);
        assert!(ended.status.success(), "{}", ended.report());
        ended
    }

    /// How many keys the file holds, of both kinds.
    fn keys(&self) -> usize {
        let bytes = fs::read(self.data.join("secret.key")).unwrap();
        match bytes.len() {
            32 => 2,
            _ => String::from_utf8(bytes).unwrap().lines().count() - 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Tokens {
    Same,
    Other,
}

#[track_caller]
fn start(data: &Path) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    })
}

#[track_caller]
fn hooks(backend: &Backend) -> Value {
    backend
        .send_as_admin(Request::get("/v1/webhooks"))
        .must_be(200)
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door"
)]
fn wanted_kills() -> usize {
    match std::env::var("PILVI_ROTATE_KILLS") {
        Ok(text) => text.parse().expect("PILVI_ROTATE_KILLS is a number"),
        Err(_) => KILLS,
    }
}

#[test]
fn keys_are_exchanged_and_tokens_stay_unless_they_are_to_change() {
    let world = World::new();
    let before = fs::read(world.data.join("secret.key")).unwrap();
    world.rotate_well(&[]);
    assert_ne!(fs::read(world.data.join("secret.key")).unwrap(), before);
    world.expect_all(Tokens::Same);
    let said = world.rotate_well(&["--tokens"]);
    // Four backends, the app, and the account's member.
    assert!(
        said.lines.join("\n").contains("6 account tokens"),
        "{}",
        said.report()
    );
    world.expect_all(Tokens::Other);
}

#[test]
fn what_the_old_keys_sealed_is_nowhere_any_more() {
    let world = World::new();
    let old = fs::read(world.data.join("secret.key")).unwrap();
    world.rotate_well(&[]);
    // With the old keys back in place the secrets stay closed, which shows that all of them were sealed anew.
    fs::write(world.data.join("secret.key"), &old).unwrap();
    let server = start(&world.data);
    let (id, token) = &world.backends[0];
    let backend = Backend::new(server.http, id, token);
    assert_eq!(
        backend.send_as_admin(Request::get("/v1/webhooks")).status,
        500
    );
    let path = format!("/v1/apps/{}/env_vars", world.app);
    let vars = Request::get(path).bearer(&world.token).send(server.http);
    assert_eq!(vars.status, 500);
    server.stop();
}

#[test]
fn a_running_server_keeps_its_keys() {
    let world = World::new();
    let server = start(&world.data);
    let before = fs::read(world.data.join("secret.key")).unwrap();
    let refused = world.rotate(&[]).ended(SOON);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    assert!(refused.errors.contains("in use"), "{}", refused.report());
    assert_eq!(fs::read(world.data.join("secret.key")).unwrap(), before);
    server.stop();
}

#[test]
fn everything_sealed_opens_wherever_the_exchange_is_killed() {
    let mut chance = Chance::of_this_run();
    let world = World::new();
    let began = Instant::now();
    world.rotate_well(&[]);
    let usual = usize::try_from(began.elapsed().as_micros()).unwrap();
    let first = key_of_tokens(&world);
    let (mut tokens, mut interrupted, mut unfinished) = (Tokens::Same, 0, 0);
    for kill in 1..=wanted_kills() {
        let words: &[&str] = match chance.happens(30) {
            true => &["--tokens"],
            false => &[],
        };
        let client = world.rotate(words);
        let until = Instant::now() + Duration::from_micros(chance.below(usual * 6 / 5) as u64);
        while Instant::now() < until {
            std::thread::park_timeout(until - Instant::now());
        }
        // Killed, unless it is over already.
        drop(client);
        match world.keys() {
            2 => {}
            _ => interrupted += 1,
        }
        if key_of_tokens(&world) != first {
            tokens = Tokens::Other;
        }
        if kill % START_EVERY == 0 {
            if world.keys() > 2 {
                unfinished += 1;
            }
            world.expect_all(tokens);
            assert_eq!(
                world.keys(),
                2,
                "a server that starts finishes the exchange"
            );
        }
    }
    world.rotate_well(&[]);
    assert_eq!(world.keys(), 2);
    world.expect_all(tokens);
    println!(
        "{} kills, {interrupted} of them between the new keys and the end, {unfinished} finished by a server",
        wanted_kills()
    );
    assert!(interrupted > 0, "no kill came in the middle");
}

/// The key of tokens that counts now.
fn key_of_tokens(world: &World) -> String {
    let text = fs::read_to_string(world.data.join("secret.key")).unwrap();
    let mut lines = text.lines();
    lines
        .find(|line| line.starts_with("tokens "))
        .unwrap()
        .to_owned()
}
