//! `bench growth`: what more objects, more backends and more sockets cost. Here Pilvi is its own peer: the columns are
//! sizes, and the first is the smallest.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::eds::{self, Extent};
use crate::fill::fill;
use crate::http::client::{Client, text};
use crate::http::request::Request;
use crate::mws;
use crate::options::Options;
use crate::peers::gateways::Kind;
use crate::peers::pilvi::{Instance, Pilvi};
use crate::peers::pilvi_store::PilviStore;
use crate::peers::store::{ROWS, Store, object, value};
use crate::report::{Better, Metric, Report};
use crate::world::World;

/// Enough for a query to be slow.
const OBJECTS_AT_FIRST_QUERY: u64 = 20_000;
/// Objects in each of many backends.
const OBJECTS_PER_BACKEND: u64 = 20;
const BACKENDS_PER_ACCOUNT: usize = 100;

pub(crate) fn run(world: &World, options: &Options) -> Result<Vec<Report>> {
    let (objects, backends): (&[u64], &[usize]) = match options.quick {
        false => (&[1_000, 100_000, 1_000_000], &[1, 100, 1_000]),
        true => (&[400, 2_000], &[1, 20]),
    };
    let sockets = match options.quick {
        false => mws::Extent::of(false).sockets,
        true => vec![100, 500],
    };
    let mut reports = Vec::new();
    if options.wants("objects") {
        reports.push(in_turns(
            options,
            "objects",
            objects,
            |count, report, column| of_objects(world, options, *count, report, column),
        ));
    }
    if options.wants("backends") {
        reports.push(in_turns(
            options,
            "backends",
            backends,
            |count, report, column| of_backends(world, options, *count, report, column),
        ));
    }
    if options.wants("indexes") {
        reports.push(in_turns(
            options,
            "indexed objects",
            &objects[1..],
            |count, report, column| of_index(world, options, *count, report, column),
        ));
    }
    if options.wants("sockets") {
        reports.push(in_turns(
            options,
            "sockets",
            &sockets,
            |count, report, column| of_sockets(world, options, *count, report, column),
        ));
    }
    Ok(reports)
}

/// Measures every size in every round.
fn in_turns<Size: std::fmt::Display>(
    options: &Options,
    what: &str,
    sizes: &[Size],
    mut measure: impl FnMut(&Size, &mut Report, &str) -> Result<()>,
) -> Report {
    let title = format!("growth of {what}");
    let mut report = Report::new(&title);
    let columns: Vec<String> = sizes.iter().map(|size| format!("{size} {what}")).collect();
    report.columns(columns.iter().map(String::as_str));
    for round in 1..=options.rounds() {
        for (size, column) in sizes.iter().zip(&columns) {
            options.progress(&format!("{title}: round {round}, {column}"));
            let outcome = measure(size, &mut report, column);
            report.note_failure(column, &title, outcome);
        }
    }
    report
}

fn extent(options: &Options, objects: u64) -> Extent {
    let seconds = if options.quick { 1 } else { 5 };
    Extent {
        objects,
        // A query finds as many objects however many there are.
        distinct: objects / ROWS as u64,
        warm_up: Duration::from_secs(seconds),
        length: Duration::from_secs(seconds),
    }
}

fn of_objects(
    world: &World,
    options: &Options,
    count: u64,
    report: &mut Report,
    column: &str,
) -> Result<()> {
    let extent = extent(options, count);
    let store = PilviStore::start(world)?;
    // An application asks while it grows, so the index comes before the crowd.
    let first = count.min(OBJECTS_AT_FIRST_QUERY);
    let mut ids = fill(&store, 0..first, extent.distinct)?;
    eds::wait_until_indexed(&store)?;
    ids.extend(fill(&store, first..count, extent.distinct)?);
    eds::add_outcome(report, column, "create", eds::creates(&store, &extent)?);
    eds::add_outcome(report, column, "get", eds::gets(&store, &ids, &extent)?);
    eds::add_outcome(report, column, "query", eds::queries(&store, &extent)?);
    add_memory(report, column, &store.cloud)
}

