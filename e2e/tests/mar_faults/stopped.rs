//! The orderly end, with as much under way as there can be.

use pilvi_e2e::child::Client;

use crate::world::{SOON, World, rejected};

#[test]
fn a_server_that_is_told_to_stop_ends_in_time_and_leaves_nothing() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let procfile = "web: exec perl app.pl 0.0.0.0\nworker: trap '' TERM; echo I stay; while :; do sleep 1; done\n";
    world.source.write("Procfile", procfile);
    world.source.write("version", "2\n");
    world.app.deploy(&world.source);
    world.app.mar(&["scale", "web=2", "worker=1"]);
    world.must_log("I stay");
    let mut follow = world.app.command(&["logs", "--follow"]);
    let follower = Client::start("pilvi mar logs --follow", &mut follow);
    let script = "trap '' TERM; touch /tmp/cache/begun; while :; do sleep 1; done\n";
    world.source.write("build.sh", script);
    let pusher = world.push();
    world.must_mark("begun");

    server.stop_by("TERM");
    rejected(
        &pusher.ended(SOON),
        &["The build was ended, since the server is stopping"],
    );
    follower.ended(SOON);
    world.traces.expect_none();
    world.traces.expect_settled(&world.data, &world.folder());

    let server = world.start();
    world.must_serve("2");
    world.must_log("I stay");
    server.kill();
    world.traces.expect_no_processes();
}
