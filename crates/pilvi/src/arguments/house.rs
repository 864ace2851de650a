//! What can be said about settings: a server's, and those of the developer's command line.

use clap::{Args, Subcommand};

use crate::config::{Check, Sample};

/// `pilvi config`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Config {
    #[command(flatten)]
    pub connection: pilvi_cli::Connection,
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// What can be done with settings.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check the settings of a server: what is unknown, what cannot be meant, and where each value comes from
    Check(Check),
    /// Print a settings file for a server with every setting in it, explained and commented out
    Default(Sample),
    #[command(flatten)]
    Developer(pilvi_cli::ConfigVerb),
}
