//! What is left when something ends: nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pilvi_runtime::Ending;

use crate::world::{HELPER, World, is_possible, processes_of, wait_for_turn};

/// Programs that do everything to live on.
const CLINGING: &str = "trap '' TERM INT HUP; for i in 1 2 3; do setsid sh -c \"trap '' TERM; sleep 1000\" & done; \
                        echo up; while :; do sleep 1000; done";

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_first_program_ends_all_others() {
    if !is_possible() {
        return;
    }
    let world = World::new("ends").await;
    let (exit, text) = world
        .shell("setsid sleep 1000 & sleep 1000 & echo started; exit 4")
        .await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(4), "started\n"));
    assert_eq!(processes_of(&world.prefix), Vec::<u32>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_returns_when_nothing_is_left() {
    if !is_possible() {
        return;
    }
    let world = World::new("kill").await;
    let (spec, output) = world.spec(&["sh", "-c", CLINGING]);
    let sandbox = world.launch(spec).await;
    assert!(!processes_of(&world.prefix).is_empty());
    assert_eq!(sandbox.kill().await.ending, Ending::Signal(libc::SIGKILL));
    assert_eq!(processes_of(&world.prefix), Vec::<u32>::new());
    drop(output.text());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_ends_a_sandbox() {
    if !is_possible() {
        return;
    }
    let world = World::new("drop").await;
    let (spec, output) = world.spec(&["sh", "-c", CLINGING]);
    drop(world.launch(spec).await);
    // Comes only with the last process that could print.
    output.text();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_runtime_ends_every_sandbox_and_refuses_more() {
    if !is_possible() {
        return;
    }
    let world = World::new("stop").await;
    let mut sandboxes = Vec::new();
    for number in 0..5 {
        let (mut spec, _) = world.spec(&["sh", "-c", CLINGING]);
        spec.name = format!("app/web.{number}");
        sandboxes.push(world.launch(spec).await);
    }
    world.runtime.stop().await;
    for sandbox in &sandboxes {
        assert_eq!(
            sandbox.exit().unwrap().ending,
            Ending::Signal(libc::SIGKILL)
        );
    }
    let (spec, _) = world.spec(&["true"]);
    let refused = world.runtime.launch(spec).await.unwrap_err();
    assert_eq!(
        refused.sentence(),
        "The sandbox could not be started: the server is stopping."
    );
    world.end().await;
}

/// Waits until nothing of a prefix lives any more; says how long that took.
fn wait_for_the_end(prefix: &str) -> Duration {
    let start = Instant::now();
    while !processes_of(prefix).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "sandboxes outlive their server"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

#[tokio::test]
async fn a_killed_server_leaves_no_process_for_a_second() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = "pilvi-test-death";
    let _turn = wait_for_turn(prefix).await;
    let mut server = Command::new(HELPER)
        .args([
            "serve",
            folder.path().to_str().unwrap(),
            prefix,
            "sh",
            "-c",
            CLINGING,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let first_two = [
        lines.next().unwrap().unwrap(),
        lines.next().unwrap().unwrap(),
    ];
    assert!(
        first_two.contains(&"up".to_owned()) && first_two.contains(&"started".to_owned()),
        "{first_two:?}"
    );
    assert!(processes_of(prefix).len() >= 3);
    server.kill().unwrap();
    server.wait().unwrap();
    let took = wait_for_the_end(prefix);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    // The next server of the same prefix removes what cannot remove itself.
    let next = Command::new(HELPER)
        .args(["serve", folder.path().to_str().unwrap(), prefix, "true"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&next.stdout).contains("ended Code(0)"),
        "{next:?}"
    );
    assert_eq!(
        crate::world::groups_of(prefix),
        Vec::<std::path::PathBuf>::new()
    );
}

/// The helper that was started with this word besides.
fn helper_of(word: &str) -> Option<rustix::process::Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_word = |pid: &i32| {
        let read =
            |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm") == "pilvi-sandboxes\n" && read("cmdline").ends_with(&format!("\0{word}\0"))
    };
    { pids }
        .find(has_word)
        .and_then(rustix::process::Pid::from_raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_outlive_the_helper_and_the_next_launch_starts_another() {
    if !is_possible() {
        return;
    }
    let world = World::new("helper").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    let helper = helper_of(&world.prefix).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    let (exit, text) = crate::world::exec_to_end(&sandbox, &["echo", "alive"]).await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(0), "alive\n"));
    let (exit, text) = world.shell("echo again").await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(0), "again\n"));
    assert_ne!(helper_of(&world.prefix), Some(helper));
    assert_eq!(sandbox.kill().await.ending, Ending::Signal(libc::SIGKILL));
    world.end().await;
}
