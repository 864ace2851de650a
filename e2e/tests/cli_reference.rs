//! The reference of the command line is the command line's own, and completions are scripts that shells read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use pilvi_e2e::process::binary;

const COPY: &str = "../docs/cli.md";

fn pilvi(words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    // Defaults of some options come from the environment, which the reference must not show.
    command.args(words).env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_reference_is_current() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(COPY);
    let kept = std::fs::read_to_string(copy).unwrap_or_default();
    let printed = text(pilvi(&["reference"]));
    let differs = printed
        .lines()
        .zip(kept.lines())
        .find(|(new, old)| new != old);
    assert!(
        printed == kept,
        "docs/cli.md is not what `pilvi reference` prints; write it anew with `cargo run -- reference > docs/cli.md`. \
         The first difference: {differs:?}"
    );
}

#[test]
fn every_command_is_in_the_reference() {
    let reference = text(pilvi(&["reference"]));
    for command in [
        "login",
        "clouds members role",
        "mar slugs upload",
        "eds query",
        "mws listen",
        "config set",
        "completions",
        "serve",
        "instances restore",
    ] {
        let heading = format!("# pilvi {command}\n");
        assert!(reference.contains(&heading), "{command} is missing");
    }
    for line in reference.lines() {
        assert!(
            !line.contains("/root") && !line.contains("/home/"),
            "{line}"
        );
    }
}

#[test]
fn bash_completes_verbs_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("pilvi.bash");
    std::fs::write(&script, pilvi(&["completions", "bash"]).stdout).unwrap();
    let script = script.display();
    for (typed, expected) in [
        ("pilvi clo", "clouds"),
        ("pilvi clouds inv", "invitations invite invited"),
        ("pilvi completions f", "fish"),
        ("pilvi mar lo", "logs"),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let last = words.len() - 1;
        let ask = format!(
            "source {script}; COMP_WORDS=({typed}); COMP_CWORD={last}; \
             _pilvi pilvi '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            words[last],
            words[last - 1]
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &ask])
            .output()
            .unwrap();
        let mut offered: Vec<String> = text(output).split_whitespace().map(str::to_owned).collect();
        offered.sort();
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(offered, expected, "after {typed}");
    }
}

#[test]
fn other_shells_get_scripts_that_they_can_read() {
    for (shell, begins) in [("zsh", "#compdef pilvi"), ("fish", "# Print an optspec")] {
        let script = text(pilvi(&["completions", shell]));
        assert!(script.starts_with(begins), "{shell}: {}", &script[..200]);
    }
}

/// As `pilvi completions bash | head` does.
#[test]
fn a_reader_who_has_seen_enough_is_no_fault() {
    let mut child = Command::new(binary())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
