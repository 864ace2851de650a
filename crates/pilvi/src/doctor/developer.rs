//! What a developer on this machine has: a server to talk to, and a token for it.

use super::programs::{Said, ask_by};
use super::{Circumstances, Finding, State};

/// The command line's own exit codes, as `pilvi --help` of its commands lists them.
const UNREACHABLE: i32 = 6;
const UNKNOWN: i32 = 3;

pub(super) fn session(_: &Circumstances) -> Vec<Finding> {
    let name = "sign-in";
    let Ok(program) = std::env::current_exe() else {
        return Vec::new();
    };
    let (said, code) = ask_by(std::process::Command::new(program).args(["whoami", "--json"]));
    if let Said::Text(text) = said {
        let user: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let mail = user["email"].as_str().unwrap_or("somebody");
        return vec![Finding::fine(name, format!("signed in as {mail}"))];
    }
    vec![match code {
        Some(UNREACHABLE) => Finding::of(
            State::Note,
            name,
            "the server that the command line talks to does not answer",
            "`pilvi mar`, `pilvi eds` and the others have nobody to talk to.",
            "Start one with `pilvi serve`, or sign in to another with `pilvi login --url https://…/v1`.",
        ),
        Some(UNKNOWN) => Finding::of(
            State::Note,
            name,
            "not signed in",
            "`pilvi mar`, `pilvi eds` and the others need a token.",
            "pilvi login",
        ),
        _ => Finding::of(
            State::Note,
            name,
            "the command line cannot say who you are",
            "",
            "pilvi whoami",
        ),
    }]
}
