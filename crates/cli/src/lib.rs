//! The developer's command line: `pilvi mar …` and `pilvi keys …`.
//!
//! It is a client like any other. It speaks the public API over HTTP or HTTPS, knows nothing of the server's insides,
//! and uses none of its crates but the foundations. Start with [`Command`], then read one verb, such as
//! `mar/create.rs`.
//!
//! Results go to standard output, everything else to standard error. A failure says in whole sentences what happened
//! and what to try next, never shows a secret, and has a stable exit code (see `failure.rs`).

mod client;
mod failure;
mod keys;
mod mar;
mod screen;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod trust;
mod url;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Subcommand;

use failure::Outcome;
use screen::{Look, Screen};
use session::{Connection, Session};

/// A command of the developer.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create, deploy and look after apps (Managed Application Runtime)
    #[command(after_help = failure::CODES)]
    Mar(mar::Mar),
    /// Add, list and remove the SSH keys with which you push
    #[command(after_help = failure::CODES)]
    Keys(keys::Keys),
}

impl Command {
    fn connection(&self) -> &Connection {
        match self {
            Self::Mar(mar) => &mar.connection,
            Self::Keys(keys) => &keys.connection,
        }
    }

    async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match self {
            Self::Mar(mar) => mar.carry_out(session).await,
            Self::Keys(keys) => keys.carry_out(session).await,
        }
    }
}

/// Carries out a command on this process's terminal and in its current folder.
pub fn run(command: &Command) -> ExitCode {
    let look = Look::of_this_process();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut screen = Screen::new(&mut out, &mut err, look, command.connection().json);
    let place = session::Place {
        folder: std::env::current_dir().unwrap_or_default(),
        home: std::env::home_dir(),
        asks: std::io::stdin().is_terminal(),
    };
    ExitCode::from(run_at(command, &mut screen, place))
}

/// The same, anywhere: what tests call.
fn run_at(command: &Command, screen: &mut Screen<'_>, place: session::Place) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut session = Session::open(command.connection(), screen, place)?;
            command.carry_out(&mut session).await
        }),
        Err(error) => Err(failure::Failure::failed(
            format!("the command could not start: {error}"),
            "see whether this machine has run out of memory or of open files",
        )),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => screen.complain(&failure),
    }
}
