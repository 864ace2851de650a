//! New releases of an app while visitors ask it: how many requests fail, and how long they take.

use std::time::Duration;

use anyhow::Result;

use super::app::{self, App};
use super::low;
use super::project::Kind;
use super::visitors::{PER_SECOND, Seen, Visitors};
use crate::options::Options;
use crate::peers::pilvi::Pilvi;
use crate::report::{Better, Metric, Report};
use crate::samples::median;
use crate::world::World;

const PILVI: &str = "Pilvi";

pub(super) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("mar: redeploy");
    let (redeploys, quiet) = match options.quick {
        false => (20, Duration::from_secs(10)),
        true => (3, Duration::from_secs(2)),
    };
    Kind::Node.prepare()?;
    report.columns([PILVI]);
    report.note(format!(
        "{PER_SECOND} requests/s at the example hello-node, half of them on connections of their own; every redeploy \
         is a push that changes a line and builds; latencies from the moment at which a request was due"
    ));
    report.want_at_most("failed requests", 0.0);
    for round in 1..=options.rounds() {
        options.progress(&format!("mar: round {round}, redeploys"));
        let outcome = measure(world, redeploys, quiet, &mut report);
        report.note_failure(PILVI, "redeploys", outcome);
    }
    Ok(report)
}

fn measure(world: &World, redeploys: u32, quiet: Duration, report: &mut Report) -> Result<()> {
    let pilvi = Pilvi::start(world)?;
    let app = App::create(&pilvi, "busy")?;
    let mut project = app::project(world, Kind::Node)?;
    app.push(&project)?;
    let visitors = Visitors::start(app.address, &app.host());
    std::thread::sleep(quiet);
    add(report, "no redeploy", visitors.end()?);
    let visitors = Visitors::start(app.address, &app.host());
    let pushes: Result<Vec<f64>> = (0..redeploys)
        .map(|_| {
            project.change()?;
            Ok(app.push(&project)?.push.as_secs_f64() * 1000.0)
        })
        .collect();
    let seen = visitors.end()?;
    let case = format!("{redeploys} redeploys");
    add(report, &case, seen);
    if let Some(push) = median(&pushes?) {
        report.add(PILVI, low(&case, "push, median", "ms"), push);
    }
    Ok(())
}

fn add(report: &mut Report, case: &str, mut seen: Seen) {
    let requests = Metric {
        better: Better::High,
        ..low(case, "requests", "")
    };
    report.add(PILVI, requests, seen.requests as f64);
    report.add(PILVI, low(case, "failed requests", ""), seen.failed as f64);
    if let Some(failure) = &seen.failure {
        report.note(format!("the first failed request, {case}: {failure}"));
    }
    for (name, percent) in [("p50", 50.0), ("p99", 99.0), ("longest", 100.0)] {
        if let Some(latency) = seen.latencies.percentile_ms(percent) {
            report.add(PILVI, low(case, name, "ms"), latency);
        }
    }
}
