//! The developer's commands: `cargo xtask check`, `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`,
//! `cargo xtask fuzz`, `cargo xtask package`.
//!
//! `test` is the gate that the README names and that CI runs: it installs what is missing, runs every check and every
//! test, and closes with one line of numbers. Start reading in [`gate`].

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command: what it prints is its result"
)]

mod bench;
mod check;
mod fuzz;
mod gate;
mod install;
mod package;
mod shell;
mod tally;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Repository chores
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check formatting, lints, documentation, dependencies and tidiness
    Check,
    /// Install what is missing, then run every check and every test
    Test {
        /// Run the end-to-end tests against the release binary too, and the property tests with many more cases
        #[arg(long)]
        full: bool,
    },
    /// Check what no compiler looks at: floors, licences, long lines, loose ends
    Tidy,
    /// Measure the release binary beside its peers; the arguments are those of the benchmarks, `--help` lists them
    #[command(disable_help_flag = true)]
    Bench {
        /// serve, eds, mws, growth or soak, with --quick, --json and more
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make a Debian package of the server, and what builds a container from it
    Package(package::Options),
    /// Try inputs on the parsers of bytes from outside, guided by coverage; `--help` lists the targets
    #[command(disable_help_flag = true)]
    Fuzz {
        /// Names of targets, --seconds and --seed
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<ExitCode> {
    let tally = match chore {
        Chore::Check => check::run(),
        Chore::Test { full } => gate::run(*full),
        Chore::Tidy => check::tidy_only(),
        // It prints results, not a tally.
        Chore::Bench { arguments } => return bench::run(arguments),
        Chore::Fuzz { arguments } => return fuzz::run(arguments),
        Chore::Package(options) => return package::run(options),
    }?;
    println!("{tally}");
    Ok(tally.exit_code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
