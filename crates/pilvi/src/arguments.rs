//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

/// A self-hosted application cloud in one binary.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Keep all data in this folder [default: ~/.local/share/pilvi; demo: a temporary one]
    #[arg(long, global = true, value_name = "DIR", env = "PILVI_DATA")]
    pub data: Option<PathBuf>,
    /// Log what matches this filter to standard error, such as `debug`; `info` adds a line for each request
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "PILVI_LOG",
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
    /// Print the certificate that clients must trust for https and wss
    Ca,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeOptions {
    /// Listen here for HTTP; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Listen here for HTTPS; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub https: SocketAddr,
    /// Listen here for git over SSH, once there is something to push to; nothing listens yet
    #[arg(long, value_name = "ADDR")]
    pub ssh: Option<SocketAddr>,
    /// Print one line of JSON once everything answers, and nothing else, to standard output
    #[arg(long)]
    pub json: bool,
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
    }
}
