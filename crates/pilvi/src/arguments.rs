//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    #[command(flatten)]
    Developer(pilvi_cli::Command),
    /// Make, list and remove the root file systems that apps are built and run on
    Stack {
        #[command(subcommand)]
        command: StackCommand,
    },
    /// Print the certificate that clients must trust for https and wss
    Ca,
    /// Print the OpenAPI description of a service, as JSON
    Openapi { service: DescribedService },
}

/// What can be done with stacks.
#[derive(Debug, Subcommand)]
pub(crate) enum StackCommand {
    /// Make a stack from Debian's packages, which takes some minutes
    Create {
        /// Its name, such as debian-12
        name: String,
    },
    /// List the stacks
    List,
    /// Remove a stack that no release needs any more
    Remove { name: String },
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
    /// Listen here for git over SSH; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2222")]
    pub ssh: SocketAddr,
    /// Print one line of JSON once everything answers, and nothing else, to standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub apps: AppOptions,
    #[command(flatten)]
    pub mail: MailOptions,
}

/// How apps are run and reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppOptions {
    /// Apps answer by their ids under this domain; their users' browsers must find it, and nothing else may live there
    #[arg(
        long,
        value_name = "DOMAIN",
        env = "PILVI_APPS_DOMAIN",
        default_value = "localhost"
    )]
    pub apps_domain: String,
    /// Pilvi itself is reached under this name, so no app may take it or a name below it; may be given several times
    #[arg(
        long = "own-name",
        value_name = "HOST",
        env = "PILVI_OWN_NAMES",
        value_delimiter = ',',
        value_parser = parse_name
    )]
    pub own_names: Vec<String>,
    /// Cut a connection to an app after so many seconds without a byte in either direction
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PILVI_APPS_IDLE_TIMEOUT",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub apps_idle_timeout: u64,
    /// End a build that takes longer than so many seconds, and reject its push
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PILVI_APPS_BUILD_TIMEOUT",
        default_value_t = 900,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub apps_build_timeout: u64,
    /// Give a web process so many seconds until it accepts connections
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PILVI_APPS_BOOT_TIMEOUT",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3_600)
    )]
    pub apps_boot_timeout: u64,
    /// Give apps addresses out of this private range, which nothing else on this machine may use
    #[arg(
        long,
        value_name = "CIDR",
        env = "PILVI_APPS_NETWORK",
        default_value = "10.213.0.0/16",
        value_parser = parse_range
    )]
    pub apps_network: (Ipv4Addr, u8),
    /// Let apps reach these private addresses, which are closed to them otherwise; may be given several times
    #[arg(
        long = "apps-allow",
        value_name = "CIDR",
        env = "PILVI_APPS_ALLOW",
        value_delimiter = ',',
        value_parser = parse_network
    )]
    pub apps_allow: Vec<(IpAddr, u8)>,
    /// Refuse to start when this layer of the sandbox is missing, such as `memory` or `egress`; may be given several
    /// times, and `all` stands for every layer
    #[arg(
        long = "require-layer",
        value_name = "LAYER",
        env = "PILVI_REQUIRE_LAYERS",
        value_delimiter = ','
    )]
    pub require_layers: Vec<String>,
}

/// A host name as it is compared with those that apps ask for.
fn parse_name(text: &str) -> Result<String, String> {
    let domain = text.trim().parse::<pilvi_model::app::Domain>();
    domain
        .map(|domain| domain.to_string())
        .map_err(|error| error.message)
}

/// An address and the length of its prefix; a bare address is a network of one.
fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "is not an address such as 10.0.0.0/8".to_owned())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| *length <= longest)
            .ok_or_else(|| format!("ends with a prefix length of 0 to {longest}, such as /16"))?,
    };
    Ok((address, length))
}

/// A range of IPv4 addresses with room for some apps.
fn parse_range(text: &str) -> Result<(Ipv4Addr, u8), String> {
    match parse_network(text)? {
        (IpAddr::V4(address), length @ 8..=24) => Ok((address, length)),
        _ => Err("must be an IPv4 range of /8 to /24, such as 10.213.0.0/16".to_owned()),
    }
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
