//! A disk that fills up, and a folder that cannot be written, from the first refusal to the recovery without a restart.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::line::Line;
use pilvi_e2e::mount::Disk;
use pilvi_e2e::server::Server;
use pilvi_e2e::{process, receiver, shape, wait};
use serde_json::{Value, json};

use crate::files;
use crate::ledger::Ledger;
use crate::world::World;

/// Large enough for a reserve that deletions can live on.
const DISK_MEBIBYTES: u32 = 128;
/// What stands for somebody else's files on the same disk.
const BALLAST: &str = "ballast";
const BALLAST_BYTES: usize = 64 << 20;
const WRITERS: usize = 8;
/// Large enough to fill the disk within seconds.
const OBJECT_BYTES: usize = 100_000;
/// How long recovery may take once its cause is gone: the deliverer looks again after at most eight seconds.
const RECOVERY_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_full_disk_refuses_writes_and_recovers_when_there_is_room() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    let (world, server) = World::new(disk.path(), 2);
    disk.fill(BALLAST, BALLAST_BYTES);
    let mut writers: Vec<Ledger> = (0..WRITERS)
        .map(|number| {
            let backend = &world.tenants[number % 2].backend;
            Ledger::new(backend, &format!("writer{number}"), OBJECT_BYTES)
        })
        .collect();

    let refusals = write_until_refused(&server, &mut writers);
    for reply in &refusals {
        expect_no_room(&shape::eds_error(reply, 503, "Unavailable")["errors"][0]["message"]);
        assert!(reply.header("Retry-After").is_some(), "{:?}", reply.headers);
    }
    still_answers(&world, &mut writers);
    // The reserve is for this.
    for writer in &mut writers {
        writer.delete_one();
    }
    expect_platform_refusal(&world);

    // Somebody else takes the reserve too.
    disk.fill("more", usize::MAX);
    for writer in &mut writers {
        writer.create_or_be_refused();
    }
    still_answers(&world, &mut writers);
    expect_platform_refusal(&world);

    for file in [BALLAST, "more"] {
        std::fs::remove_file(disk.path().join(file)).unwrap();
    }
    let backend = &world.tenants[0].backend;
    wait::until("a write to succeed again", RECOVERY_WITHIN, || {
        let request = Request::post("/v1/objects/recovered").json(&json!({"mark": 0}));
        (backend.send(request).status == 201).then_some(())
    });
    for writer in &mut writers {
        writer.create_one();
        writer.compare();
    }
    let made = world.cloud.create_backend("made after all");
    made.create("things", &json!({}));
    world.wait_until_settled();
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.stop();
    expect_all_kept(&world);
    let server = world.start();
    writers.iter_mut().for_each(Ledger::compare);
    server.stop();
}

#[test]
fn a_delivery_that_cannot_be_written_down_is_not_made_again() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    let (world, server) = World::new(disk.path(), 1);
    let backend = &world.tenants[0].backend;
    let target = HeldTarget::start();
    let webhook = backend.create_webhook(&json!({"url": receiver::url(target.address)}));
    backend.create("todos", &json!({"title": "told once"}));
    target.wait_for_request();
    disk.fill("all", usize::MAX);
    target.answer();
    wait::until("the fault in the log", RECOVERY_WITHIN, || {
        let log = server.log();
        log.contains("could not be read or settled").then_some(())
    });

    std::fs::remove_file(disk.path().join("all")).unwrap();
    wait::until("the delivery to be settled", RECOVERY_WITHIN, || {
        let deliveries = crate::world::deliveries(backend, &text(&webhook, "/id"));
        (deliveries[0]["state"] == "delivered").then_some(())
    });
    assert_eq!(target.requests.load(Ordering::SeqCst), 1);
    server.stop();
}

/// A webhook target that takes requests, and answers the first when it is told to.
struct HeldTarget {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    go: SyncSender<()>,
}

