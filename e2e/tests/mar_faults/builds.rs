//! Builds that misbehave.

use crate::world::World;

#[test]
fn one_that_hangs_is_ended_with_all_that_it_started() {
    let Some((world, server)) = World::new(&["--apps-build-timeout", "3"]) else {
        return;
    };
    let script = "trap '' TERM INT HUP\n(setsid sleep 1000 &)\nsleep 1000 & sleep 1000\n";
    world.source.write("build.sh", script);
    world.must_be_rejected(&[
        "The build failed at compiling with the Faulty buildpack",
        "it was not finished after 3 seconds, the limit.",
        "Nothing was deployed. Release v1 goes on running.",
    ]);
    world.must_be_in_order(server);
}

#[test]
fn one_that_floods_its_log_is_cut_short_in_the_log_alone() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let script = "yes 'All work and no play makes a dull log.' | head -c 100M\n";
    world
        .source
        .write("build.sh", &format!("{script}echo the end; exit 7\n"));
    let said = world.must_be_rejected(&[
        "The build wrote more than 10M. What its programs write from here on is left out.",
        "lines were left out. The last ones were:",
        "the end",
        "with exit code 7.",
    ]);
    assert!(said.len() < 16 << 20, "the pusher got {} bytes", said.len());
    world.must_be_in_order(server);
}

#[test]
fn one_that_forks_without_end_meets_its_limit_and_one_that_leaves_programs_behind_loses_them() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let script = r#"exec perl -e '
        my $made = 0;
        while (defined(my $child = fork)) { if (!$child) { sleep 1000; exit } $made++ }
        print "$made children were made: $!\n"; exit($made > 5000);'
"#;
    world
        .source
        .write("build.sh", &format!("({script}) && exit 5\n"));
    world.must_be_rejected(&[
        "children were made: Resource temporarily unavailable",
        "with exit code 5.",
    ]);

    world
        .source
        .write("build.sh", "setsid sleep 1000 & sleep 1000 & disown -a\n");
    world.source.write("version", "2\n");
    world.app.deploy(&world.source);
    world.must_serve("2");
    world.must_be_in_order(server);
}
