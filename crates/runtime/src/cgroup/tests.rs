//! On this machine's real trees, as root; and the v2 writer on plain folders, because a machine boots one layout only.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::detect::Tree;
use super::*;
use crate::testing::{is_root_or_skip, own_prefix, until};

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon's groups that are gone after the test, whatever happens in it.
struct Own(Cgroups);

impl Own {
    fn on(mounts: &Mounts) -> Self {
        Self(Cgroups::on(mounts, &own_prefix()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for group in self.0.existing() {
            let _ = group.kill(PATIENCE);
            let _ = group.remove();
        }
        self.0.remove();
    }
}

/// The layouts that this machine has trees for.
fn layouts() -> Vec<(&'static str, Mounts)> {
    let real = Mounts::of_this_process();
    let legacy = Mounts {
        unified: None,
        ..real.clone()
    };
    vec![("real", real), ("legacy", legacy)]
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 64 << 20,
        pids: 20,
        cpu_max: Some(0.5),
        cpu_weight: 50,
        ..Limits::default()
    }
}

/// A shell that joins the group by itself, as init does, and goes on with the script.
fn spawn(group: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    group.join(child.id()).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    child
}

#[test]
fn a_group_is_limited_measured_killed_and_removed() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let own = Own::on(&mounts);
        let group = own.0.create("mar-eu-1-ab12cd34/web.1", &limits()).unwrap();
        let mut child = spawn(&group, "while :; do sleep 60 & sleep 60 & wait; done");
        until("the sleepers run", || group.usage().pids >= 3);
        let usage = group.usage();
        assert!(
            usage.memory_bytes > 0 && usage.memory_bytes < 64 << 20,
            "{layout}: {usage:?}"
        );
        assert!(usage.cpu > Duration::ZERO, "{layout}: {usage:?}");
        assert_eq!(
            group.processes().len(),
            usize::try_from(usage.pids).unwrap()
        );
        group.kill(PATIENCE).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(group.processes(), []);
        assert!(!group.out_of_memory());
        group.remove().unwrap();
        assert_eq!(own.0.existing().len(), 0, "{layout}");
    }
}

#[test]
fn a_fork_bomb_ends_at_the_limit_and_is_killed_whole() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let own = Own::on(&mounts);
        let group = own.0.create("bomb", &limits()).unwrap();
        let mut child = spawn(&group, "f() { f & f & wait; }; while :; do f; done");
        until("the bomb is at its limit", || group.usage().pids >= 15);
        assert!(group.usage().pids <= 20, "{layout}");
        group.kill(PATIENCE).unwrap();
        child.wait().unwrap();
        assert_eq!(group.processes(), []);
        group.remove().unwrap();
    }
}

#[test]
fn memory_that_runs_out_kills_and_is_told() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let own = Own::on(&mounts);
        let group = own.0.create("hungry", &limits()).unwrap();
        // Doubles a string until it does not fit.
        let mut child = spawn(&group, "a=aaaaaaaaaaaaaaaa; while :; do a=$a$a; done");
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{layout}"
        );
        assert!(group.out_of_memory(), "{layout}");
        group.kill(PATIENCE).unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn limits_of_a_running_group_can_grow_and_shrink() {
    if !is_root_or_skip("control groups") {
        return;
    }
    let own = Own::on(&Mounts::of_this_process());
    let group = own.0.create("sized", &limits()).unwrap();
    let mut child = spawn(&group, "exec sleep 60");
    for megabytes in [256_u64, 32, 128] {
        let to = Limits {
            memory_bytes: megabytes << 20,
            cpu_max: None,
            ..limits()
        };
        group.change(&to).unwrap();
    }
    group.kill(PATIENCE).unwrap();
    child.wait().unwrap();
    group.remove().unwrap();
}

#[test]
fn what_an_earlier_run_left_is_found_by_the_next() {
    if !is_root_or_skip("control groups") {
        return;
    }
    let own = Own::on(&Mounts::of_this_process());
    let group = own.0.create("left", &limits()).unwrap();
    let mut child = spawn(&group, "sleep 60");
    drop(group);
    let found = own.0.existing();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name(), Some("left.1"));
    found[0].kill(PATIENCE).unwrap();
    child.wait().unwrap();
    found[0].remove().unwrap();
}

