//! What is common to the command lines of all benchmarks.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::report::Report;

/// Rounds of a full run: the median of three forgives one disturbance.
const ROUNDS: usize = 3;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Run a short version, only to see that everything works
    #[arg(long)]
    pub quick: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Repeat every measurement so often and take the median [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Measure only these columns, by their names with `;` between; of `growth` and `mar` only these parts
    #[arg(long, value_name = "NAME", value_delimiter = ';')]
    only: Vec<String>,
    /// Measure this program [default: `pilvi` beside this one]
    #[arg(long, value_name = "FILE")]
    pilvi: Option<PathBuf>,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        let default = if self.quick { 1 } else { ROUNDS };
        self.rounds.unwrap_or(default).max(1)
    }

    /// The program under test.
    pub(crate) fn pilvi(&self) -> Result<PathBuf> {
        program(self.pilvi.as_ref())
    }

    /// Which peers can be measured. The report names those that cannot.
    pub(crate) fn available<Peer: Copy>(
        &self,
        report: &mut Report,
        peers: &[Peer],
        name: impl Fn(Peer) -> &'static str,
        prepare: impl Fn(Peer) -> Result<()>,
    ) -> Vec<Peer> {
        let mut available = Vec::new();
        for peer in peers.iter().copied().filter(|peer| self.wants(name(*peer))) {
            self.progress(&format!("preparing {}", name(peer)));
            match prepare(peer) {
                Ok(()) => available.push(peer),
                Err(error) => report.note(format!("SKIPPED {}: {error:#}", name(peer))),
            }
        }
        available
    }

    /// Whether this column, or this part, is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The same with nothing left out.
    pub(crate) fn with_everything(&self) -> Self {
        Self {
            only: Vec::new(),
            ..self.clone()
        }
    }

    /// Says what is going on to whoever waits.
    pub(crate) fn progress(&self, sentence: &str) {
        eprintln!("{sentence}");
    }
}

/// The program under test: what was asked for, or what was built beside us.
pub(crate) fn program(asked: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.clone());
    }
    let own = std::env::current_exe().context("our own program cannot be found")?;
    let pilvi = own.with_file_name("pilvi");
    pilvi
        .is_file()
        .then_some(pilvi)
        .context("`pilvi` is not built; run `cargo xtask bench`, or say where it is with --pilvi")
}
