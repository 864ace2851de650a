//! `kill -9` of the server at every stage of a push. Each stage is recognised by a sign, never by the clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pilvi_e2e::http::Connection;
use pilvi_e2e::server::Server;
use pilvi_e2e::{process, wait};

use crate::leftovers::{Traces, names_in};
use crate::stalled::Stalled;
use crate::world::{SOON, World, rejected};

/// When the server goes away under a push, the words are git's own: the line is dead.
const GONE: &[&str] = &["fatal: the remote end hung up unexpectedly"];

#[test]
fn while_it_receives() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    world.source.write("ballast", &noise(4 << 20));
    let stalled = Stalled::after(1 << 20, world.https());
    let mut push = world
        .app
        .push_command_by_way_of(stalled.address, &world.source);
    let pusher = pilvi_e2e::child::Client::start("git push", &mut push);
    let objects = world.folder().join("repository.git/objects");
    wait::until("a quarantine with a pack", SOON, || {
        quarantine(&objects).filter(|folder| !names_in(&folder.join("pack")).is_empty())
    });
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();
    assert!(quarantine(&objects).is_some());

    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    world.must_be_in_order(server);
}

/// Where git keeps what is pushed until it is accepted.
fn quarantine(objects: &Path) -> Option<PathBuf> {
    let is_quarantine = |name: &String| name.contains("incoming-");
    let name = names_in(objects).into_iter().find(is_quarantine)?;
    Some(objects.join(name))
}

/// Text that does not become smaller when it is packed.
fn noise(bytes: usize) -> String {
    let script = "head -c \"$1\" /dev/urandom | base64";
    let output = Command::new("sh")
        .args(["-c", script, "noise", &bytes.to_string()])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn while_it_builds() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    let script = "(setsid sleep 1000 &) ; touch /tmp/cache/begun; sleep 1000\n";
    world.source.write("build.sh", script);
    let pusher = world.push();
    world.must_mark("begun");
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();
    assert_eq!(names_in(&world.folder().join("builds")).len(), 1);

    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    world.must_be_in_order(server);
}

#[test]
fn while_it_packs_the_slug() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    let script = "head -c 150M /dev/urandom >ballast\n";
    world.source.write("build.sh", script);
    let pusher = world.push();
    let builds = world.folder().join("builds");
    let half = wait::until("a slug that is being written", SOON, || {
        let build = names_in(&builds).pop()?;
        let tarball = builds.join(build).join("slug.tgz");
        let begun = fs::metadata(&tarball).is_ok_and(|found| found.len() > 0);
        begun.then_some(tarball)
    });
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();
    let length = fs::metadata(&half).unwrap().len();
    assert!(length < 150 << 20, "the slug was whole: {length}");

    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    world.must_be_in_order(server);
}

/// Lets a push come so far that its slug is kept, its release pending, and its process about to begin.
fn until_the_new_process_starts(world: &World) -> pilvi_e2e::child::Client {
    let procfile = "web: echo about to wait; exec sleep 1000\n";
    world.source.write("Procfile", procfile);
    let pusher = world.push();
    world.must_log("about to wait");
    pusher
}

fn given_up(world: &World) {
    world.must_log("was interrupted by a restart of the server and given up");
}

#[test]
fn before_it_switches() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    let pusher = until_the_new_process_starts(&world);
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();

    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    given_up(&world);
    world.must_be_in_order(server);
}

#[test]
fn while_it_starts_again() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    let pusher = until_the_new_process_starts(&world);
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();
    world.start_and_kill("an unfinished release was given up");
    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    world.must_be_at_release(1);
    world.must_be_in_order(server);
}

/// After a loss of power, files that were not written to the disk in time are empty.
#[test]
fn by_a_loss_of_power_before_it_switches() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    let pusher = until_the_new_process_starts(&world);
    server.kill();
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();
    let slugs = world.folder().join("slugs");
    let mut emptied = 0;
    for name in names_in(&slugs) {
        let tree = slugs.join(name);
        if tree.is_dir() {
            fs::write(tree.join("app.pl"), "").unwrap();
            emptied += 1;
        }
    }
    assert_eq!(emptied, 2, "the old slug and the new one");
    fs::write(world.data.join("boot-id"), "another start of the machine").unwrap();

    let server = world.start();
    world.must_serve("1");
    world.must_be_at(&before);
    given_up(&world);
    world.must_be_in_order(server);
}

/// The release is current, and git has not moved the branch yet.
#[test]
fn between_the_switch_and_the_branch() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let before = world.source.head();
    world.source.write(
        "build.sh",
        "touch /tmp/cache/begun; while [ ! -e /tmp/cache/go ]; do sleep 0.1; done\n",
    );
    world.source.write("version", "2\n");
    let pusher = world.push();
    world.must_mark("begun");
    let receivers = receivers(&world);
    assert!(!receivers.is_empty());
    signal("STOP", &receivers);
    fs::write(world.folder().join("cache/go"), "").unwrap();
    world.must_log("Release v2 is in service");
    server.kill();
    signal("CONT", &receivers);
    rejected(&pusher.ended(SOON), GONE);
    world.traces.expect_no_processes();

    let server = world.start();
    world.must_serve("2");
    // It is not what runs, but the push can be made again.
    world.must_be_at(&before);
    world.app.deploy(&world.source);
    world.must_serve("2");
    world.must_be_at(&world.source.head());
    world.must_be_in_order(server);
}

/// The processes of git that take a push of the app, without the hook, which is us.
fn receivers(world: &World) -> Vec<String> {
    let repository = world.folder().join("repository.git");
    let mark = format!(
        "PILVI_REPOSITORY={}",
        repository.canonicalize().unwrap().display()
    );
    let mut found = Traces::processes_with(&mark);
    let binary = process::binary();
    found.retain(|number| {
        fs::read_link(Path::new("/proc").join(number).join("exe")).is_ok_and(|exe| exe != binary)
    });
    found
}

fn signal(name: &str, processes: &[String]) {
    let status = Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$@\"", name])
        .args(processes)
        .status();
    // One that was continued and one that has ended are both fine.
    assert!(status.unwrap().success() || name == "CONT");
}

#[test]
fn while_it_drains() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let (request, server) = hold_a_request(&world, server);
    world.source.write("version", "2\n");
    world.app.deploy(&world.source);
    world.must_serve("2");
    let log = world.app.log();
    assert!(
        !log.contains("SIGTERM"),
        "the old process was to drain: {log}"
    );
    server.kill();
    drop(request);
    world.traces.expect_no_processes();

    let server = world.start();
    world.must_serve("2");
    world.must_be_at(&world.source.head());
    // A restart makes no release of its own.
    world.must_be_at_release(2);
    world.must_be_in_order(server);
}

/// Begins a request that the app waits for the end of.
fn hold_a_request(world: &World, server: Server) -> (Connection, Server) {
    let mut request = Connection::open(world.http());
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nab",
        world.app.host()
    );
    request.write(head.as_bytes());
    world.must_log("a request has begun");
    (request, server)
}
