//! What the doctor says, for people and for programs.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Serialize;

use super::{Area, Circumstances, Finding, State};

/// Lines are wrapped to this, or to less where the terminal is narrower.
const WIDTH_MAX: usize = 100;
const WIDTH_MIN: usize = 50;

/// How a report is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    pub(crate) width: usize,
}

impl Look {
    /// As it suits standard output.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a door, and the environment says what the terminal can do"
    )]
    pub(crate) fn of_this_process() -> Self {
        let output = std::io::stdout();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(&output);
        Self {
            colour: output.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            width: size.map_or(WIDTH_MAX, |size| usize::from(size.ws_col)),
        }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) is_fine: bool,
    user: &'static str,
    file: Option<PathBuf>,
    data: PathBuf,
    is_running: bool,
    findings: Vec<Placed>,
}

#[derive(Debug, Serialize)]
struct Placed {
    area: Area,
    #[serde(flatten)]
    finding: Finding,
}

impl Area {
    fn title(self) -> &'static str {
        match self {
            Self::Machine => "This machine",
            Self::Sandbox => "Apps and their sandboxes",
            Self::Server => "The server",
            Self::Developer => "You as a developer",
        }
    }
}

impl State {
    /// A word, since colour is never the only sign.
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Warning => "warn",
            Self::Fault => "FAULT",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Fine => "\x1b[32m",
            Self::Note => "\x1b[36m",
            Self::Warning => "\x1b[33m",
            Self::Fault => "\x1b[1;31m",
        }
    }
}

impl Report {
    pub(super) fn new(circumstances: &Circumstances, findings: Vec<(Area, Finding)>) -> Self {
        let findings = findings
            .into_iter()
            .map(|(area, finding)| Placed { area, finding });
        let findings: Vec<_> = findings.collect();
        Self {
            is_fine: findings
                .iter()
                .all(|placed| placed.finding.state < State::Fault),
            user: match circumstances.is_root {
                true => "root",
                false => "an ordinary user",
            },
            file: circumstances.file.clone(),
            data: circumstances.data.clone(),
            is_running: circumstances.is_running,
            findings,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text and lists are JSON") + "\n"
    }

    pub(crate) fn text(&self, look: Look) -> String {
        let width = look.width.clamp(WIDTH_MIN, WIDTH_MAX);
        let file = match &self.file {
            Some(file) => file.display().to_string(),
            None => "none, so all is as it is by itself".to_owned(),
        };
        let mut text = format!(
            "Looked as {}.\n  settings  {file}\n  data      {}\n",
            self.user,
            self.data.display()
        );
        let names = self
            .findings
            .iter()
            .map(|placed| placed.finding.name.chars().count());
        let name_width = names.max().unwrap_or_default().min(18);
        let mut area = None;
        for placed in &self.findings {
            if area != Some(placed.area) {
                area = Some(placed.area);
                let title = placed.area.title();
                match look.colour {
                    true => _ = writeln!(text, "\n\x1b[1m{title}\x1b[0m"),
                    false => _ = writeln!(text, "\n{title}"),
                }
            }
            placed
                .finding
                .write(&mut text, name_width, width, look.colour);
        }
        text.push('\n');
        text.push_str(&self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let count = |state| {
            let states = self.findings.iter().map(|placed| placed.finding.state);
            states.filter(|known| *known == state).count()
        };
        match (count(State::Fault), count(State::Warning)) {
            (0, 0) => "All is well.\n".to_owned(),
            (0, 1) => "One thing works worse than it could; nothing is broken.\n".to_owned(),
            (0, n) => format!("{n} things work worse than they could; nothing is broken.\n"),
            (1, _) => "One thing is broken.\n".to_owned(),
            (n, _) => format!("{n} things are broken.\n"),
        }
    }
}

impl Finding {
    fn write(&self, text: &mut String, name_width: usize, width: usize, colour: bool) {
        let word = self.state.word();
        let mark = match colour {
            true => format!("{}{word:5}\x1b[0m", self.state.colour()),
            false => format!("{word:5}"),
        };
        let indent = 2 + 5 + 2 + name_width + 2;
        let mut lines = wrapped(&self.found, width.saturating_sub(indent)).into_iter();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "  {mark}  {:name_width$}  {first}", self.name);
        for line in lines {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
        for (label, said) in [("costs", &self.costs), ("mend", &self.mend)] {
            if said.is_empty() {
                continue;
            }
            // What is to be typed stays on one line, to be copied.
            let is_command = label == "mend" && !said.contains(". ") && !said.ends_with('.');
            let lines = match is_command {
                true => vec![said.clone()],
                false => wrapped(said, width.saturating_sub(indent + 7)),
            };
            for (number, line) in lines.iter().enumerate() {
                let label = if number == 0 { label } else { "" };
                let _ = writeln!(text, "{:indent$}{label:5}  {line}", "");
            }
        }
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
