//! Options of the part that runs apps.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use pilvi_platform::Datacenter;

use super::values::{parse_datacenter, parse_name, parse_network, parse_range};

/// How apps are run and reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Apps")]
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
    /// Call this place NAME, or NAME=DESCRIPTION, such as eu-1=Helsinki; the first of several is that of new accounts,
    /// and the others are those that older accounts are in
    #[arg(
        long = "datacenter",
        value_name = "NAME",
        env = "PILVI_DATACENTERS",
        value_delimiter = ',',
        default_value = "eu-1=This server",
        value_parser = parse_datacenter
    )]
    pub datacenters: Vec<Datacenter>,
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
