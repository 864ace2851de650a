//! `cargo xtask fuzz`: builds the fuzz driver so that the program counts which code an input reaches, and runs it. What
//! is fuzzed, `fuzz/` says.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, command, output, root, succeeds};
use crate::tally::{Outcome, Tally};

/// SanitizerCoverage's counters, a byte for each edge between blocks of code. `fuzz/src/coverage.rs` reads them; no
/// sanitizer and no library of the compiler's is needed, so this works with stable Rust.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters";

/// How long each target runs in a full test.
const FULL_SECONDS: &str = "120";

/// Passes the arguments on.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    Ok(match succeeds(driver()?.args(arguments))? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Every target from a random seed, which is printed. Counts as one check.
pub(crate) fn campaign() -> Result<Tally> {
    Ok(Tally::of(
        &match succeeds(driver()?.args(["--seconds", FULL_SECONDS]))? {
            true => Outcome::Passed,
            false => Outcome::Failed,
        },
    ))
}

/// The driver, built. Its dependencies count, too, so it has a target folder of its own.
fn driver() -> Result<Command> {
    let host = host()?;
    let folder = root().join("target/fuzz");
    let mut build = cargo();
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "pilvi-fuzz",
            "--profile",
            "fuzz",
        ])
        // Naming the target keeps the flags from build scripts and macros, which have nowhere to count.
        .args(["--target", &host, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", COUNTERS);
    if !succeeds(&mut build)? {
        bail!("the fuzz driver could not be built");
    }
    Ok(command(PathBuf::from_iter([
        folder,
        host.into(),
        "fuzz/pilvi-fuzz".into(),
    ])))
}

/// The machine that this compiler builds for.
fn host() -> Result<String> {
    let version = output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc does not say what it builds for")
}
