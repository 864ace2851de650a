//! Log lines: to standard error, so that standard output stays free for results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging with a filter in the syntax of `RUST_LOG`, such as `info,pilvi_web=debug`.
///
/// # Errors
/// When the filter cannot be read; the text says where.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("the log filter `{filter}` is not understood: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| format!("logging could not be started: {error}"))
}
