//! The one command between a clone and the word "green".

use std::process::ExitCode;

use anyhow::Result;

use crate::shell::{cargo, in_ci, shown_output, succeeds};
use crate::tally::{Outcome, Tally};
use crate::{bench, check, fuzz, install};

/// How many sets of documents, each with several queries, the agreement test of the query compiler tries in a full run.
const FULL_PROPERTY_CASES: &str = "100000";

/// Kills of the server in a full run, which ends the campaign earlier when its time is up.
const FULL_KILL_ROUNDS: &str = "1000";

/// Redeploys of an app under constant load in a full run, and megabytes of log that an app floods with.
const FULL_REDEPLOYS: &str = "20";
const FULL_FLOOD_MEGABYTES: &str = "100";

/// Live queries that are followed at once in a full run.
const FULL_LIVE_QUERIES: &str = "1000";

/// Handshakes at once, and messages of each case of the tests of compression, in a full run.
const FULL_HANDSHAKES: &str = "10000";
const FULL_DEFLATE_MESSAGES: &str = "30";

/// After how many seconds without a byte the router cuts a connection in a full run: as long as it really does.
const FULL_IDLE_SECONDS: &str = "60";

/// Installs, checks and tests. Everything runs, also after a failure, so that one run shows all that is wrong.
pub(crate) fn run(full: bool) -> Result<Tally> {
    let mut tally = missing_tools()?;
    tally += check::run()?;
    tally += tests(full)?;
    if full {
        tally += release_end_to_end()?;
        tally += soak()?;
        tally += fuzz::campaign()?;
    }
    Ok(tally)
}

/// Where a tool is missing, CI fails at once. Elsewhere the tests that need it say so and are counted as skipped.
fn missing_tools() -> Result<Tally> {
    let mut tally = Tally::default();
    for sentence in install::run()? {
        println!("MISSING: {sentence}");
        if in_ci() {
            tally += Tally::failure();
        }
    }
    Ok(tally)
}

fn tests(full: bool) -> Result<Tally> {
    // The end-to-end tests start the real binary, and a test run alone does not build it. Building all targets takes
    // the same features as the test run, so that nothing is compiled twice.
    if !succeeds(cargo().args(["build", "--workspace", "--all-targets", "--quiet"]))? {
        return Ok(Tally::failure());
    }
    let mut test = cargo();
    test.args(["test", "--workspace", "--no-fail-fast"]);
    if full {
        test.env("PILVI_PROPERTY_CASES", FULL_PROPERTY_CASES)
            .env("PILVI_MAKE_STACK", "1")
            .env("PILVI_INSTALL_PACKAGE", "1");
    }
    counted(&mut test)
}

fn release_end_to_end() -> Result<Tally> {
    if !succeeds(cargo().args(["build", "--release", "--package", "pilvi", "--quiet"]))? {
        return Ok(Tally::failure());
    }
    let mut test = cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "pilvi-e2e",
        "--no-fail-fast",
    ]);
    test.env("PILVI_KILL_ROUNDS", FULL_KILL_ROUNDS)
        .env("PILVI_IDLE_SECONDS", FULL_IDLE_SECONDS)
        .env("PILVI_REDEPLOYS", FULL_REDEPLOYS)
        .env("PILVI_LIVE_QUERIES", FULL_LIVE_QUERIES)
        .env("PILVI_HANDSHAKES", FULL_HANDSHAKES)
        .env("PILVI_DEFLATE_MESSAGES", FULL_DEFLATE_MESSAGES)
        .env("PILVI_SILENT_PEER", "1")
        .env("PILVI_FLOOD_MEGABYTES", FULL_FLOOD_MEGABYTES);
    counted(&mut test)
}

/// Ten minutes with ten thousand sockets; `PILVI_SOAK_SECONDS` makes it shorter.
fn soak() -> Result<Tally> {
    let soaked = bench::run(&["soak".to_owned()])?;
    Ok(Tally::of(match soaked == ExitCode::SUCCESS {
        true => &Outcome::Passed,
        false => &Outcome::Failed,
    }))
}

fn counted(test: &mut std::process::Command) -> Result<Tally> {
    let (ok, output) = shown_output(test)?;
    let mut tally = Tally::of_cargo_test(&output);
    if !ok && tally.failed == 0 {
        // It did not build, or died before it could count.
        tally += Tally::failure();
    }
    Ok(tally)
}
