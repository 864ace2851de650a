//! The command line. One noun's options are one file below `arguments/`, and part of [`ServeOptions`].
//!
//! The settings of a server are defined here and nowhere else: what `pilvi serve` takes as an option is a key of the
//! configuration file too (`config/`), with the option's name, its checks and its help as the comment beside it.

mod admin;
mod apps;
mod files;
mod gateway;
mod house;
mod limits;
mod mail;
mod people;
mod sign_on;
mod stack;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::doctor::Doctor;

pub(crate) use admin::AdminCommand;
pub(crate) use apps::AppOptions;
pub(crate) use files::{FileOptions, FilePlace};
pub(crate) use gateway::{GatewayOptions, given};
pub(crate) use house::{Config, ConfigVerb};
pub(crate) use limits::LimitOptions;
pub(crate) use mail::MailOptions;
pub(crate) use people::{PeopleOptions, SignUps};
pub(crate) use sign_on::SignOnOptions;
pub(crate) use stack::StackCommand;

/// A self-hosted application cloud in one binary.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Keep all data in this folder [default: ~/.local/share/pilvi; demo: a temporary one]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PILVI_DATA",
        help_heading = "Server"
    )]
    pub data: Option<PathBuf>,
    /// Take the server's settings from this file [default: /etc/pilvi/pilvi.toml, or ~/.config/pilvi/pilvi.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PILVI_CONFIG",
        help_heading = "Server"
    )]
    pub config: Option<PathBuf>,
    /// Log what matches this filter to standard error, such as `debug`; `info` adds a line for each request
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "PILVI_LOG",
        help_heading = "Server",
        default_value = "info,pilvi::request=warn"
    )]
    pub log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server; the first start prints the operator's account and token
    Serve(ServeOptions),
    /// Start a server with a sample account, data backend, WebSocket gateway and todo page
    Demo(ServeOptions),
    /// Start one WebSocket gateway and nothing else, set up by the variables of the open-source server
    Gateway(Box<GatewayOptions>),
    #[command(flatten)]
    Developer(pilvi_cli::Command),
    /// Add persons, make tokens and exchange keys on the server's machine, while no server uses its data
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Make, list and remove the root file systems that apps are built and run on
    Stack {
        #[command(subcommand)]
        command: StackCommand,
    },
    /// Look after the servers that you use, check a server's settings, or print a file to begin with
    Config(Config),
    /// Look over this machine and the settings: what is wrong or missing, what it costs, and what mends it
    Doctor(Doctor),
    /// Print the certificate that clients must trust for https and wss
    Ca,
    /// Print the OpenAPI description of a service, as JSON
    Openapi { service: DescribedService },
}

/// Whether a command is carried out with the settings of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseOfSettings {
    /// With those of the file that is named, or of the usual one.
    Usual,
    /// Only when a file is named.
    IfNamed,
    /// It has nothing to do with a server's settings, or reads them itself.
    None,
}

impl Command {
    pub(crate) fn use_of_settings(&self) -> UseOfSettings {
        match self {
            Self::Serve(_) | Self::Admin { .. } | Self::Stack { .. } | Self::Ca => {
                UseOfSettings::Usual
            }
            // A demo on a machine with a server must not open that server's data.
            Self::Demo(_) => UseOfSettings::IfNamed,
            Self::Gateway(_)
            | Self::Developer(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Openapi { .. } => UseOfSettings::None,
        }
    }
}

/// A service whose calls are described for programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DescribedService {
    /// Enginio Data Storage
    Eds,
    /// Managed WebSocket
    Mws,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeOptions {
    /// Listen here for HTTP; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "PILVI_HTTP",
        default_value = "127.0.0.1:8080"
    )]
    pub http: SocketAddr,
    /// Listen here for HTTPS; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "PILVI_HTTPS",
        default_value = "127.0.0.1:8443"
    )]
    pub https: SocketAddr,
    /// Listen here for git over SSH; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "PILVI_SSH",
        default_value = "127.0.0.1:2222"
    )]
    pub ssh: SocketAddr,
    /// Answer `/healthz`, `/readyz` and `/metrics` here, apart from everything else; best an address of loopback
    #[arg(long, value_name = "ADDR", env = "PILVI_HEALTH")]
    pub health: Option<SocketAddr>,
    /// So many seconds behind the machine's clock, to look into a copy of an old data folder as it was then
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide = true)]
    pub clock_behind: u32,
    /// Print one line of JSON once everything answers, and nothing else, to standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub apps: AppOptions,
    #[command(flatten)]
    pub mail: MailOptions,
    #[command(flatten)]
    pub people: PeopleOptions,
    #[command(flatten)]
    pub sign_on: SignOnOptions,
    #[command(flatten)]
    pub files: FileOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
}

impl Arguments {
    /// Where a durable server keeps its data.
    pub(crate) fn data_folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let home = std::env::home_dir()
            .context("there is no home folder; say where to keep data with --data DIR")?;
        Ok(home.join(".local/share/pilvi"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use pilvi_core::mail::Post;
    use std::path::Path;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn addresses_and_folder_come_from_the_command_line() {
        let line = [
            "pilvi",
            "serve",
            "--json",
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.9:443",
            "--data",
            "/srv/p",
        ];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert_eq!(arguments.data_folder().unwrap(), PathBuf::from("/srv/p"));
        let Command::Serve(options) = arguments.command else {
            panic!("not serve")
        };
        assert_eq!((options.http.port(), options.https.port()), (0, 443));
        assert!(options.json);
        let Post::Folder(folder) = options.mail.post(Path::new("/srv/p")) else {
            panic!("without a server mails go to a folder")
        };
        assert_eq!(folder, PathBuf::from("/srv/p/mail"));
    }

    #[test]
    fn the_password_of_the_mail_server_does_not_show() {
        let url = "smtps://anna:hunter2@mail.example.org";
        let line = ["pilvi", "serve", "--smtp-url", url];
        let arguments = Arguments::try_parse_from(line).unwrap();
        assert!(!format!("{arguments:?}").contains("hunter2"));
        let Command::Serve(options) = arguments.command else {
            panic!("not serve")
        };
        let Post::Smtp(kept) = options.mail.post(Path::new("/srv/p")) else {
            panic!("not by SMTP")
        };
        assert_eq!(kept.expose(), url);
    }
}
