//! The one binary: `pilvi serve`, `pilvi demo`, `pilvi gateway`, `pilvi ca`, `pilvi openapi`.
//!
//! `main` parses and chooses; [`serve`] wires the parts; nothing else in the house knows all of them.
#![expect(
    clippy::print_stdout,
    reason = "a door prints its results to standard output"
)]

mod admin;
mod apps;
mod arguments;
mod backups;
mod blobs;
mod config;
mod demo;
mod doctor;
mod files;
mod gateway;
mod health;
mod keys;
mod listeners;
mod metrics;
mod notify;
mod own_door;
mod page;
mod running;
mod serve;
mod sockets;
mod stacks;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;

use arguments::{Arguments, Command, Config, ConfigVerb, DescribedService};
use config::{Places, Refused};

fn main() -> ExitCode {
    // A helper of our own: the first process of a sandbox, or the hook of a push.
    if let Some(code) = pilvi_runtime::take_over().or_else(pilvi_git::take_over) {
        return code;
    }
    let words: Vec<_> = std::env::args_os().collect();
    let places = places();
    let arguments = match config::parse(&words, &places) {
        Ok(arguments) => arguments,
        Err(refused) => return refuse(refused),
    };
    // Some of what can be done with backups needs no server.
    if let Command::Developer(pilvi_cli::Command::Backup(backup)) = &arguments.command
        && let Some(local) = backup.local()
    {
        return end(start_log(&arguments)
            .and_then(|()| runtime()?.block_on(backups::run(&local)))
            .map(|()| true));
    }
    match &arguments.command {
        Command::Developer(command) => pilvi_cli::run(command, Arguments::command),
        Command::Config(config) => configure(config, &arguments, &places),
        Command::Doctor(doctor) => examine(doctor, &arguments, &places),
        _ => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The log may not have started yet, so this is not a log line.
                let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
                complain(&causes.join(": "));
                ExitCode::FAILURE
            }
        },
    }
}

/// Where the settings of a server are looked for.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door, and the folder of settings is named by the environment"
)]
fn places() -> Places {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
    Places::usual(folder.map(Into::into), std::env::home_dir().as_deref())
}

/// What cannot be carried out is answered as clap answers it, also when a file is to blame.
fn refuse(refused: Refused) -> ExitCode {
    match refused {
        Refused::Line(error) => error.exit(),
        Refused::File(faults) => {
            complain(&faults.to_string());
            ExitCode::from(2)
        }
    }
}

fn complain(text: &str) {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("error: {text}\n").as_bytes(),
    );
}

/// `pilvi config`, whose verbs are about two kinds of settings.
fn configure(config: &Config, arguments: &Arguments, places: &Places) -> ExitCode {
    let json = config.connection.wants_json();
    let printed = match &config.verb {
        ConfigVerb::Developer(verb) => {
            let config = pilvi_cli::Config {
                connection: config.connection.clone(),
                verb: verb.clone(),
            };
            return pilvi_cli::run(&pilvi_cli::Command::Config(config), Arguments::command);
        }
        ConfigVerb::Default(sample) => {
            config::sample(sample).and_then(|text| print_document(&text).map(|()| true))
        }
        ConfigVerb::Check(check) => {
            let path = check.file.clone().or(arguments.config.clone());
            match config::check(path.or_else(|| places.find()).as_deref(), json) {
                Ok((text, is_fine)) => print_document(&text).map(|()| is_fine),
                Err(refused) => return refuse(refused),
            }
        }
    };
    end(printed)
}

/// `pilvi doctor`.
fn examine(doctor: &doctor::Doctor, arguments: &Arguments, places: &Places) -> ExitCode {
    let report = doctor::look(arguments.config.clone(), arguments.data.clone(), places);
    let text = match doctor.json {
        true => report.json(),
        false => report.text(doctor::Look::of_this_process()),
    };
    end(print_document(&text).map(|()| report.is_fine))
}

/// Ends with 0 where something was printed and is fine.
fn end(printed: anyhow::Result<bool>) -> ExitCode {
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error:#}"));
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
        Command::Gateway(options) => {
            let (filter, unknown) = options.log_filter(&arguments.log);
            pilvi_base::telemetry::start(filter).map_err(anyhow::Error::msg)?;
            if let Some(level) = unknown {
                tracing::warn!("LOG_LEVEL is `{level}`, which is no level; it is taken for none");
            }
            runtime()?.block_on(gateway::run(options))
        }
        Command::Developer(_) | Command::Config(_) | Command::Doctor(_) => Ok(()),
        Command::Admin { command } => {
            start_log(arguments)?;
            runtime()?.block_on(admin::run(command, &arguments.data_folder()?))
        }
        Command::Stack { command } => stacks::run(command, &arguments.data_folder()?),
        Command::Ca => print_document(&serve::ca_certificate(&arguments.data_folder()?)?),
        Command::Openapi {
            service: DescribedService::Eds,
        } => print_document(&pilvi_eds::openapi::text()),
        Command::Openapi {
            service: DescribedService::Mws,
        } => print_document(&pilvi_mws::openapi::text()),
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
