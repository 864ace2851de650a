//! The developer's command line: `pilvi login`, `pilvi clouds …`, `pilvi mar …` and the rest.
//!
//! It is a client like any other. It speaks the public API over HTTP or HTTPS, knows nothing of the server's insides,
//! and uses none of its crates but the foundations. Start with [`Command`], then read one verb, such as
//! `mar/create.rs`.
//!
//! Which server is meant, and as whom, is decided in `connection.rs`. Results go to standard output, everything else to
//! standard error. A failure says in whole sentences what happened and what to try next, never shows a secret, and has
//! a stable exit code (see `failure.rs`).

mod backup;
mod bytes;
mod client;
mod clouds;
mod completions;
mod config;
mod connection;
mod contexts;
mod datacenters;
mod eds;
mod failure;
mod file_body;
mod instances;
mod keys;
mod login;
mod mar;
mod mws;
mod profile;
mod progress;
mod reference;
mod screen;
mod service;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod trust;
mod url;
mod whoami;

use std::io::{BufReader, IsTerminal};
use std::process::ExitCode;

use clap::Subcommand;

pub use backup::{Backup, Local, LocalKey};
pub use config::{Config, Verb as ConfigVerb};
pub use connection::Connection;
use connection::Environment;
use failure::Outcome;
use screen::{Look, Screen};
use session::{Place, Session, Unknown};

/// A command of the developer.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Sign in to a server, and remember that
    #[command(after_help = failure::CODES)]
    Login(login::Login),
    /// Forget a server's token, and revoke it if `login` had it made
    #[command(after_help = failure::CODES)]
    Logout(login::Logout),
    /// Tell which server is meant, and as whom
    #[command(after_help = failure::CODES)]
    Whoami(whoami::Whoami),
    /// Change your name, e-mail address or password
    #[command(after_help = failure::CODES)]
    Profile(profile::Profile),
    /// List, create, choose and share clouds, which own everything else
    #[command(after_help = failure::CODES)]
    Clouds(clouds::Clouds),
    /// List the datacenters and the services in each
    #[command(after_help = failure::CODES)]
    Datacenters(datacenters::Datacenters),
    /// List, show, rename, tag, remove and restore instances of all services
    #[command(after_help = failure::CODES)]
    Instances(instances::Instances),
    /// Create, deploy and look after apps (Managed Application Runtime)
    #[command(after_help = failure::CODES)]
    Mar(mar::Mar),
    /// Create data backends and work with what is in them (Enginio Data Storage)
    #[command(after_help = failure::CODES)]
    Eds(eds::Eds),
    /// Create WebSocket gateways, send to them and listen at them (Managed WebSocket)
    #[command(after_help = failure::CODES)]
    Mws(mws::Mws),
    /// Add, list and remove the SSH keys with which you push
    #[command(after_help = failure::CODES)]
    Keys(keys::Keys),
    /// List, create and remove access tokens
    #[command(after_help = failure::CODES)]
    Tokens(tokens::Tokens),
    /// Back up and restore instances and whole servers, and look into backups
    #[command(after_help = failure::CODES)]
    Backup(backup::Backup),
    /// Print what makes a shell complete these commands
    Completions(completions::Completions),
    /// Print the reference of all commands, as Markdown
    #[command(hide = true)]
    Reference,
    /// `pilvi config`, which the binary assembles: the server has verbs under the same noun.
    #[command(skip)]
    Config(Config),
}

impl Command {
    /// Which server, where the command talks to one.
    fn connection(&self) -> Option<&Connection> {
        Some(match self {
            Self::Login(login) => &login.connection,
            Self::Logout(logout) => &logout.connection,
            Self::Whoami(whoami) => &whoami.connection,
            Self::Profile(profile) => &profile.connection,
            Self::Clouds(clouds) => &clouds.connection,
            Self::Datacenters(datacenters) => &datacenters.connection,
            Self::Instances(instances) => &instances.connection,
            Self::Mar(mar) => &mar.connection,
            Self::Eds(eds) => &eds.connection,
            Self::Mws(mws) => &mws.connection,
            Self::Keys(keys) => &keys.connection,
            Self::Tokens(tokens) => &tokens.connection,
            Self::Backup(backup) => &backup.connection,
            Self::Config(config) => &config.connection,
            Self::Completions(_) | Self::Reference => return None,
        })
    }

    fn unknown_context(&self) -> Unknown {
        match self {
            Self::Login(_) => Unknown::Allow,
            _ => Unknown::Refuse,
        }
    }

    async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match self {
            Self::Login(login) => login.carry_out(session).await,
            Self::Logout(logout) => logout.carry_out(session).await,
            Self::Whoami(whoami) => whoami.carry_out(session).await,
            Self::Profile(profile) => profile.carry_out(session).await,
            Self::Clouds(clouds) => clouds.carry_out(session).await,
            Self::Datacenters(datacenters) => datacenters.carry_out(session).await,
            Self::Instances(instances) => instances.carry_out(session).await,
            Self::Mar(mar) => mar.carry_out(session).await,
            Self::Eds(eds) => eds.carry_out(session).await,
            Self::Mws(mws) => mws.carry_out(session).await,
            Self::Keys(keys) => keys.carry_out(session).await,
            Self::Tokens(tokens) => tokens.carry_out(session).await,
            Self::Backup(backup) => backup.carry_out(session).await,
            // They talk to no server.
            Self::Config(_) | Self::Completions(_) | Self::Reference => Ok(0),
        }
    }
}

/// Carries out a command on this process's terminal and in its current folder. `grammar` is the whole command line,
/// whose completions and whose reference can be asked for.
pub fn run(command: &Command, grammar: fn() -> clap::Command) -> ExitCode {
    let look = Look::of_this_process();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let json = command
        .connection()
        .is_some_and(|connection| connection.json);
    let mut screen = Screen::new(&mut out, &mut err, look, json);
    let place = Place {
        folder: std::env::current_dir().unwrap_or_default(),
        home: std::env::home_dir(),
        environment: Environment::of_this_process(),
        asks: std::io::stdin().is_terminal(),
        input: Box::new(BufReader::new(std::io::stdin())),
        grammar,
    };
    ExitCode::from(run_at(command, &mut screen, place))
}

/// The same, anywhere: what tests call.
fn run_at(command: &Command, screen: &mut Screen<'_>, place: Place) -> u8 {
    let outcome = match command {
        Command::Completions(completions) => completions.print(screen, (place.grammar)()),
        Command::Reference => reference::print(screen, (place.grammar)()),
        Command::Config(config) => config.carry_out(screen, &place),
        command => talk(command, screen, place),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => screen.complain(&failure),
    }
}

fn talk(command: &Command, screen: &mut Screen<'_>, place: Place) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        failure::Failure::failed(
            format!("the command could not start: {error}"),
            "see whether this machine has run out of memory or of open files",
        )
    })?;
    let connection = command.connection().cloned().unwrap_or_default();
    runtime.block_on(async {
        let mut session = Session::open(&connection, command.unknown_context(), screen, place)?;
        command.carry_out(&mut session).await
    })
}