#[test]
fn a_process_with_one_thread_joins_by_the_doors_without_a_wait() {
    if !is_root_or_skip("control groups") {
        return;
    }
    let mounts = Mounts::of_this_process();
    let own = Own::on(&mounts);
    let group = own.0.create("doors", &limits()).unwrap();
    let doors = group.doors().unwrap();
    if doors.is_empty() {
        // A pure v2 tree has none; there `CLONE_INTO_CGROUP` does it.
        return;
    }
    // The shell has one thread; the descriptors of the doors become its standard input, one after the other.
    for door in doors {
        let status = Command::new("sh")
            .args(["-c", "echo 0 >&0; exec sleep 0"])
            .stdin(Stdio::from(door))
            .status()
            .unwrap();
        assert!(status.success());
    }
    group.remove().unwrap();
}

#[test]
fn freezing_stops_and_thawing_continues() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let own = Own::on(&mounts);
        let group = own.0.create("cold", &limits()).unwrap();
        let mut child = spawn(&group, "while :; do :; done");
        until("it works", || group.usage().cpu > Duration::from_millis(20));
        group.freeze(true).unwrap();
        // Freezing takes effect within the next tick or two.
        let at = until_still(&group);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(group.usage().cpu, at, "{layout}");
        group.freeze(false).unwrap();
        until("it works again", || group.usage().cpu > at);
        group.kill(PATIENCE).unwrap();
        child.wait().unwrap();
        group.remove().unwrap();
    }
}

fn until_still(group: &Cgroup) -> Duration {
    let deadline = Instant::now() + PATIENCE;
    let mut last = group.usage().cpu;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(30));
        let now = group.usage().cpu;
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("the group does not freeze");
}

/// A folder that looks like the top of a pure v2 tree.
fn pretend_tree(controllers: &str) -> (tempfile::TempDir, Mounts) {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("pilvi.service");
    for place in [own.clone(), own.join("pilvi-x")] {
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("cgroup.controllers"), controllers).unwrap();
        // A real file shows afterwards what was switched on; a plain one holds what was written last.
        fs::write(place.join("cgroup.subtree_control"), controllers).unwrap();
    }
    fs::write(own.join("pilvi-x/cgroup.kill"), "").unwrap();
    let tree = Tree {
        top: folder.path().to_owned(),
        own,
    };
    let mounts = Mounts {
        legacy: BTreeMap::new(),
        unified: Some(tree),
        is_root: false,
    };
    (folder, mounts)
}

#[test]
fn pure_v2_moves_the_daemon_into_a_leaf_and_writes_its_own_files() {
    let (folder, mounts) = pretend_tree("cpu io memory pids");
    let cgroups = Cgroups::on(&mounts, "pilvi-x");
    assert_eq!(cgroups.kind(), &Kind::Unified);
    assert_eq!(cgroups.lacks(), []);
    let home = folder.path().join("pilvi.service/pilvi-x");
    let us = std::process::id().to_string();
    assert_eq!(
        fs::read_to_string(home.join("daemon/cgroup.procs")).unwrap(),
        us
    );
    let group = cgroups.create("web.1", &limits()).unwrap();
    let read = |file: &str| fs::read_to_string(home.join("web.1.1").join(file)).unwrap();
    assert_eq!(read("memory.max"), "67108864");
    assert_eq!(read("memory.oom.group"), "1");
    assert_eq!(read("pids.max"), "20");
    assert_eq!(read("cpu.max"), "50000 100000");
    assert_eq!(read("cpu.weight"), "50");
    assert!(group.directory().is_some());
    assert_eq!(cgroups.existing().len(), 1);
}

