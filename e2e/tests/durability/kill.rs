//! `kill -9` at random moments, in rounds, on one folder that grows older all the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pilvi_e2e::api::{path_of, text};
use pilvi_e2e::chance::Chance;
use pilvi_e2e::http::Request;
use pilvi_e2e::line::Line;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::{Heard, Socket};
use pilvi_e2e::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::files;
use crate::ledger::Ledger;
use crate::world::{Tenant, World};

const WRITERS: usize = 32;
const BACKENDS: usize = 4;
/// The server is killed after a random number of acknowledged writes below this.
const WRITES_MAX: usize = 1500;
/// Rounds in the gate; `PILVI_KILL_ROUNDS` sets another number.
const ROUNDS: usize = 3;
/// A long campaign ends after the round in which this time is up.
const CAMPAIGN_MAX: Duration = Duration::from_secs(5 * 60);
/// The webhooks are given time to catch up once in so many rounds; in the others they meet the next kill.
const SETTLE_EVERY: usize = 5;
/// How long so many writes may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let mut chance = Chance::of_this_run();
    let data = TempDir::new().unwrap();
    let (world, mut server) = World::new(data.path(), BACKENDS);
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::new(&world, number, &mut chance))
        .collect();
    let hot: Vec<Value> = world.tenants.iter().map(Hot::make).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.hot.object = hot[number % BACKENDS].clone();
    }

    let (started, mut rounds, mut writes) = (Instant::now(), 0, 0);
    while rounds < wanted_rounds() && started.elapsed() < CAMPAIGN_MAX {
        let redeemed = Redeemed::make(&world);
        let enough = chance.below(WRITES_MAX);
        writes += write_until_killed(server, &mut writers, enough);
        check_files(&world);
        server = world.start();
        if chance.happens(25) {
            // In the middle of taking up what was pending.
            server.kill();
            check_files(&world);
            server = world.start();
        }
        writers
            .iter_mut()
            .for_each(|writer| writer.ledger.compare());
        for tenant in &world.tenants {
            Hot::compare(tenant, &writers);
        }
        redeemed.expect_void();
        rounds += 1;
        if rounds % SETTLE_EVERY == 0 {
            world.wait_until_settled();
        }
    }

    world.wait_until_settled();
    the_gateway_is_still_told(&world);
    world.wait_until_settled();
    server.stop();
    let outboxes = check_files(&world);
    let told = world.collector.told();
    for (tenant, outbox) in world.tenants.iter().zip(&outboxes) {
        files::expect_told(&told, &tenant.path(), &tenant.webhooks[0], outbox);
        files::expect_all_delivered(&world.data, &tenant.backend.id);
    }
    let changes: usize = outboxes.iter().map(Vec::len).sum();
    println!(
        "{rounds} kills, {writes} acknowledged writes, {changes} changes, {} deliveries of them, in {:?}",
        told.len(),
        started.elapsed()
    );
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

/// Expects the files that the last end left behind to be sound and whole; returns the outboxes.
fn check_files(world: &World) -> Vec<Vec<files::Row>> {
    files::expect_sound(&world.data);
    let check =
        |tenant: &Tenant| files::expect_whole(&world.data, &tenant.backend.id, &tenant.webhooks);
    world.tenants.iter().map(check).collect()
}

/// Lets everybody write until so many writes were acknowledged, and kills the server while they go on.
fn write_until_killed(server: Server, writers: &mut [Writer], enough: usize) -> usize {
    let acknowledged = AtomicUsize::new(0);
    let killed = AtomicBool::new(false);
    let http = server.http;
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| {
                let mut line = Line::to(http);
                while writer.write(&mut line) {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                assert!(
                    killed.load(Ordering::SeqCst),
                    "a connection broke before the server was killed"
                );
            });
        }
        let written = wait::found(WRITTEN_WITHIN, || {
            (acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
        });
        killed.store(true, Ordering::SeqCst);
        server.kill();
        assert!(
            written.is_some(),
            "{enough} writes took longer than {WRITTEN_WITHIN:?}"
        );
    });
    acknowledged.into_inner()
}

/// A client: objects of its own, and one object that it shares with others.
struct Writer {
    ledger: Ledger,
    hot: Hot,
    chance: Chance,
}

impl Writer {
    fn new(world: &World, number: usize, chance: &mut Chance) -> Self {
        let backend = &world.tenants[number % BACKENDS].backend;
        Self {
            ledger: Ledger::new(backend, &format!("writer{number}"), 60),
            hot: Hot::new(number),
            chance: chance.split(),
        }
    }

