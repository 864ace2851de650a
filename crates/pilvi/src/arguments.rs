//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pilvi_base::Secret;
use pilvi_core::mail::Post;

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
    /// Print the OpenAPI description of a service, as JSON
    Openapi { service: DescribedService },
}

/// A service whose calls are described for programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DescribedService {
    /// Enginio Data Storage
    Eds,
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
    #[command(flatten)]
    pub mail: MailOptions,
}

/// How mails to the users of apps are sent.
#[derive(Args, Clone, Debug)]
pub(crate) struct MailOptions {
    /// Send mails through this server, such as smtps://user:password@host; without it they go to files below
    /// `mail` in the data folder. Prefer the environment: others can read a command line
    #[arg(
        long,
        value_name = "URL",
        env = "PILVI_SMTP_URL",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub smtp_url: Option<Secret>,
    /// Send mails from this address
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PILVI_MAIL_FROM",
        default_value = "Pilvi <pilvi@localhost>"
    )]
    pub mail_from: String,
}

fn parse_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

impl MailOptions {
    /// Where mails go, given the data folder.
    pub(crate) fn post(&self, data: &Path) -> Post {
        match &self.smtp_url {
            Some(url) => Post::Smtp(url.clone()),
            None => Post::Folder(data.join("mail")),
        }
    }
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
