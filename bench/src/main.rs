//! Pilvi's benchmarks. Every number has a peer in the same run, so that the reader compares two programs on one machine
//! and not one machine with another.
//!
//! `cargo xtask bench` builds and runs this. It starts Pilvi's release binary and the peers, one after the other,
//! each on a core of its own, loads them from another core, and prints what they took: throughput, latency, CPU time
//! of the server's whole process tree, memory. It uses none of Pilvi's crates: it is a client like another.
//!
//! Start reading in [`mws`] or [`eds`]: each is the list of what is measured. [`peers`] knows how each server is
//! started and asked, [`http`] and [`ws`] make the load, [`bare`] is the limit, [`report`] puts the figures side by
//! side.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command: what it prints is its result"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and sizes of a benchmark are far below 2^52"
)]

mod access;
mod bare;
mod eds;
mod fairness;
mod files;
mod fill;
mod growth;
mod http;
mod install;
mod live;
mod machine;
mod mar;
mod mar_router;
mod mws;
mod options;
mod peers;
mod poll;
mod report;
mod samples;
mod search;
mod serve;
mod server;
mod soak;
mod usage;
mod world;
mod ws;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::bare::Writing;
use crate::live::LiveOptions;
use crate::machine::Cores;
use crate::mws::MwsOptions;
use crate::options::Options;
use crate::report::Report;
use crate::soak::SoakOptions;
use crate::world::World;

/// Measures Pilvi beside its peers
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Starting, and being idle
    Serve(Options),
    /// Objects over HTTP
    Eds(Options),
    /// Objects over HTTP again, by callers who may not see everything
    Access(Options),
    /// Objects found by their words
    Search(Options),
    /// Files taken in and given out
    Files(Options),
    /// Objects that change while many follow them by live queries
    Live(LiveOptions),
    /// What a quiet tenant feels while another one floods the server
    Fairness(Options),
    /// Pushing messages to many sockets
    Mws(MwsOptions),
    /// Apps: sandboxes, pushes, redeploys, idle apps, and the router in front of them
    Mar(Options),
    /// What more objects, backends and sockets cost
    Growth(Options),
    /// Holding many sockets for long while others come and go: a test that fails when anything goes wrong
    Soak(SoakOptions),
    /// The bare loop, as a server of its own
    #[command(hide = true)]
    Bare {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long, value_enum)]
        writing: Writing,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().benchmark {
        Benchmark::Serve(options) => run(&options, |world| single(serve::run(world, &options))),
        Benchmark::Eds(options) => run(&options, |world| single(eds::run(world, &options))),
        Benchmark::Access(options) => run(&options, |world| single(access::run(world, &options))),
        Benchmark::Search(options) => run(&options, |world| single(search::run(world, &options))),
        Benchmark::Files(options) => run(&options, |world| single(files::run(world, &options))),
        Benchmark::Live(options) => {
            run(&options.common, |world| single(live::run(world, &options)))
        }
        Benchmark::Fairness(options) => {
            run(&options, |world| single(fairness::run(world, &options)))
        }
        Benchmark::Mws(options) => run(&options.common, |world| single(mws::run(world, &options))),
        Benchmark::Mar(options) => run(&options, |world| mar::run(world, &options)),
        Benchmark::Growth(options) => run(&options, |world| growth::run(world, &options)),
        Benchmark::Soak(options) => soak(&options),
        Benchmark::Bare { listen, writing } => bare::serve(listen, writing),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &SoakOptions) -> Result<()> {
    options.check_files(machine::raise_file_limit()?)?;
    let cores = Cores::choose()?;
    machine::pin(cores.load)?;
    soak::run(
        &World::new(cores, options::program(options.pilvi.as_ref())?)?,
        options,
    )
}

fn single(report: Result<Report>) -> Result<Vec<Report>> {
    report.map(|report| vec![report])
}

fn run(options: &Options, benchmark: impl FnOnce(&World) -> Result<Vec<Report>>) -> Result<()> {
    let files = machine::raise_file_limit()?;
    let cores = Cores::choose()?;
    let description = machine::describe(cores, files);
    machine::pin(cores.load)?;
    let world = World::new(cores, options.pilvi()?)?;
    let mut reports = benchmark(&world)?;
    for report in &mut reports {
        report.note(description.clone());
        report.note(format!("data on {}", world.file_system()));
        report.note(match options.rounds() {
            1 => "one round".to_owned(),
            rounds => format!("medians of {rounds} rounds, columns taking turns"),
        });
    }
    match options.json {
        true => println!("{:#}", Value::from_iter(reports.iter().map(Report::json))),
        false => {
            let tables: Vec<String> = reports.iter().map(Report::table).collect();
            print!("{}", tables.join("\n"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
