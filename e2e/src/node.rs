//! Runs the scripts in `node/`, which call the published Node clients and check what they get with `node:assert`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::child::Client;
use crate::skip;

/// How long a script may run.
const RUN_WITHIN: Duration = Duration::from_secs(60);

/// Whether the clients are installed. Where they are not, the running test is reported as skipped.
#[track_caller]
pub fn is_ready() -> bool {
    let clients = [
        "ajv",
        "eventsource",
        "oidc-provider",
        "playwright-core",
        "qtc",
        "standardwebhooks",
        "ws",
    ];
    let ready = clients
        .iter()
        .all(|client| folder().join("node_modules").join(client).is_dir());
    if !ready {
        skip::report(
            "the Node clients are not installed: `cargo xtask test` installs them, or run npm ci in e2e/node",
        );
    }
    ready
}

/// Runs a script with the given variables and returns the JSON that it prints last.
///
/// # Panics
/// When the script fails, with all it said.
#[track_caller]
pub fn run(script: &str, variables: &[(&str, &str)]) -> Value {
    start(script, variables).result(RUN_WITHIN)
}

/// Starts a script that wants to be talked to.
#[track_caller]
pub fn start(script: &str, variables: &[(&str, &str)]) -> Client {
    let mut command = Command::new("node");
    command
        .arg(script)
        .current_dir(folder())
        .envs(variables.iter().copied());
    Client::start(&format!("node {script}"), &mut command)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}