#[test]
fn pure_v2_counts_in_its_own_files() {
    let (folder, mounts) = pretend_tree("cpu memory pids");
    let cgroups = Cgroups::on(&mounts, "pilvi-x");
    let group = cgroups.create("web.1", &limits()).unwrap();
    let write = |file: &str, text: &str| {
        let place = folder.path().join("pilvi.service/pilvi-x/web.1.1");
        fs::write(place.join(file), text).unwrap();
    };
    write("memory.current", "9000000\n");
    write("memory.stat", "anon 1\ninactive_file 1000000\nfile 2\n");
    write("pids.current", "4\n");
    write("cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
    let usage = group.usage();
    assert_eq!((usage.memory_bytes, usage.pids), (8_000_000, 4));
    assert_eq!(usage.cpu, Duration::from_millis(2500));
    write("memory.events", "low 0\noom 0\noom_kill 0\n");
    assert!(!group.out_of_memory());
    write("memory.events", "low 0\noom 1\noom_kill 2\n");
    assert!(group.out_of_memory());
}

#[test]
fn pure_v2_without_a_controller_says_so() {
    let (_folder, mounts) = pretend_tree("memory pids");
    let cgroups = Cgroups::on(&mounts, "pilvi-x");
    let lacks = cgroups.lacks();
    assert_eq!(lacks.len(), 1);
    assert_eq!(lacks[0].ability, Ability::Cpu);
    assert!(lacks[0].why.contains("cpu controller"), "{}", lacks[0].why);
}

#[test]
fn without_delegation_there_are_no_groups_and_the_reason_says_what_to_do() {
    let mounts = Mounts {
        unified: Some(Tree {
            top: "/nowhere".into(),
            own: "/nowhere/own".into(),
        }),
        ..Mounts::default()
    };
    let cgroups = Cgroups::on(&mounts, "pilvi-x");
    let Kind::None(why) = cgroups.kind() else {
        panic!("{:?}", cgroups.kind());
    };
    assert!(why.contains("Delegate=yes"), "{why}");
    assert_eq!(cgroups.lacks().len(), 6);
    // A group of nothing: everything works and does nothing.
    let group = cgroups.create("web.1", &limits()).unwrap();
    group.join(std::process::id()).unwrap();
    group.kill(PATIENCE).unwrap();
    group.remove().unwrap();
    assert_eq!(group.usage(), crate::spec::Usage::default());
}

#[test]
fn all_groups_of_a_daemon_together_leave_room_for_the_server() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let own = Own::on(&mounts);
        let Some(memory) = own.0.0.controllers.memory.clone() else {
            // A pure v2 tree holds the server itself in the same folder.
            continue;
        };
        let bound = |name: &str| {
            let text = std::fs::read_to_string(memory.join(name)).unwrap();
            text.trim().parse::<u64>().unwrap()
        };
        let all = rustix::system::sysinfo();
        let all = all.totalram as u64 * u64::from(all.mem_unit);
        let together = bound("memory.limit_in_bytes");
        assert!(
            (all / 2 - 4096..all).contains(&together),
            "{layout}: {together} of {all}"
        );
        // Another daemon sweeps the folder away while nothing runs.
        own.0.remove();
        let group = own.0.create("web.1", &limits()).unwrap();
        assert_eq!(bound("memory.limit_in_bytes"), together, "{layout}");
        group.remove().unwrap();
    }
}

#[test]
fn a_sweep_removes_the_groups_of_dead_servers_and_leaves_those_of_living_ones() {
    if !is_root_or_skip("control groups") {
        return;
    }
    for (layout, mounts) in layouts() {
        let ours = Own::on(&mounts);
        if *ours.0.kind() == Kind::Unified {
            continue;
        }
        let (living, dead) = (Own::on(&mounts), Own::on(&mounts));
        // Nothing runs in them yet, as in the middle of a launch.
        let kept = living.0.create("web.1", &limits()).unwrap();
        let folders: Vec<_> = dead.0.0.controllers.parents().map(Path::to_owned).collect();
        // The end of a process closes what it holds.
        drop(dead);
        for folder in &folders {
            fs::create_dir_all(folder.join("web.1.1/inner")).unwrap();
        }
        ours.0.sweep();
        for folder in &folders {
            assert!(!folder.exists(), "{layout}: {}", folder.display());
        }
        assert_eq!(living.0.existing().len(), 1, "{layout}");
        for folder in living.0.0.controllers.parents() {
            assert_eq!(
                folders_in(folder).len(),
                1,
                "{layout}: {}",
                folder.display()
            );
        }
        kept.remove().unwrap();
    }
}
