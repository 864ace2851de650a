//! Whoever takes without end is stopped, and nobody else notices.

use pilvi_runtime::{Ending, From, Limits, Mount};

use crate::world::{HELPER_INSIDE, World, exec_to_end, is_possible};

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_the_limit() {
    if !is_possible() {
        return;
    }
    let world = World::new("forks").await;
    let (mut spec, output) = world.spec(&[HELPER_INSIDE, "fork"]);
    spec.limits.pids = 40;
    let exit = world.launch(spec).await.exited().await;
    let text = output.text();
    let children: u32 = text.split(' ').next().unwrap().parse().unwrap();
    assert!((20..40).contains(&children), "{text}");
    assert!(text.contains("Resource temporarily unavailable"), "{text}");
    assert_eq!(exit.ending, Ending::Code(0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_ends_at_the_limit_and_is_told_as_such() {
    if !is_possible() {
        return;
    }
    let world = World::new("memory-bomb").await;
    let (mut spec, output) = world.spec(&[HELPER_INSIDE, "allocate"]);
    spec.limits.memory_bytes = 64 << 20;
    let exit = world.launch(spec).await.exited().await;
    assert_eq!(
        (exit.ending, exit.out_of_memory),
        (Ending::Signal(libc::SIGKILL), true)
    );
    assert_eq!(output.text(), "");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_beside_the_first_program_leaves_the_sandbox_running() {
    if !is_possible() {
        return;
    }
    let world = World::new("memory-exec").await;
    let (mut spec, _) = world.spec(&["sleep", "1000"]);
    spec.limits.memory_bytes = 64 << 20;
    let sandbox = world.launch(spec).await;
    let (exit, text) = exec_to_end(&sandbox, &[HELPER_INSIDE, "allocate"]).await;
    assert_eq!(
        (exit.ending, text.as_str()),
        (Ending::Signal(libc::SIGKILL), "")
    );
    let (exit, text) = exec_to_end(&sandbox, &["echo", "alive"]).await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(0), "alive\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filling_every_writable_place_ends_at_its_size() {
    if !is_possible() {
        return;
    }
    let world = World::new("fill").await;
    let (mut spec, _) = world.spec(&["sleep", "1000"]);
    spec.mounts.push(Mount {
        at: "/data".into(),
        from: From::Memory { bytes: 4 << 20 },
    });
    let sandbox = world.launch(spec).await;
    for (folder, most) in [
        ("/data", 4 << 20),
        ("/tmp", 64 << 20),
        ("/dev/shm", 64 << 20),
    ] {
        let (_, text) = exec_to_end(&sandbox, &[HELPER_INSIDE, "fill", folder]).await;
        let mut lines = text.lines();
        let line = lines.next().unwrap();
        let bytes: u64 = line.split(' ').next().unwrap().parse().unwrap();
        assert!(
            (1..=most).contains(&bytes) && line.contains("no storage space"),
            "{folder}: {text}"
        );
        let files: u64 = lines
            .next()
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!((100..20_000).contains(&files), "{folder}: {text}");
        exec_to_end(&sandbox, &["sh", "-c", &format!("rm -rf {folder}/*")]).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_ends_at_its_bound_and_usage_is_told() {
    if !is_possible() {
        return;
    }
    let world = World::new("usage").await;
    let (mut spec, _) = world.spec(&["sleep", "1000"]);
    spec.limits = Limits {
        file_bytes: 1 << 20,
        ..Limits::default()
    };
    let sandbox = world.launch(spec).await;
    let (exit, _) = exec_to_end(
        &sandbox,
        &["dd", "if=/dev/zero", "of=/tmp/x", "bs=64k", "count=100"],
    )
    .await;
    assert_eq!(exit.ending, Ending::Signal(libc::SIGXFSZ));
    let usage = sandbox.usage();
    assert!(usage.memory_bytes > 1 << 20, "{usage:?}");
    assert_eq!(usage.pids, 2, "the init and the program: {usage:?}");
    world.end().await;
}
