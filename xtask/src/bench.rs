//! `cargo xtask bench`: builds what is measured and what measures, at full speed, and runs it. What the benchmarks are,
//! `bench/` says.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, command, target_folder};

/// Passes the arguments on. Only the results go to standard output, so that `--json` can be read by a program. A figure
/// that misses its target is no failure: the report says so.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut build = cargo();
    build
        .args(["build", "--release", "--quiet"])
        .args(["--package", "pilvi", "--package", "pilvi-bench"])
        .stdin(Stdio::null());
    if !build.status().context("could not start cargo")?.success() {
        bail!("the release binaries could not be built");
    }
    if arguments.iter().any(|argument| argument == "mar") {
        build_alone()?;
    }
    let status = command(target_folder().join("release/pilvi-bench"))
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .context("could not start the benchmarks")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Parts of Pilvi alone, as they stand beside other programs.
fn build_alone() -> Result<()> {
    for (package, example) in [("pilvi-web", "router"), ("pilvi-runtime", "sandbox_start")] {
        let mut build = cargo();
        build
            .args(["build", "--release", "--quiet"])
            .args(["--package", package, "--example", example])
            .stdin(Stdio::null());
        if !build.status().context("could not start cargo")?.success() {
            bail!("the example {example} of {package} could not be built");
        }
    }
    Ok(())
}
