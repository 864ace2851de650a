//! The one binary: `pilvi serve`, `pilvi demo`, `pilvi ca`, `pilvi openapi`.
//!
//! `main` parses and chooses; [`serve`] wires the parts; nothing else in the house knows all of them.
#![expect(
    clippy::print_stdout,
    reason = "a door prints its results to standard output"
)]

mod apps;
mod arguments;
mod demo;
mod files;
mod listeners;
mod own_door;
mod page;
mod running;
mod serve;
mod stacks;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use arguments::{Arguments, Command, DescribedService};

fn main() -> ExitCode {
    // A helper of our own: the first process of a sandbox, or the hook of a push.
    if let Some(code) = pilvi_runtime::take_over().or_else(pilvi_git::take_over) {
        return code;
    }
    let arguments = Arguments::parse();
    if let Command::Developer(command) = &arguments.command {
        return pilvi_cli::run(command);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not have started yet, so this is not a log line.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("error: {}\n", causes.join(": ")).as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Serve(options) => {
            start_log(arguments)?;
            runtime()?.block_on(serve::run(options, &arguments.data_folder()?))
        }
        Command::Demo(options) => {
            start_log(arguments)?;
            runtime()?.block_on(demo::run(options, arguments.data.as_deref()))
        }
        Command::Developer(_) => Ok(()),
        Command::Stack { command } => stacks::run(command, &arguments.data_folder()?),
        Command::Ca => print_document(&serve::ca_certificate(&arguments.data_folder()?)?),
        Command::Openapi {
            service: DescribedService::Eds,
        } => print_document(&pilvi_eds::openapi::text()),
    }
}

/// Prints a whole text. A reader that has seen enough, such as `head`, is no fault.
fn print_document(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write as _};
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("could not print"),
    }
}

fn start_log(arguments: &Arguments) -> anyhow::Result<()> {
    pilvi_base::telemetry::start(&arguments.log).map_err(anyhow::Error::msg)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the threads of the server")
}
