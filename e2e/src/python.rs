//! Runs the scripts in `python/`, which call the published Python client.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::Client;
use crate::skip;

/// Whether the client is installed. Where it is not, the running test is reported as skipped.
#[track_caller]
pub fn is_ready() -> bool {
    let ready = program().is_file();
    if !ready {
        skip::report("the Python client is not installed: `cargo xtask test` installs it");
    }
    ready
}

/// Starts a script with the given variables.
#[track_caller]
pub fn start(script: &str, variables: &[(&str, &str)]) -> Client {
    let mut command = Command::new(program());
    command
        .arg(script)
        .current_dir(root().join("e2e/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied());
    Client::start(script, &mut command)
}

/// The interpreter that sees the client, in the environment that `xtask/src/install.rs` makes.
fn program() -> PathBuf {
    root().join("target/python-clients/bin/python")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e is a folder of the clone")
}
