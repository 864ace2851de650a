//! What idle apps cost: memory, and the time until they answer after a restart of the server.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::app::{self, App};
use super::low;
use super::project::Kind;
use crate::options::Options;
use crate::peers::pilvi::Pilvi;
use crate::report::Report;
use crate::server::Server;
use crate::usage;
use crate::world::World;

const PILVI: &str = "Pilvi";
/// After so long, what a start needed has been given back.
const IDLE_AFTER: Duration = Duration::from_secs(3);
/// What the first process of a sandbox is called.
const INIT: &str = "pilvi-init";
const KB_PER_MB: f64 = 1024.0;

pub(super) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("mar: idle");
    let count = if options.quick { 3 } else { 20 };
    Kind::Procfile.prepare()?;
    report.columns([PILVI]);
    report.note(format!(
        "{count} apps of the example hello-procfile; memory is proportional (Pss), {} s after the start: the first \
         process of each sandbox, and what the server and its helper have more than with all apps scaled to nothing; \
         the app's own program is not in it",
        IDLE_AFTER.as_secs()
    ));
    report.note("a restart is timed from the start of the server's process");
    report.want_at_most("memory of one idle app", 2.0);
    for round in 1..=options.rounds() {
        options.progress(&format!("mar: round {round}, idle apps"));
        let outcome = measure(world, count, &mut report);
        report.note_failure(PILVI, "idle", outcome);
    }
    Ok(report)
}

fn measure(world: &World, count: u32, report: &mut Report) -> Result<()> {
    let case = format!("{count} apps");
    let pilvi = Pilvi::start(world)?;
    let project = app::project(world, Kind::Procfile)?;
    let mut apps = Vec::new();
    for number in 0..count {
        let app = App::create(&pilvi, &format!("idle {number}"))?;
        app.push(&project)?;
        apps.push(app);
    }
    drop(pilvi);

    let (server, start) = app::again(world, &mut apps)?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let answered = all_answered(&apps, start)?;
    for (name, time) in [
        (
            "restart to first answer of the platform",
            Some(server.started_within),
        ),
        (
            "restart to first answer of an app",
            answered.first().copied(),
        ),
        ("restart to answers of all apps", answered.last().copied()),
    ] {
        if let Some(time) = time {
            report.add(PILVI, low(&case, name, "ms"), ms(time));
        }
    }
    std::thread::sleep(IDLE_AFTER);
    let with_apps = Memory::of(&server)?;
    for app in &apps {
        app.scale(0)?;
    }
    drop(server);

    let (server, _) = app::again(world, &mut apps)?;
    std::thread::sleep(IDLE_AFTER);
    let without = Memory::of(&server)?;
    let each = |kb: i64| kb as f64 / KB_PER_MB / f64::from(count);
    let inits = each(with_apps.inits_kb);
    let server = each(with_apps.server_kb - without.server_kb);
    for (name, value) in [
        ("memory of one idle app", inits + server),
        ("of it the first process of its sandbox", inits),
        ("of it the server's", server),
    ] {
        report.add(PILVI, low(&case, name, "MB"), value);
    }
    Ok(())
}

/// When each app answered, the first first.
fn all_answered(apps: &[App], start: Instant) -> Result<Vec<Duration>> {
    let waiting: Vec<_> = apps
        .iter()
        .map(|app| {
            let app = app.clone();
            std::thread::spawn(move || app.wait_for("<h1>Hello, ").map(|()| start.elapsed()))
        })
        .collect();
    let mut answered = Vec::new();
    for thread in waiting {
        let answer = thread.join().ok().context("a visitor panicked")?;
        answered.push(answer?);
    }
    answered.sort();
    Ok(answered)
}

/// Proportional memory of a server with apps.
struct Memory {
    /// The server itself and what it keeps running for all sandboxes.
    server_kb: i64,
    /// The first processes of all sandboxes.
    inits_kb: i64,
}

impl Memory {
    fn of(server: &Server) -> Result<Self> {
        let mut memory = Self {
            server_kb: 0,
            inits_kb: 0,
        };
        for id in server.tree().ids()? {
            // A process that has just ended uses no memory.
            let Some(proportional) = usage::proportional_kb(id) else {
                continue;
            };
            match place(id) {
                Place::Server => memory.server_kb += proportional,
                Place::Init => memory.inits_kb += proportional,
                Place::App => {}
            }
        }
        Ok(memory)
    }
}

/// What a process below the server is.
enum Place {
    Server,
    Init,
    App,
}

fn place(id: u32) -> Place {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    match () {
        () if read("comm").trim() == INIT => Place::Init,
        () if is_contained(&read("status")) => Place::App,
        () => Place::Server,
    }
}

/// Whether a process is in a namespace of processes below ours.
fn is_contained(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_two_numbers_is_in_a_sandbox() {
        assert!(is_contained("Name:\tsh\nNSpid:\t4711\t7\n"));
        assert!(!is_contained("Name:\tsh\nNSpid:\t4711\n"));
        assert!(!is_contained(""));
    }
}
