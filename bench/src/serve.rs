//! `bench serve`: from the start of the process to the first answer, and what an idle server holds.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::fill::fill;
use crate::options::Options;
use crate::peers::postgresql::PostgreSql;
use crate::peers::store::{KINDS, Kind};
use crate::peers::{parse, pilvi, pocketbase};
use crate::report::{Better, Metric, Report};
use crate::server::Server;
use crate::world::World;

/// After so long, what a start needed has been given back.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// Objects in a data folder that has been used before.
const OBJECTS: u64 = 1_000;
const KB_PER_MB: f64 = 1024.0;

/// What the server finds when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    None,
    Existing,
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("serve");
    let kinds = options.available(
        &mut report,
        &KINDS,
        |kind| kind.name(),
        |kind| kind.prepare(),
    );
    report.columns(kinds.iter().map(|kind| kind.name()));
    report.note(format!(
        "memory {} s after the start; existing data: {OBJECTS} objects of 1 KB",
        IDLE_AFTER.as_secs()
    ));
    report.note(
        "Pilvi with all its services; of Parse Server only itself, its PostgreSQL runs already",
    );
    report.want_at_most("start to first answer", 150.0);
    report.want_at_most("resident memory", 60.0);
    let mut standing = kinds;
    for round in 1..=options.rounds() {
        standing.retain(|kind| {
            options.progress(&format!("serve: round {round}, {}", kind.name()));
            let outcome = measure(world, *kind, &mut report);
            report.note_failure(kind.name(), "serve", outcome)
        });
    }
    Ok(report)
}

fn measure(world: &World, kind: Kind, report: &mut Report) -> Result<()> {
    let database = match kind {
        Kind::Parse => Some(PostgreSql::start(world)?),
        _ => None,
    };
    let fresh = start(world, kind, database.as_ref(), Data::None)?;
    add(report, kind, "no data", &fresh)?;
    drop(fresh);
    // Another folder, with a user and a class or collection besides the objects.
    drop(database);
    let store = kind.start(world)?;
    fill(&*store, 0..OBJECTS, OBJECTS)?;
    let database = store.stop_server();
    let again = start(world, kind, database.as_ref(), Data::Existing)?;
    add(report, kind, "existing data", &again)
}

fn add(report: &mut Report, kind: Kind, case: &str, server: &Server) -> Result<()> {
    std::thread::sleep(IDLE_AFTER);
    let memory = server.tree().memory()?;
    let figures = [
        (
            "start to first answer",
            "ms",
            server.started_within.as_secs_f64() * 1000.0,
        ),
        (
            "resident memory",
            "MB",
            memory.resident_kb as f64 / KB_PER_MB,
        ),
        ("private memory", "MB", memory.private_kb as f64 / KB_PER_MB),
    ];
    for (name, unit, value) in figures {
        let case = case.to_owned();
        let better = Better::Low;
        report.add(
            kind.name(),
            Metric {
                case,
                name,
                unit,
                better,
            },
            value,
        );
    }
    Ok(())
}

fn start(world: &World, kind: Kind, database: Option<&PostgreSql>, data: Data) -> Result<Server> {
    let folder = |name: &str| match data {
        Data::None => world.empty_folder(name),
        Data::Existing => Ok(world.folder().join(name)),
    };
    match kind {
        Kind::Pilvi => pilvi::serve(world, &folder("pilvi")?),
        Kind::PocketBase => pocketbase::serve(world, &folder("pocketbase")?),
        Kind::Parse => parse::start_on(world, database.context("Parse Server needs its database")?),
    }
}
