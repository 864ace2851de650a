//! Programs of others that Pilvi or its users call.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{Circumstances, Finding, State};

/// More than any of them says in one go.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// The oldest git whose `receive-pack` does what is asked of it: quarantined pushes, and settings by the environment.
const GIT_NEEDED: (u32, u32) = (2, 31);

/// What came of asking a program.
pub(super) enum Said {
    Text(String),
    /// It is not installed.
    Missing,
    Failed,
}

/// Runs a program to its end, and ends it when it takes too long.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Said {
    ask_by(Command::new(program).args(arguments)).0
}

/// The same, and the code with which it ended.
pub(super) fn ask_by(command: &mut Command) -> (Said, Option<i32>) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Said::Missing, None),
        Err(_) => return (Said::Failed, None),
    };
    let output = child.stdout.take();
    let (sender, read) = sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let output = output.map(|output| output.take(OUTPUT_BYTES_MAX).read_to_string(&mut text));
        let _ = sender.send(output.is_some_and(|read| read.is_ok()).then_some(text));
    });
    let read = read.recv_timeout(SAID_WITHIN);
    if read.is_err() {
        // It fails only when the program has just ended.
        let _ = child.kill();
    }
    let status = child.wait().ok();
    let code = status.and_then(|status| status.code());
    match (read, code) {
        (Ok(Some(text)), Some(0)) => (Said::Text(text), code),
        _ => (Said::Failed, code),
    }
}

pub(super) fn git(_: &Circumstances) -> Vec<Finding> {
    let install = "sudo apt-get install git";
    let costs = "Nobody can push apps; all else works.";
    vec![match ask("git", &["--version"]) {
        Said::Missing => Finding::of(State::Fault, "git", "not installed", costs, install),
        Said::Failed => Finding::of(
            State::Fault,
            "git",
            "it is there and does not start",
            costs,
            "git --version",
        ),
        Said::Text(text) => match version_of(&text) {
            Some(version) if version < GIT_NEEDED => Finding::of(
                State::Fault,
                "git",
                text.trim(),
                "This version is older than 2.31; pushes will fail.",
                install,
            ),
            _ => Finding::fine("git", text.trim().replace("git version", "version")),
        },
    }]
}

/// `2.39` out of `git version 2.39.5`.
pub(super) fn version_of(said: &str) -> Option<(u32, u32)> {
    let word = said
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}