    /// Writes once; false: there was no reply.
    fn write(&mut self, line: &mut Line) -> bool {
        if self.chance.happens(10) {
            return self.hot.write(line, &self.ledger.backend.id);
        }
        let change = self.ledger.choose(&mut self.chance);
        let request = self.ledger.begin(&change);
        let reply = line.ask(&request);
        if let Some(reply) = &reply {
            self.ledger.acknowledged(reply);
        }
        reply.is_some()
    }
}

/// What one writer knows of an object that several change.
struct Hot {
    writer: usize,
    object: Value,
    count: u64,
    /// The newest state that this writer was shown: `updatedAt` and the mark.
    newest: Option<(String, String)>,
    /// Marks of updates without a reply.
    doubts: Vec<String>,
}

impl Hot {
    fn new(writer: usize) -> Self {
        Self {
            writer,
            object: Value::Null,
            count: 0,
            newest: None,
            doubts: Vec::new(),
        }
    }

    fn make(tenant: &Tenant) -> Value {
        tenant.backend.create("hot", &json!({"mark": "nobody's"}))
    }

    fn write(&mut self, line: &mut Line, backend: &str) -> bool {
        self.count += 1;
        let mark = format!("{}-{}", self.writer, self.count);
        let request = Request::put(path_of(&self.object)).backend(backend);
        match line.ask(&request.json(&json!({"mark": mark}))) {
            Some(reply) => {
                let object = reply.must_be(200);
                assert_eq!(object["mark"], *mark);
                self.newest = Some((text(&object, "/updatedAt"), mark));
                true
            }
            None => {
                self.doubts.push(mark);
                false
            }
        }
    }

    /// The object is as the newest acknowledged update left it, or as one that came later and was not acknowledged.
    fn compare(tenant: &Tenant, writers: &[Writer]) {
        let own: Vec<&Hot> = writers
            .iter()
            .filter(|writer| writer.ledger.backend.id == tenant.backend.id)
            .map(|writer| &writer.hot)
            .collect();
        let path = path_of(&own[0].object);
        let object = tenant.backend.send(Request::get(path)).must_be(200);
        let (at, mark) = (text(&object, "/updatedAt"), text(&object, "/mark"));
        let Some((newest_at, newest_mark)) = own.iter().filter_map(|hot| hot.newest.clone()).max()
        else {
            return;
        };
        if at == newest_at {
            assert_eq!(mark, newest_mark);
        } else {
            assert!(
                at > newest_at,
                "{object} is older than what was acknowledged at {newest_at}"
            );
            let in_doubt = own.iter().any(|hot| hot.doubts.contains(&mark));
            assert!(in_doubt, "{object} is newer than all that was acknowledged");
        }
    }
}

/// Addresses for sockets that were used before the kill.
struct Redeemed {
    uris: Vec<String>,
    _open: Vec<Socket>,
}

impl Redeemed {
    /// Opens one address, and has two clients race for another, of whom one gets it.
    fn make(world: &World) -> Self {
        let reserve = || {
            let request = Request::get(world.gateway.path("websocket_uri"));
            text(&world.gateway.send(&request).must_be(200), "/uri")
        };
        let (single, raced) = (reserve(), reserve());
        let first = Socket::open(&single);
        let racers: Vec<Socket> = std::thread::scope(|scope| {
            let racers = [(); 2].map(|()| scope.spawn(|| Socket::open(&raced)));
            racers.map(|racer| racer.join().unwrap()).into()
        });
        // Whoever comes too late is let in and shown out; whoever is in hears this.
        let hello = json!({"data": "hello", "receivers": {"sockets": ["*"], "tags": null}});
        let request = Request::post(world.gateway.path("messages")).json(&hello);
        world.gateway.send_as_admin(request).must_be(201);
        let mut sockets = vec![first];
        sockets.extend(racers);
        let mut heard: Vec<Heard> = sockets.iter_mut().map(Socket::hear).collect();
        assert!(matches!(heard.remove(0), Heard::Text(_)));
        let winners = heard.iter().filter(|heard| matches!(heard, Heard::Text(_)));
        assert_eq!(
            winners.count(),
            1,
            "one address opens one socket: {heard:?}"
        );
        assert!(heard.contains(&Heard::Closed(1000)), "{heard:?}");
        Self {
            uris: vec![single, raced],
            _open: sockets,
        }
    }

    /// Nobody can use them again.
    fn expect_void(&self) {
        for uri in &self.uris {
            assert_eq!(Socket::open(uri).hear(), Heard::Closed(1000), "{uri}");
        }
    }
}

/// After all that, a change still reaches a connected socket.
fn the_gateway_is_still_told(world: &World) {
    let mut socket = world.gateway.connect();
    for tenant in &world.tenants {
        let object = tenant.backend.create("last", &json!({"mark": "last"}));
        let message = socket.hear_json();
        assert_eq!(
            message.pointer("/data/object").or(message.get("object")),
            Some(&object),
            "{message}"
        );
    }
}
