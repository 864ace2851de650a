//! `bench eds`: objects of a kilobyte over HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::fill::fill;
use crate::http::client::Client;
use crate::http::load::{self, Outcome, Plan, Refusals};
use crate::http::request::Request;
use crate::options::Options;
use crate::peers::store::{KINDS, Kind, ROWS, Store, object, value};
use crate::report::{Better, Metric, Report};
use crate::usage::Tree;
use crate::world::World;

const CONNECTIONS: usize = 32;
/// What a query with an index stays below, and so many of them in a row show that there is one.
const FAST: Duration = Duration::from_millis(50);
const FAST_QUERIES: usize = 100;
const INDEXED_WITHIN: Duration = Duration::from_secs(120);

/// How much there is, and how long it is asked for.
pub(crate) struct Extent {
    pub(crate) objects: u64,
    pub(crate) distinct: u64,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

impl Extent {
    fn of(options: &Options) -> Self {
        match options.quick {
            false => Self {
                objects: 10_000,
                distinct: 500,
                warm_up: Duration::from_secs(3),
                length: Duration::from_secs(8),
            },
            true => Self {
                objects: 1_000,
                distinct: 50,
                warm_up: Duration::from_secs(1),
                length: Duration::from_secs(1),
            },
        }
    }
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("eds");
    let kinds = options.available(
        &mut report,
        &KINDS,
        |kind| kind.name(),
        |kind| kind.prepare(),
    );
    report.columns(kinds.iter().map(|kind| kind.name()));
    let extent = Extent::of(options);
    report.note(format!(
        "objects of 1 KB; {CONNECTIONS} keep-alive connections; {} objects with {} distinct values, {ROWS} to a query, \
         newest first; the property is indexed",
        extent.objects, extent.distinct
    ));
    report.note(
        "Pilvi: SQLite with synchronous=FULL, asked with the security token; `bench access` asks as users",
    );
    report.note(
        "Parse Server and PocketBase: one logged-in user, objects that only their owner may read; PostgreSQL as the \
         distribution configures it (durable), PocketBase's SQLite with its own synchronous=NORMAL",
    );
    for peer in [Kind::Parse, Kind::PocketBase] {
        report.want_times("CPU per request", 8.0, peer.name());
        report.want_times("requests", 5.0, peer.name());
        report.want_times("p99", 1.0, peer.name());
    }
    let mut standing = kinds;
    for round in 1..=options.rounds() {
        standing.retain(|kind| {
            options.progress(&format!("eds: round {round}, {}", kind.name()));
            let outcome = measure(world, *kind, &extent, &mut report);
            report.note_failure(kind.name(), "eds", outcome)
        });
    }
    Ok(report)
}

fn measure(world: &World, kind: Kind, extent: &Extent, report: &mut Report) -> Result<()> {
    let store = kind.start(world)?;
    let ids = fill(&*store, 0..extent.objects, extent.distinct)?;
    check_query(&*store)?;
    let mut add = |case: &str, outcome: Outcome| add_outcome(report, kind.name(), case, outcome);
    add("create", creates(&*store, extent)?);
    add("get", gets(&*store, &ids, extent)?);
    add("query", queries(&*store, extent)?);
    Ok(())
}

/// Adds all that is to say about one kind of request.
pub(crate) fn add_outcome(report: &mut Report, peer: &str, case: &str, mut outcome: Outcome) {
    let mut add = |name, unit, better, value| {
        let case = case.to_owned();
        report.add(
            peer,
            Metric {
                case,
                name,
                unit,
                better,
            },
            value,
        );
    };
    add("requests", "1/s", Better::High, outcome.per_second());
    add(
        "CPU per request",
        "ms",
        Better::Low,
        outcome.cpu_ms_per_request(),
    );
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        if let Some(latency) = outcome.latencies.percentile_ms(percent) {
            add(name, "ms", Better::Low, latency);
        }
    }
}

pub(crate) fn creates(store: &dyn Store, extent: &Extent) -> Result<Outcome> {
    // Values that no query asks for, so that queries find what they found before.
    let mut request = |number| {
        let mut object = object(number, extent.distinct);
        object["value"] = format!("new-{number}").into();
        store.create(&object).into_bytes()
    };
    load(store.server().address, store.trees(), extent, &mut request)
}

pub(crate) fn gets(store: &dyn Store, ids: &[String], extent: &Extent) -> Result<Outcome> {
    let mut request = |number| {
        let place = usize::try_from(scattered(number, ids.len() as u64)).unwrap_or(0);
        store.get(&ids[place]).into_bytes()
    };
    load(store.server().address, store.trees(), extent, &mut request)
}

pub(crate) fn queries(store: &dyn Store, extent: &Extent) -> Result<Outcome> {
    wait_until_indexed(store)?;
    let mut request = |number| {
        let value = value(scattered(number, extent.distinct));
        store.query(&value).into_bytes()
    };
    load(store.server().address, store.trees(), extent, &mut request)
}

/// Waits until the store's queries are fast.
pub(crate) fn wait_until_indexed(store: &dyn Store) -> Result<()> {
    wait_until_fast(store.server().address, || store.query(&value(0)))
}

/// Asks one query after the other until they are fast: Pilvi makes an index once it has seen that slow queries need it,
/// and until then may refuse one that takes too long.
pub(crate) fn wait_until_fast(address: SocketAddr, query: impl Fn() -> Request) -> Result<()> {
    let mut client = Client::connect(address)?;
    let deadline = Instant::now() + INDEXED_WITHIN;
    let mut fast = 0;
    while fast < FAST_QUERIES && Instant::now() < deadline {
        let start = Instant::now();
        let answer = client.send(query())?;
        let is_fast = answer.status == 200 && start.elapsed() < FAST;
        fast = if is_fast { fast + 1 } else { 0 };
    }
    // If it never gets fast, the figures say so.
    Ok(())
}

/// Loads a server with these requests.
pub(crate) fn load(
    address: SocketAddr,
    server: Vec<Tree>,
    extent: &Extent,
    request: &mut dyn FnMut(u64) -> Vec<u8>,
) -> Result<Outcome> {
    load::run(&mut Plan {
        address,
        server,
        connections: CONNECTIONS,
        warm_up: extent.warm_up,
        length: extent.length,
        refusals: Refusals::End,
        request,
    })
}

/// Jumps about below `bound`, the same way in every run.
pub(crate) fn scattered(number: u64, bound: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % bound
}

fn check_query(store: &dyn Store) -> Result<()> {
    check_rows(
        store.server().address,
        store.query(&value(7)),
        7,
        store.rows_pointer(),
    )
}

/// A server that answers an empty list fast would win otherwise.
pub(crate) fn check_rows(
    address: SocketAddr,
    query: Request,
    number: u64,
    pointer: &str,
) -> Result<()> {
    let mut client = Client::connect(address)?;
    let answer = client.ask(query).context("the query fails")?;
    let rows = answer.pointer(pointer).and_then(|rows| rows.as_array());
    let is_wanted = |row: &serde_json::Value| row["value"] == value(number);
    match rows {
        Some(rows) if rows.len() == ROWS && rows.iter().all(is_wanted) => Ok(()),
        _ => bail!("the query does not find its {ROWS} objects: {answer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_numbers_stay_below_the_bound_and_reach_most_of_it() {
        let mut seen = [false; 500];
        for number in 0..5_000 {
            seen[usize::try_from(scattered(number, 500)).unwrap()] = true;
        }
        assert!(seen.iter().filter(|seen| **seen).count() > 490);
    }
}
