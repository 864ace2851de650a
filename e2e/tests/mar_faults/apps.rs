//! Apps that misbehave.

use std::fs;

use pilvi_e2e::wait;

use crate::leftovers::names_in;
use crate::world::{SOON, World};

/// Megabytes without a line end in the gate; `PILVI_FLOOD_MEGABYTES` sets another number.
const FLOOD_MEGABYTES: usize = 20;

/// An app keeps so much of its log.
const LOG_MAX_BYTES: u64 = 11 << 20;

#[test]
fn one_that_does_not_come_up_is_not_put_into_service() {
    let Some((world, server)) = World::new(&["--apps-boot-timeout", "3"]) else {
        return;
    };
    let crash = "web: echo the door is stuck >&2; exit 3\n";
    world.source.write("Procfile", crash);
    world.must_be_rejected(&[
        "web.1 exited with status 3 before it accepted connections on $PORT (5000)",
        "the door is stuck",
        "Release v1 goes on.",
    ]);
    world.must_log("the door is stuck");
    world.must_log("Release v1 goes on.");

    world
        .source
        .write("Procfile", "web: echo I wait for nobody; exec sleep 1000\n");
    world.must_be_rejected(&[
        "web.1 did not accept connections on $PORT (5000) within 3 seconds of its start",
        "I wait for nobody",
        "Release v1 goes on.",
    ]);
    world.must_log("Error R10 (Boot timeout)");
    world.must_be_in_order(server);
}

#[test]
fn one_that_binds_one_loopback_address_is_reached() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    for (host, version) in [("127.0.0.1", "2"), ("::1", "3"), ("::", "4")] {
        world
            .source
            .write("Procfile", &format!("web: exec perl app.pl {host}\n"));
        world.source.write("version", &format!("{version}\n"));
        world.app.deploy(&world.source);
        world.must_serve(version);
    }
    world.must_be_in_order(server);
}

#[test]
fn one_that_ignores_sigterm_is_killed() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    world
        .source
        .write("Procfile", "web: exec perl app.pl 0.0.0.0 stubborn\n");
    world.source.write("version", "2\n");
    world.app.deploy(&world.source);
    world.must_serve("2");
    world.must_deploy("3");
    world.must_log("Error R12 (Exit timeout) -> Process did not exit within 10 seconds of SIGTERM");
    world.must_be_in_order(server);
}

#[test]
fn one_that_floods_its_log_serves_on_and_its_log_stays_small() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    world.app.set(&[&format!("FLOOD={}", flood_megabytes())]);
    world
        .source
        .write("Procfile", "web: exec perl app.pl 0.0.0.0 flood\n");
    world.source.write("version", "2\n");
    world.app.deploy(&world.source);
    let log = world.folder().join("log");
    wait::until("the flood to be over", SOON, || {
        world.must_serve("2");
        let kept: u64 = names_in(&log)
            .iter()
            .map(|name| fs::metadata(log.join(name)).map_or(0, |found| found.len()))
            .sum();
        assert!(kept <= LOG_MAX_BYTES, "{kept} bytes of log are kept");
        world.app.log().contains("the flood is over").then_some(())
    });
    world.must_be_in_order(server);
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door"
)]
fn flood_megabytes() -> usize {
    match std::env::var("PILVI_FLOOD_MEGABYTES") {
        Ok(text) => text.parse().expect("PILVI_FLOOD_MEGABYTES is a number"),
        Err(_) => FLOOD_MEGABYTES,
    }
}
