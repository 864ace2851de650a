//! Long runs: `pilvi-fuzz [TARGET]... [--seconds N] [--seed N]`. `cargo xtask fuzz` builds it so that it is guided by
//! coverage, and passes its arguments on.

#![expect(
    clippy::print_stdout,
    reason = "this is a command: what it prints is its result"
)]

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use pilvi_fuzz::driver::{self, Failure, Plan, Report};
use pilvi_fuzz::{TARGETS, Target, files};

/// Try inputs until one breaks a promise or the time is over
#[derive(Parser)]
#[command(name = "pilvi-fuzz")]
struct Arguments {
    /// chunks, content_range, frames, heads, query; all of them when none is named
    #[arg(value_parser = target)]
    targets: Vec<Target>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where chance starts; a random one when none is given
    #[arg(long)]
    seed: Option<u64>,
}

fn target(name: &str) -> Result<Target, String> {
    Target::find(name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("the targets are {}", names.join(", "))
    })
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments
        .seed
        .unwrap_or_else(|| RandomState::new().hash_one(0));
    let plan = Plan {
        seed,
        runs: u64::MAX,
        time: Duration::from_secs(arguments.seconds),
    };
    let targets = match arguments.targets.as_slice() {
        [] => &TARGETS,
        named => named,
    };
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        println!("{}: {} s from seed {seed}", target.name, arguments.seconds);
        match driver::run(target, plan).context("could not read the corpus")? {
            Ok(report) => show(target, &report),
            Err(failure) => {
                keep(target, &failure)?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn show(target: &Target, report: &Report) {
    let rate = report.runs as f64 / report.time.as_secs_f64();
    let edges = match report.edges {
        Some(edges) => format!("{edges} edges"),
        None => "not guided by coverage".into(),
    };
    println!(
        "{}: ok, {} inputs, {rate:.0} a second, {edges}, {} kept, the slowest took {:?}",
        target.name, report.runs, report.kept, report.busiest
    );
}

fn keep(target: &Target, failure: &Failure) -> Result<()> {
    let path =
        files::keep_regression(target, &failure.input).context("could not keep the input")?;
    println!("{}: FAILED: {}", target.name, failure.message);
    println!("  input: \"{}\"", failure.input.escape_ascii());
    println!("  kept as {}", path.display());
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
