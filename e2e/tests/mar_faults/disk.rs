//! A disk that is full at each stage of a push.

use std::fs;
use std::process::Command;

use pilvi_e2e::mount::Disk;

use crate::world::World;

/// Room for the server, two slugs and a reserve.
const DISK_MEBIBYTES: u32 = 160;
const BALLAST: &str = "ballast";

#[test]
fn a_push_to_a_full_disk_is_rejected_with_the_reason_and_works_once_there_is_room() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    let Some((world, server)) = World::on(disk.path(), None, &[]) else {
        return;
    };
    // While it is received.
    disk.fill(BALLAST, usize::MAX);
    let made = Command::new("sh")
        .args(["-c", "head -c 4M /dev/urandom >noise"])
        .current_dir(world.source.path())
        .status();
    assert!(made.unwrap().success());
    world.source.commit();
    must_be_rejected(&world);

    // Before it is built.
    leave(&disk, 16);
    must_be_rejected(&world);

    // While it is built.
    leave(&disk, 64);
    let script = "head -c 100M /dev/zero >much || exit 3\n";
    world.source.write("build.sh", script);
    must_be_rejected(&world);

    // While it is packed.
    leave(&disk, 80);
    let script = "head -c 36M /dev/urandom >much || exit 3\n";
    world.source.write("build.sh", script);
    let said = must_be_rejected(&world);
    assert!(
        said.contains("The build failed at packing the slug"),
        "{said}"
    );

    // Then somebody makes room.
    fs::remove_file(disk.path().join(BALLAST)).unwrap();
    world.must_be_in_order(server);
}

#[test]
fn a_server_that_starts_on_a_full_disk_serves_what_ran() {
    let Some(disk) = Disk::mount(DISK_MEBIBYTES) else {
        return;
    };
    let Some((world, server)) = World::on(disk.path(), None, &[]) else {
        return;
    };
    disk.fill(BALLAST, usize::MAX);
    server.kill();
    world.traces.expect_no_processes();
    let server = world.start();
    world.must_serve("1");
    world.source.write("version", "2\n");
    must_be_rejected(&world);

    // Neither does an orderly end take anything away.
    server.stop();
    disk.fill("more", usize::MAX);
    let server = world.start();
    world.must_serve("1");

    for file in [BALLAST, "more"] {
        fs::remove_file(disk.path().join(file)).unwrap();
    }
    world.must_be_in_order(server);
}

/// With one of the sentences that say what is the matter: a program's own, or the server's, which looks from time to
/// time.
#[track_caller]
fn must_be_rejected(world: &World) -> String {
    let said = world.must_be_rejected(&[]);
    let reasons = [
        "No space left on device",
        "the disk of the server is nearly full",
    ];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    assert!(!said.contains("a fault of the server"), "{said}");
    said
}

/// Fills the disk but for so many MiB.
fn leave(disk: &Disk, mebibytes: usize) {
    let ballast = fs::OpenOptions::new()
        .write(true)
        .open(disk.path().join(BALLAST))
        .unwrap();
    let free = free_bytes(disk);
    let length = ballast.metadata().unwrap().len();
    let wanted = (mebibytes as u64) << 20;
    // Whole blocks, and what the build before this one needed is free again.
    let less = wanted.checked_sub(free).expect("so much is not free yet");
    ballast.set_len(length - less).unwrap();
}

fn free_bytes(disk: &Disk) -> u64 {
    let output = Command::new("df")
        .args(["--output=avail", "--block-size=1"])
        .arg(disk.path())
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    output.lines().last().unwrap().trim().parse().unwrap()
}
