//! Disks without room: the server's, the client's, and that of a restored server.

use std::process::Command;

use pilvi_e2e::child::Client;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::mount::Disk;
use pilvi_e2e::process;
use pilvi_e2e::server::Server;
use serde_json::json;
use tempfile::TempDir;

use crate::world::{SOON, back_up, instances, name, names_in, send_archive, start};

#[track_caller]
fn fill(server: &Server, objects: usize) -> String {
    let backend = server.cloud().create_backend("large");
    let filler = "x".repeat(400 << 10);
    for number in 0..objects {
        backend.create("large", &json!({"number": number, "filler": filler}));
    }
    backend.id
}

#[test]
fn a_server_without_room_says_so_and_goes_on() {
    let Some(disk) = Disk::mount(128) else { return };
    let data = disk.path().join("data");
    let server = start(&data);
    let id = fill(&server, 40);
    let (cli, folder) = (Cli::of(&server), TempDir::new().unwrap());
    let archive = std::fs::read(back_up(&cli, &id, folder.path())).unwrap();
    disk.fill("full", 1 << 30);

    let file = folder.path().join("none.tar");
    let words = ["backup", "create", "--instance", &id, name(&file)];
    let refused = cli.run_in(folder.path(), &words);
    assert!(!refused.status.success(), "{}", refused.report());
    assert!(refused.errors.contains("disk"), "{}", refused.report());
    assert!(!file.exists());
    let refused = send_archive(&server, &archive, "").must_be(503);
    assert!(refused.to_string().contains("disk"), "{refused}");
    assert_eq!(names_in(&data.join("staging")), [""; 0]);
    assert_eq!(instances(&server).len(), 1);

    std::fs::remove_file(disk.path().join("full")).unwrap();
    back_up(&cli, &id, folder.path());
    server.stop();
}

#[test]
fn a_client_without_room_keeps_nothing() {
    let Some(disk) = Disk::mount(4) else { return };
    let server = Server::serve();
    let id = fill(&server, 40);
    let file = disk.path().join("backup.tar");
    let words = ["backup", "create", "--instance", &id, name(&file)];
    let refused = Cli::of(&server).run_in(disk.path(), &words);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    assert!(refused.errors.contains("make room"), "{}", refused.report());
    assert_eq!(names_in(disk.path()), [""; 0]);
    server.cloud().send(Request::get("/v1/user")).must_be(200);
    server.stop();
}

#[test]
fn a_server_is_not_half_restored_where_there_is_no_room() {
    let Some(disk) = Disk::mount(8) else { return };
    let server = Server::serve();
    fill(&server, 40);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("server.tar");
    Cli::of(&server).run(&["backup", "create", "--include-key", name(&file)]);
    server.stop();
    let to = disk.path().join("restored");
    let mut command = Command::new(process::binary());
    command.args(["backup", "restore", name(&file), "--to", name(&to)]);
    let refused = Client::start("pilvi backup restore", &mut command).ended(SOON);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    assert!(refused.errors.contains("make room"), "{}", refused.report());
    assert_eq!(names_in(disk.path()), [""; 0]);
}
