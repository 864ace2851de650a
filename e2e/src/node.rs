//! Runs the scripts in `node/`, which call the published Node clients and check what they get with `node:assert`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{skip, wait};

/// How long a script may run.
const RUN_WITHIN: Duration = Duration::from_secs(60);

/// Whether the clients are installed. Where they are not, the running test is reported as skipped.
#[track_caller]
pub fn is_ready() -> bool {
    let ready = folder().join("node_modules/qtc").is_dir();
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
    let mut child = Command::new("node")
        .arg(script)
        .current_dir(folder())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node cannot be started: {error}"));
    let output = drain(child.stdout.take());
    let errors = drain(child.stderr.take());
    let status = wait::found(RUN_WITHIN, || {
        child
            .try_wait()
            .expect("a child can be asked for its status")
    });
    if status.is_none() {
        // Fails only when it has ended since the last look.
        let _ = child.kill();
    }
    let output = output.join().unwrap_or_default();
    let errors = errors.join().unwrap_or_default();
    let ok = status.is_some_and(|status| status.success());
    assert!(
        ok,
        "node {script} failed\n--- standard output ---\n{output}\n--- standard error ---\n{errors}"
    );
    let last = output.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|error| panic!("node {script} printed no JSON ({error}): {output}"))
}

/// Reads a pipe on a thread of its own, so that a full pipe stops nobody.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.expect("the output was asked for as a pipe");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a broken pipe is shown all the same.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}