/// What everybody feels who writes while an index of all objects is made.
fn of_index(
    world: &World,
    options: &Options,
    count: u64,
    report: &mut Report,
    column: &str,
) -> Result<()> {
    let extent = extent(options, count);
    let store = PilviStore::start(world)?;
    fill(&store, 0..count, extent.distinct)?;
    eds::add_outcome(
        report,
        column,
        "create, no index",
        eds::creates(&store, &extent)?,
    );
    let mut client = Client::connect(store.server().address)?;
    let index = json!({"objectType": "objects.items", "property": "value"});
    let make = store
        .backend
        .authorized(Request::post("/v1/indexes").json(&index));
    let started = Instant::now();
    let id = text(&client.ask(make)?, "/id")?;
    eds::add_outcome(
        report,
        column,
        "create, index in the making",
        eds::creates(&store, &extent)?,
    );
    let shown = format!("/v1/indexes/{id}");
    while text(
        &client.ask(store.backend.authorized(Request::get(&shown)))?,
        "/state",
    )? != "ready"
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    let metric = Metric {
        case: "making the index".to_owned(),
        name: "time",
        unit: "s",
        better: Better::Low,
    };
    report.add(column, metric, started.elapsed().as_secs_f64());
    eds::add_outcome(
        report,
        column,
        "create, with the index",
        eds::creates(&store, &extent)?,
    );
    Ok(())
}

fn of_backends(
    world: &World,
    options: &Options,
    count: usize,
    report: &mut Report,
    column: &str,
) -> Result<()> {
    let extent = extent(options, OBJECTS_PER_BACKEND);
    let cloud = Pilvi::start(world)?;
    let backends = backends(&cloud, count)?;
    let (address, tree) = (cloud.server.address, cloud.server.tree());
    let turn = |number: u64| &backends[usize::try_from(number).unwrap_or(0) % count];
    let mut create = |number| {
        let mut object = object(number, 1);
        object["value"] = format!("new-{number}").into();
        turn(number).backend.create_object(&object).into_bytes()
    };
    let outcome = eds::load(address, vec![tree], &extent, &mut create)?;
    eds::add_outcome(report, column, "create", outcome);
    let mut get = |number| {
        let filled = turn(number);
        let place = eds::scattered(number, OBJECTS_PER_BACKEND);
        let id = &filled.ids[usize::try_from(place).unwrap_or(0)];
        filled.backend.get_object(id).into_bytes()
    };
    let outcome = eds::load(address, vec![tree], &extent, &mut get)?;
    eds::add_outcome(report, column, "get", outcome);
    let mut query = |number| turn(number).backend.query_objects(&value(0)).into_bytes();
    let outcome = eds::load(address, vec![tree], &extent, &mut query)?;
    eds::add_outcome(report, column, "query", outcome);
    add_memory(report, column, &cloud)
}

struct Filled {
    backend: Instance,
    ids: Vec<String>,
}

fn backends(cloud: &Pilvi, count: usize) -> Result<Vec<Filled>> {
    let mut client = Client::connect(cloud.server.address)?;
    let mut filled = Vec::with_capacity(count);
    let mut account = String::new();
    for number in 0..count {
        if number.is_multiple_of(BACKENDS_PER_ACCOUNT) {
            account = cloud.create_account(&mut client, &format!("bench {number}"))?;
        }
        let name = format!("bench {number}");
        let backend = cloud.create_in(&mut client, &account, "eds", &name)?;
        let mut ids = Vec::new();
        for number in 0..OBJECTS_PER_BACKEND {
            let created = client.ask(backend.create_object(&object(number, 1)))?;
            ids.push(text(&created, "/id")?);
        }
        filled.push(Filled { backend, ids });
    }
    Ok(filled)
}

fn of_sockets(
    world: &World,
    options: &Options,
    count: usize,
    report: &mut Report,
    column: &str,
) -> Result<()> {
    let mut extent = mws::Extent::of(options.quick);
    extent.trickle_at = count;
    mws::measure(
        world,
        Kind::Pilvi,
        count,
        &extent,
        &mut |name, unit, better, value| {
            let case = "mws".to_owned();
            report.add(
                column,
                Metric {
                    case,
                    name,
                    unit,
                    better,
                },
                value,
            );
        },
    )
}

fn add_memory(report: &mut Report, column: &str, cloud: &Pilvi) -> Result<()> {
    let memory = cloud.server.tree().memory()?;
    let metric = Metric {
        case: "after it".into(),
        name: "private memory",
        unit: "MB",
        better: Better::Low,
    };
    report.add(column, metric, memory.private_kb as f64 / 1024.0);
    Ok(())
}
