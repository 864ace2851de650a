//! `kill -9` in the middle: of the server, of the client, and of a restoration.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use pilvi_e2e::api::Backend;
use pilvi_e2e::chance::Chance;
use pilvi_e2e::child::Client;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::{Connection, Request};
use pilvi_e2e::process;
use pilvi_e2e::server::Server;
use pilvi_e2e::wait;
use serde_json::json;
use tempfile::TempDir;

use crate::world::{SOON, back_up, name, names_in, pilvi, start};

/// How often a restoration is killed.
const KILLS: usize = 12;

/// A backend with more than the network holds on its way.
#[track_caller]
fn fill(server: &Server) -> Backend {
    let backend = server.cloud().create_backend("large");
    let filler = "x".repeat(400 << 10);
    for number in 0..40 {
        backend.create("large", &json!({"number": number, "filler": filler}));
    }
    backend
}

/// Begins a backup and reads only its head.
#[track_caller]
fn begin(server: &Server, backend: &Backend) -> Connection {
    let path = format!("/v1/instances/{}/backup", backend.id);
    let mut connection = Connection::open(server.http);
    let request = Request::get(path).bearer(&server.cloud().token);
    connection.write(&request.bytes(&server.http.to_string()));
    let head = connection.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    connection
}

#[test]
fn a_client_that_goes_leaves_nothing_and_makes_room_for_the_next() {
    let folder = TempDir::new().unwrap();
    let server = start(&folder.path().join("data"));
    let backend = fill(&server);
    let staging = folder.path().join("data/staging");
    let begun = begin(&server, &backend);
    wait::until("the backup is laid out", SOON, || {
        (names_in(&staging).len() == 1).then_some(())
    });
    // It has the place of its account. That of the server is another one.
    let path = format!("/v1/instances/{}/backup", backend.id);
    let second = server.cloud().send(Request::get(&path)).must_be(503);
    assert!(second.to_string().contains("of this account"), "{second}");
    let all = folder.path().join("all.tar");
    let backed_up = Cli::of(&server).run(&["backup", "create", name(&all)]);
    assert!(backed_up.status.success(), "{}", backed_up.report());
    drop(begun);
    wait::until("nothing is left of them", SOON, || {
        names_in(&staging).is_empty().then_some(())
    });
    back_up(&Cli::of(&server), &backend.id, folder.path());
    server.stop();
}

#[test]
fn a_server_that_is_killed_leaves_nothing_and_the_client_keeps_nothing() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = start(&data);
    let backend = fill(&server);
    let token = server.cloud().token;
    let (way, passed) = narrow_way(server.http, 1 << 20);
    let file = folder.path().join("broken.tar");
    let mut command = Command::new(process::binary());
    command
        .args(["backup", "create", "--instance", &backend.id, name(&file)])
        .env("QTC_PLATFORM_URL", format!("http://{way}/v1"))
        .env("PILVI_TOKEN", &token);
    let client = Client::start("pilvi backup create", &mut command);
    passed.recv_timeout(SOON).unwrap();
    assert_eq!(names_in(&data.join("staging")).len(), 1);
    server.kill();
    let ended = client.ended(SOON);
    assert_eq!(ended.status.code(), Some(6), "{}", ended.report());
    assert_eq!(
        names_in(folder.path()),
        ["data"],
        "nothing of the file is kept"
    );

    let server = start(&data);
    assert_eq!(names_in(&data.join("staging")), [""; 0]);
    let mut command = Command::new(process::binary());
    command
        .args(["backup", "create", "--instance", &backend.id, name(&file)])
        .env("QTC_PLATFORM_URL", format!("http://{}/v1", server.http))
        .env("PILVI_TOKEN", &token);
    let again = Client::start("pilvi backup create", &mut command).ended(SOON);
    assert!(again.status.success(), "{}", again.report());
    server.stop();
}

/// Passes one connection on, and says so once that many bytes came back; then it waits for the end.
fn narrow_way(to: SocketAddr, bytes: usize) -> (SocketAddr, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, passed) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        let mut buffer = vec![0; 64 << 10];
        let mut count = 0;
        while count < bytes {
            let read = server.read(&mut buffer).unwrap();
            client.write_all(&buffer[..read]).unwrap();
            count += read;
        }
        sender.send(()).unwrap();
        // What is left in the pipe comes to an end, well or not.
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            std::thread::park_timeout(Duration::from_millis(20));
            if client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // The other direction has hold of it, too.
        let _ = client.shutdown(Shutdown::Both);
    });
    (address, passed)
}

