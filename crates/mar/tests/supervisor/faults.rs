//! Programs that do not behave.

use std::time::{Duration, Instant};

use pilvi_mar::journal::Stream;
use pilvi_mar::supervisor::Settings;
use pilvi_mar::{ProcessState, Processes};
use pilvi_model::Timestamp;

use crate::world::{Kind, World, quick, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_is_started_again_at_once_the_first_time() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world
            .deploy("web: perl server.pl 127.0.0.1 one")
            .await
            .unwrap();
        let before = world
            .until_state("web.1", ProcessState::Running)
            .await
            .started_at;
        let _ = world.get("/die").await;
        world.until_log("Process exited with status 3").await;
        another_run(&world, before).await;
        assert_eq!(world.body().await, "one");
        world.stop().await;
    }
}

/// Waits until `web.1` runs, and not still as it did `before`.
async fn another_run(world: &World, before: Option<Timestamp>) -> Option<Timestamp> {
    until("another run", async || {
        let row = world.until_state("web.1", ProcessState::Running).await;
        (row.started_at > before).then_some(row.started_at)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_keeps_ending_is_crashed_and_says_so() {
    for kind in Kind::all() {
        let pace = pilvi_mar::supervisor::Pace {
            first: Duration::from_secs(100),
            ..quick().pace
        };
        let pace = pilvi_mar::supervisor::Pace {
            longest: Duration::from_secs(100),
            ..pace
        };
        let world = World::with(kind, Settings { pace, ..quick() }).await;
        world
            .deploy("web: perl server.pl 127.0.0.1 one\nworker: exit 0")
            .await
            .unwrap();
        world.scale(&[("worker", 1)]).await;
        let worker = world.until_state("worker.1", ProcessState::Crashed).await;
        assert_eq!(worker.exit_code, Some(0));
        let mut before = None;
        for _ in 0..2 {
            before = another_run(&world, before).await;
            let _ = world.get("/die").await;
        }
        let row = world.until_state("web.1", ProcessState::Crashed).await;
        assert_eq!(
            (row.exit_code, row.started_at, row.memory_bytes),
            (Some(3), None, None)
        );
        let (status, page) = world.get("/").await.unwrap();
        assert_eq!(status, 503);
        assert!(page.contains("crashed"), "{page}");
        let line = world.until_log("code=H10").await;
        assert_eq!(line.stream, Stream::Router);
        // A deploy does not wait for what has crashed.
        world
            .deploy("web: perl server.pl 127.0.0.1 two")
            .await
            .unwrap();
        assert_eq!(world.body().await, "two");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ignores_sigterm_is_killed() {
    for kind in Kind::all() {
        let settings = Settings {
            stop_grace: Duration::from_millis(500),
            ..quick()
        };
        let world = World::with(kind, settings).await;
        world
            .deploy("web: trap '' TERM; perl server.pl 127.0.0.1 one & while :; do wait; done")
            .await
            .unwrap();
        world.scale(&[("web", 0)]).await;
        world.settled().await;
        assert!(world.states().await.is_empty());
        world.until_log("Error R12 (Exit timeout)").await;
        world.until_log("Process exited with status 137").await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_heeds_sigterm_is_not() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        let polite =
            "trap 'echo good  bye; exit 0' TERM; echo rea''dy; while :; do sleep 0.05; done";
        world.deploy(&format!("worker: {polite}")).await.unwrap();
        world.scale(&[("worker", 1)]).await;
        world.until_log("ready").await;
        world.scale(&[("worker", 0)]).await;
        world.settled().await;
        world.until_log("good bye").await;
        world.until_log("Process exited with status 0").await;
        assert!(
            !world
                .log()
                .await
                .iter()
                .any(|entry| entry.text.contains("R12"))
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_without_a_line_end_do_no_harm() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        let flood =
            "head -c 100000000 /dev/zero | tr '\\0' x; echo; sleep 1.5; echo do''ne; sleep 1000";
        world
            .deploy(&format!(
                "web: perl server.pl 127.0.0.1 one\nworker: {flood}"
            ))
            .await
            .unwrap();
        let before = resident_bytes();
        world.scale(&[("worker", 1)]).await;
        assert_eq!(world.body().await, "one");
        let dropped = world.until_log("dropped ").await;
        assert_eq!(dropped.stream, Stream::System);
        world.until_log("done").await;
        assert!(
            world
                .log()
                .await
                .iter()
                .all(|entry| entry.text.len() <= 10_000)
        );
        let folder = world.folders.of(&world.app).join("log");
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert!(
            files.len() <= 10 && files.iter().all(|length| *length <= 1 << 20),
            "{files:?}"
        );
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 40 << 20, "{grown}");
        world.stop().await;
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_lines_does_not_stop_the_process() {
    let world = World::new(Kind::Plain).await;
    world
        .deploy("worker: seq 1 200000; sleep 1.5; echo fini''shed; sleep 1000")
        .await
        .unwrap();
    let begun = Instant::now();
    world.scale(&[("worker", 1)]).await;
    world.until_log("finished").await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(
        world
            .log()
            .await
            .iter()
            .any(|entry| entry.text.starts_with("dropped "))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_needs_too_much_memory_is_told_so() {
    if !Kind::Sandbox.is_possible() {
        return;
    }
    let world = World::new(Kind::Sandbox).await;
    let hungry = "perl -e 'my @a; push @a, \"x\" x (16 << 20) for 1..100; sleep 1000'";
    world
        .deploy(&format!(
            "all: exec {hungry}\npart: {hungry}; sleep 0.1; exit 9"
        ))
        .await
        .unwrap();
    world.scale(&[("all", 1)]).await;
    world
        .until_log(
            "Error R15 (Memory quota vastly exceeded) -> Process needed more than its 256 MB",
        )
        .await;
    world.scale(&[("all", 0), ("part", 1)]).await;
    world.until_log("Error R14 (Memory quota exceeded)").await;
    world.until_log("Process exited with status 9").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_hurts_only_itself() {
    if !Kind::Sandbox.is_possible() {
        return;
    }
    let world = World::new(Kind::Sandbox).await;
    world
        .deploy("web: perl server.pl 127.0.0.1 one\nbomb: f() { f | f & }; f; sleep 1000")
        .await
        .unwrap();
    world.scale(&[("bomb", 1)]).await;
    world.until_state("bomb.1", ProcessState::Running).await;
    for _ in 0..10 {
        assert_eq!(world.body().await, "one");
    }
    world.scale(&[("bomb", 0)]).await;
    world.settled().await;
    assert_eq!(world.states().await, ["web.1 running"]);
    world.supervisor.remove(&world.app).await.unwrap();
    world.stop().await;
}
