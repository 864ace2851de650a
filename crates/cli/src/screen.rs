//! Where results and complaints are written, and how they look there.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::table::Table;

/// What is known of the terminal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Its columns; none where results go to a file or a program, which get all of every line.
    pub(crate) width: Option<usize>,
    pub(crate) colour: bool,
    /// Whether a person watches standard error, and it can be written over.
    pub(crate) watched: bool,
}

impl Look {
    pub(crate) fn of_this_process() -> Self {
        let watched = io::stderr().is_terminal() && !is_dumb();
        let output = io::stdout();
        if !output.is_terminal() {
            return Self {
                watched,
                ..Self::default()
            };
        }
        let columns = rustix::termios::tcgetwinsize(&output).map(|size| usize::from(size.ws_col));
        Self {
            // A terminal that does not know its own width says 0.
            width: columns.ok().filter(|columns| *columns > 0),
            colour: !is_set("NO_COLOR") && !is_dumb(),
            watched,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a door reads the environment; NO_COLOR is agreed on by all programs"
)]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a door reads the environment; TERM tells what the terminal can do"
)]
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// A colour by what it means. It never says what the text does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Title,
    Good,
    Bad,
    Waiting,
}

impl Ink {
    /// The colour of an app's or a process's state.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "running" | "up" | "current" | "ready" => Self::Good,
            "crashed" | "failed" => Self::Bad,
            "starting" | "deploying" | "pending" | "restarting" | "awaiting" => Self::Waiting,
            _ => Self::Plain,
        }
    }

    fn start(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Waiting => "\x1b[33m",
        }
    }
}

/// The two streams of a command.
pub(crate) struct Screen<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    look: Look,
    /// Whether results are wanted as JSON.
    json: bool,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        look: Look,
        json: bool,
    ) -> Self {
        Self {
            out,
            err,
            look,
            json,
        }
    }

    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }

    /// Whether a terminal shows the result, rather than a file or a program taking it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.look.width.is_some()
    }

    /// Whether a person watches what is told beside the result.
    pub(crate) fn is_watched(&self) -> bool {
        self.look.watched
    }

    /// A line of the result.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Bytes of the result as they are, at once.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The result as JSON: the server's own answer, so that a script sees what the API gives.
    pub(crate) fn json(&mut self, answer: &Value) -> io::Result<()> {
        writeln!(self.out, "{answer:#}")
    }

    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        for line in table.lines(self.look) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Pairs of a name and what it stands for; a further line of the same name leaves it empty.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) -> io::Result<()> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts {
            let ink = if *name == "State" {
                Ink::of_state(value)
            } else {
                Ink::Plain
            };
            let name = self.painted(Ink::Title, &format!("{name:width$}"));
            let value = self.painted(ink, &readable(value));
            self.line(&format!("{name}  {value}"))?;
        }
        Ok(())
    }

    /// Something beside the result.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        text.lines()
            .try_for_each(|line| writeln!(self.err, "{}", readable(line)))
    }

    /// Bytes beside the result as they are.
    pub(crate) fn raw_beside(&mut self, text: &str) -> io::Result<()> {
        self.err.write_all(text.as_bytes())?;
        self.err.flush()
    }

    /// Tells a failure and returns its exit code.
    pub(crate) fn complain(&mut self, failure: &Failure) -> u8 {
        if failure.code != Code::NobodyReads {
            let (what, next) = (readable(&failure.what), readable(&failure.next));
            // Where nobody can be told, the exit code still tells.
            let _ = writeln!(self.err, "error: {what}\ntry: {next}");
        }
        failure.code as u8
    }

    pub(crate) fn painted(&self, ink: Ink, text: &str) -> String {
        painted(self.look, ink, text)
    }
}

/// `text` in a colour, where there are colours.
pub(crate) fn painted(look: Look, ink: Ink, text: &str) -> String {
    if look.colour && ink != Ink::Plain {
        format!("{}{text}\x1b[0m", ink.start())
    } else {
        text.to_owned()
    }
}

/// Text from elsewhere on one line and without the bytes that steer a terminal: somebody else may have chosen it.
pub(crate) fn readable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_not_passed_on() {
        assert_eq!(readable("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }

    #[test]
    fn a_colour_is_there_only_where_colours_are() {
        let colours = Look {
            colour: true,
            ..Look::default()
        };
        assert_eq!(
            painted(colours, Ink::Bad, "crashed"),
            "\x1b[31mcrashed\x1b[0m"
        );
        assert_eq!(painted(colours, Ink::Plain, "x"), "x");
        assert_eq!(painted(Look::default(), Ink::Bad, "crashed"), "crashed");
    }
}