#[test]
fn a_restoration_that_is_killed_leaves_no_folder_that_looks_like_a_servers() {
    let mut chance = Chance::of_this_run();
    let folder = TempDir::new().unwrap();
    let server = start(&folder.path().join("data"));
    let backend = fill(&server);
    let file = folder.path().join("server.tar");
    Cli::of(&server).run(&["backup", "create", "--include-key", name(&file)]);
    server.stop();

    let whole = folder.path().join("whole");
    let began = Instant::now();
    let done = pilvi(&["backup", "restore", name(&file), "--to", name(&whole)]);
    assert!(done.status.success(), "{}", done.report());
    let usual = usize::try_from(began.elapsed().as_millis()).unwrap();
    let mut killed = 0;
    for round in 0..KILLS {
        let to = folder.path().join(format!("restored-{round}"));
        let mut command = Command::new(process::binary());
        command.args(["backup", "restore", name(&file), "--to", name(&to)]);
        let client = Client::start("pilvi backup restore", &mut command);
        let until = Instant::now() + Duration::from_millis(chance.below(usual * 5 / 4) as u64);
        while Instant::now() < until {
            std::thread::park_timeout(until - Instant::now());
        }
        drop(client);
        if !to.exists() {
            killed += 1;
            continue;
        }
        // Then it is all there.
        let expected = names_in(&whole);
        assert_eq!(names_in(&to), expected);
    }
    println!("{killed} of {KILLS} restorations were killed before their end");
    let server = start(&whole);
    let again = Backend::new(server.http, &backend.id, &backend.token);
    let count = again.send_as_admin(Request::get("/v1/objects/large?limit=100"));
    assert_eq!(count.must_be(200)["results"].as_array().unwrap().len(), 40);
    server.stop();
}

#[test]
fn a_server_that_is_killed_while_it_restores_has_the_instance_or_does_not() {
    let mut chance = Chance::of_this_run();
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut server = start(&data);
    let cloud = server.cloud();
    let backend = fill(&server);
    let file = back_up(&Cli::of(&server), &backend.id, folder.path());
    let archive = std::fs::read(&file).unwrap();
    let count = |server: &Server| {
        let path = format!("/v1/accounts/{}/instances", cloud.account_id);
        let list = Request::get(path).bearer(&cloud.token).send(server.http);
        list.must_be(200)["results"].as_array().unwrap().clone()
    };
    for _ in 0..6 {
        let path = format!("/v1/accounts/{}/instances/restore", cloud.account_id);
        let request = Request::post(path)
            .bearer(&cloud.token)
            .body(archive.clone());
        let mut connection = Connection::open(server.http);
        let bytes = request.bytes(&server.http.to_string());
        // Somewhere on the way, or after the last byte.
        let part = match chance.happens(50) {
            true => bytes.len(),
            false => chance.below(bytes.len()),
        };
        connection.try_write(&bytes[..part]);
        let until = Instant::now() + Duration::from_millis(chance.below(400) as u64);
        while Instant::now() < until {
            std::thread::park_timeout(until - Instant::now());
        }
        server.kill();
        server = start(&data);
        assert_eq!(names_in(&data.join("staging")), [""; 0]);
        let instances = count(&server);
        let files = names_in(&data.join("eds"));
        let files = files.iter().filter(|name| name.ends_with(".db")).count();
        assert_eq!(
            files,
            instances.len(),
            "every instance has its file, and no file is nobody's"
        );
        for instance in &instances {
            let id = pilvi_e2e::api::text(instance, "/id");
            let path = format!("/v1/instances/{id}/authorizations");
            let tokens = Request::get(path)
                .bearer(&cloud.token)
                .send(server.http)
                .must_be(200);
            let token = pilvi_e2e::api::text(&tokens, "/results/0/access_token");
            let backend = Backend::new(server.http, &id, &token);
            let list = backend.send_as_admin(Request::get("/v1/objects/large?limit=100"));
            assert_eq!(list.must_be(200)["results"].as_array().unwrap().len(), 40);
        }
    }
    server.stop();
}
