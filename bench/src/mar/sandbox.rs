//! From the launch of a sandbox to the first byte that its program writes, and to its end.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::low;
use crate::install;
use crate::machine;
use crate::options::Options;
use crate::report::Report;
use crate::samples::Latencies;
use crate::world::World;

const PILVI: &str = "Pilvi";
const BUBBLEWRAP: &str = "bubblewrap";
const ALONE: &str = "no network but its own loopback";
const CONNECTED: &str = "with a way to the internet";

/// The namespaces and mounts of a sandbox of ours, as far as bubblewrap has them.
const WALLS: [&str; 37] = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup",
    "--uid",
    "5000",
    "--gid",
    "5000",
    "--hostname",
    "web-1",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--ro-bind",
    "/usr",
    "/usr",
    "--tmpfs",
    "/usr/local",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--tmpfs",
    "/app",
];

/// How long sandboxes took.
#[derive(Default)]
struct Times {
    start: Latencies,
    whole: Latencies,
}

impl Times {
    fn add(&mut self, start: Duration, whole: Duration) {
        self.start.add(start);
        self.whole.add(whole);
    }
}

pub(super) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("mar: sandbox");
    let count = if options.quick { 10 } else { 100 };
    report.columns([PILVI, BUBBLEWRAP]);
    report.note(format!(
        "{count} sandboxes in a round, one after the other, each runs `echo`; all of it on one core"
    ));
    report.note(
        "bubblewrap makes the same namespaces and mounts; Pilvi also limits by control groups, filters system calls, \
         has Landlock, a user of its own on the host and an init that takes orders",
    );
    report.want_at_most("start, median", 30.0);
    let ours = world.pilvi.with_file_name("examples").join("sandbox_start");
    if !ours.is_file() {
        bail!(
            "the sandbox alone is not built: cargo build --release -p pilvi-runtime --example sandbox_start"
        );
    }
    let bubblewrap = install::debian("/usr/bin/bwrap", "bubblewrap");
    if let Err(error) = &bubblewrap {
        report.note(format!("SKIPPED {BUBBLEWRAP}: {error:#}"));
    }
    for round in 1..=options.rounds() {
        options.progress(&format!("mar: round {round}, sandboxes"));
        // Both of a round on the same core.
        machine::pin(world.cores.server)?;
        let alone = by_pilvi(&ours, count, false);
        let connected = by_pilvi(&ours, count, true);
        let theirs = (bubblewrap.as_ref().ok()).map(|program| by_bubblewrap(program, count));
        machine::pin(world.cores.load)?;
        let measured = [
            (PILVI, ALONE, Some(alone)),
            (PILVI, CONNECTED, Some(connected)),
            (BUBBLEWRAP, ALONE, theirs),
        ];
        for (peer, case, times) in measured {
            let Some(times) = times else { continue };
            let outcome = times.map(|times| add(&mut report, peer, case, times));
            report.note_failure(peer, case, outcome);
        }
    }
    Ok(report)
}

fn add(report: &mut Report, peer: &str, case: &str, mut times: Times) {
    let figures = [
        ("start, median", times.start.percentile_ms(50.0)),
        ("start, p99", times.start.percentile_ms(99.0)),
        (
            "start to nothing left, median",
            times.whole.percentile_ms(50.0),
        ),
    ];
    for (name, value) in figures {
        if let Some(value) = value {
            report.add(peer, low(case, name, "ms"), value);
        }
    }
}

/// Our own runtime in a program that does nothing else.
fn by_pilvi(program: &PathBuf, count: u32, network: bool) -> Result<Times> {
    let mut command = Command::new(program);
    command.arg(count.to_string());
    if network {
        command.arg("network");
    }
    let output = command.stdin(Stdio::null()).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("no sandbox: {}", printed.trim());
    }
    let mut times = Times::default();
    for line in printed.lines() {
        let (start, whole) = line.split_once(' ').context("a line has no two times")?;
        let micros = |text: &str| text.parse().map(Duration::from_micros);
        times.add(micros(start)?, micros(whole)?);
    }
    Ok(times)
}

fn by_bubblewrap(program: &PathBuf, count: u32) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..count {
        let mut command = Command::new(program);
        command.args(WALLS).args(["/usr/bin/echo", "here"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let launched_at = Instant::now();
        let mut child = command.spawn()?;
        let mut output = child.stdout.take().context("it has an output")?;
        let first = output.read_exact(&mut [0]);
        let start = launched_at.elapsed();
        let status = child.wait()?;
        let whole = launched_at.elapsed();
        first.context("bubblewrap's program wrote nothing")?;
        if !status.success() {
            bail!("bubblewrap ended with {status}");
        }
        times.add(start, whole);
    }
    Ok(times)
}
