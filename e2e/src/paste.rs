//! Runs what a reader of the documents would paste into a shell.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::wait;

/// The comment in front of a fenced block that is to be run as it stands.
const MARK: &str = "<!-- test: run -->";

/// How long a pasted text may run.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// Makes curl fail on a refusal and show why, without a change to the pasted lines.
const CURL_SETTINGS: &str = "fail\nsilent\nshow-error\nmax-time = 30\n";

/// The fenced blocks behind a mark, in order.
pub fn marked_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.by_ref().any(|line| line.trim() == MARK) {
        let fence = lines
            .by_ref()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        assert!(
            fence.trim_start().starts_with("```"),
            "a fenced block follows {MARK}, not {fence:?}"
        );
        let block: Vec<_> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// How lines begin that are meant for a shell.
const STARTS: [&str; 2] = ["curl ", "mkdir "];

/// The lines for a shell among others, with their continuations.
pub fn lines_to_paste(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut continued = false;
    for line in lines {
        let line = line.trim().to_owned();
        let ends_open = line.ends_with('\\');
        if continued {
            let last = found.last_mut().expect("only a found line is continued");
            last.push('\n');
            last.push_str(&line);
            continued = ends_open;
        } else if STARTS.iter().any(|start| line.starts_with(start)) {
            found.push(line);
            continued = ends_open;
        }
    }
    found
}

/// Runs a text in a shell that stops at the first failure; returns what it printed.
///
/// # Panics
/// When a command fails, with all that was printed.
#[track_caller]
pub fn run(text: &str, variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().expect("a temporary folder can be made");
    write(folder.path(), ".curlrc", CURL_SETTINGS);
    write(
        folder.path(),
        "pasted.sh",
        &format!("exec 2>&1\nset -eux\n{text}\n"),
    );
    let mut child = Command::new("sh")
        .arg("pasted.sh")
        .current_dir(folder.path())
        .env("CURL_HOME", folder.path())
        // What is pasted may sign in, and is not to change how whoever runs the tests is signed in.
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut pipe = child
        .stdout
        .take()
        .expect("the output was asked for as a pipe");
    let output = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a broken pipe is shown all the same.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
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
    assert!(
        status.is_some_and(|status| status.success()),
        "pasted lines failed:\n{output}"
    );
    output
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a new folder takes files");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_found() {
        let markdown = "```sh\nrm everything\n```\n<!-- test: run -->\n\n```sh\none\ntwo\n```\n\n\
            <!-- test: run -->\n```\nthree\n```\n";
        assert_eq!(marked_blocks(markdown), ["one\ntwo", "three"]);
    }

    #[test]
    fn a_curl_line_keeps_its_continuation() {
        let lines = [
            "To create:",
            "  curl -X POST \\",
            "    http://x",
            "then",
            "  curl http://y",
        ]
        .map(str::to_owned);
        assert_eq!(
            lines_to_paste(lines),
            ["curl -X POST \\\nhttp://x", "curl http://y"]
        );
    }

    #[test]
    fn pasted_lines_see_their_variables() {
        let output = run("echo \"got $THING\"", &[("THING", "it")]);
        assert!(output.contains("got it"), "{output}");
    }

    #[test]
    fn a_failing_line_fails_the_paste() {
        assert!(std::panic::catch_unwind(|| run("false\ntrue", &[])).is_err());
    }
}