impl HeldTarget {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (go, told) = sync_channel(1);
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                // Once it is answered, whoever comes again is counted and let down.
                if told.recv().is_err() {
                    return;
                }
                answer_with_created(stream);
            }
        });
        Self {
            address,
            requests,
            go,
        }
    }

    fn wait_for_request(&self) {
        wait::until("a request at the target", RECOVERY_WITHIN, || {
            (self.requests.load(Ordering::SeqCst) > 0).then_some(())
        });
    }

    fn answer(&self) {
        self.go.send(()).unwrap();
    }
}

fn answer_with_created(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    // The body ends with the list of receivers.
    while !bytes.ends_with(b"]}") {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the request breaks off");
        bytes.extend(&chunk[..count]);
    }
    let reply = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(reply.as_bytes()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_told_and_used_again_when_it_can() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    let (world, server) = World::new(disk.path(), 2);
    let mut backends: Vec<&Backend> = world.tenants.iter().map(|one| &one.backend).collect();
    // Without a webhook, nobody opens its file at the start.
    let quiet = world.cloud.create_backend("quiet");
    backends.push(&quiet);
    let stored: Vec<Value> = backends
        .iter()
        .map(|backend| backend.create("todos", &json!({"title": "before"})))
        .collect();
    world.wait_until_settled();
    server.stop();

    let server = world.start();
    let get = |number: usize| backends[number].send(Request::get(path_of(&stored[number])));
    let put = |number: usize| {
        let request = Request::put(path_of(&stored[number])).json(&json!({"title": "after"}));
        backends[number].send(request)
    };
    // The first is read before, the second only under the cover, once its writer has been closed.
    get(0).must_be(200);
    let cover = disk.cover();
    for (number, object) in stored.iter().enumerate() {
        expect_excuse(&put(number));
        // A file that nobody has open can only be read where its log has not been put away.
        match get(number) {
            reply if reply.status == 200 || number == 0 => {
                assert_eq!(&reply.must_be(200), object);
            }
            reply => expect_excuse(&reply),
        }
    }
    expect_no_new_backend(&world);

    drop(cover);
    for number in 0..3 {
        let updated = put(number).must_be(200);
        assert_eq!(get(number).must_be(200), updated);
    }
    world.cloud.create_backend("made after all");
    world.wait_until_settled();
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.stop();
    expect_all_kept(&world);
}

/// Which of the two it is depends on whether somebody had the file open before.
#[track_caller]
fn expect_excuse(reply: &Reply) {
    let refused = shape::eds_error(reply, 503, "Unavailable");
    let message = text(&refused, "/errors/0/message");
    let told = ["cannot write", "cannot open"];
    assert!(
        told.into_iter().any(|what| message.contains(what)),
        "{message}"
    );
    assert!(
        message.contains("operator"),
        "it says what to do: {message}"
    );
}

#[test]
fn a_start_on_a_read_only_folder_ends_with_a_sentence() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    disk.set_read_only(true);
    expect_failing_start(disk.path());
    expect_failing_start(&disk.path().join("not-there-yet"));
    disk.set_read_only(false);

    let (world, server) = World::new(disk.path(), 1);
    world.tenants[0].backend.create("todos", &json!({}));
    world.wait_until_settled();
    server.stop();
    disk.set_read_only(true);
    expect_failing_start(disk.path());
    disk.set_read_only(false);
    world.start().stop();
    expect_all_kept(&world);
}

/// Starts the server and expects it to give up with one plain line.
#[track_caller]
fn expect_failing_start(data: &Path) {
    let ended = Command::new(process::binary())
        .args([
            "serve",
            "--json",
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.1:0",
            "--ssh",
            "127.0.0.1:0",
        ])
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert!(ended.stdout.is_empty(), "nothing is announced");
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{errors}");
    assert!(
        last.contains(data.to_str().unwrap()),
        "it says where: {errors}"
    );
    assert!(
        last.to_lowercase().contains("read-only"),
        "it says why: {errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
}

/// Everybody creates objects until each was refused once; returns the refusals.
fn write_until_refused(server: &Server, writers: &mut [Ledger]) -> Vec<Reply> {
    let http = server.http;
    let acknowledged = AtomicUsize::new(0);
    let refusals = std::thread::scope(|scope| {
        let counted = &acknowledged;
        let write = |writer: &mut Ledger| {
            let mut line = Line::to(http);
            loop {
                let change = writer.choose_create();
                let request = writer.begin(&change);
                let reply = line.ask(&request).expect("a full disk stops no server");
                if reply.status != 201 {
                    writer.refused();
                    return reply;
                }
                writer.acknowledged(&reply);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        acknowledged.into_inner() > WRITERS,
        "the disk was full from the start"
    );
    refusals
}

#[track_caller]
fn expect_no_room(message: &Value) {
    let message = message.as_str().unwrap_or_default();
    assert!(
        message.contains("disk is nearly full") || message.contains("disk is full"),
        "{message}"
    );
    assert!(
        message.contains("operator to make room"),
        "it says what to do: {message}"
    );
}

/// What needs no space works: reading, the gateway, the platform's lists.
#[track_caller]
fn still_answers(world: &World, writers: &mut [Ledger]) {
    writers.iter_mut().for_each(Ledger::compare);
    let http = world.http();
    Request::get("/v1/ping").send(http).must_be(200);
    let mut socket = world.gateway.connect();
    let hello = json!({"data": "hello", "receivers": {"sockets": ["*"], "tags": null}});
    let request = Request::post(world.gateway.path("messages")).json(&hello);
    world.gateway.send_as_admin(request).must_be(201);
    socket.hear();
    let path = format!("/v1/accounts/{}/instances", world.cloud.account_id);
    world.cloud.send(Request::get(path)).must_be(200);
}

#[track_caller]
fn expect_platform_refusal(world: &World) {
    let body = shape::error(&ask_for_backend(world), 503, "Unavailable");
    expect_no_room(&body["error"]["message"]);
}

#[track_caller]
fn expect_no_new_backend(world: &World) {
    let path = format!("/v1/accounts/{}/instances", world.cloud.account_id);
    let count = || {
        let list = world.cloud.send(Request::get(&*path)).must_be(200);
        shape::results(&list).len()
    };
    let before = count();
    let body = shape::error(&ask_for_backend(world), 503, "Unavailable");
    let message = text(&body, "/error/message");
    assert!(message.contains("cannot open"), "{message}");
    assert_eq!(count(), before, "what could not be made is not shown");
}

fn ask_for_backend(world: &World) -> Reply {
    let path = format!("/v1/accounts/{}/instances", world.cloud.account_id);
    let body = json!({"name": "no room", "serviceProviderId": "eds"});
    world.cloud.send(Request::post(path).json(&body))
}

/// Looks into the files of the stopped server.
#[track_caller]
fn expect_all_kept(world: &World) {
    files::expect_sound(&world.data);
    let told = world.collector.told();
    for tenant in &world.tenants {
        let outbox = files::expect_whole(&world.data, &tenant.backend.id, &tenant.webhooks);
        files::expect_all_delivered(&world.data, &tenant.backend.id);
        files::expect_told(&told, &tenant.path(), &tenant.webhooks[0], &outbox);
    }
}

impl Ledger {
    fn send(&mut self, change: &crate::ledger::Change) -> Reply {
        let request = self.begin(change);
        let backend: &Backend = &self.backend;
        backend.send(request)
    }

    #[track_caller]
    fn create_one(&mut self) {
        let change = self.choose_create();
        let reply = self.send(&change);
        self.acknowledged(&reply);
    }

    #[track_caller]
    fn delete_one(&mut self) {
        let id = self.any().expect("something was written").clone();
        let reply = self.send(&crate::ledger::Change::Delete(id));
        self.acknowledged(&reply);
    }

    /// A file may have room inside even when its disk has none.
    #[track_caller]
    fn create_or_be_refused(&mut self) {
        let change = self.choose_create();
        let reply = self.send(&change);
        match reply.status {
            201 => self.acknowledged(&reply),
            _ => {
                let body = shape::eds_error(&reply, 503, "Unavailable");
                expect_no_room(&body["errors"][0]["message"]);
                self.refused();
            }
        }
    }
}
