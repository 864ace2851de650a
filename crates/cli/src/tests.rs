//! Whole commands, as a user types them, against a small server that answers with the shapes of the specification.

mod account;
mod apps;
mod clouds;
mod config;
mod eds;
mod faults;
mod instances;
mod login;
mod mws;
mod server;
mod terminal;

use std::path::Path;

use clap::{CommandFactory, Parser, Subcommand};
use tempfile::TempDir;

use crate::connection::Environment;
use crate::screen::{Look, Screen};
use crate::session::Place;
use crate::{Command, Config, run_at};
use server::Server;

/// The app of all examples.
const APP: &str = "mar-eu-1-twwto7g0";
const TOKEN: &str = "9f0c-personal";

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    typed: Typed,
}

/// As the binary joins them.
#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it is taken apart at once"
)]
enum Typed {
    #[command(flatten)]
    Developer(Command),
    /// Look after the settings
    Config(Config),
}

impl Line {
    fn command(self) -> Command {
        match self.typed {
            Typed::Developer(command) => command,
            Typed::Config(config) => Command::Config(config),
        }
    }
}

/// What a user saw of a command.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: u8,
    out: String,
    err: String,
}

impl Seen {
    /// Ended well with this and nothing else.
    fn good(out: &str) -> Self {
        Self {
            code: 0,
            out: out.into(),
            err: String::new(),
        }
    }

    fn bad(code: u8, err: &str) -> Self {
        Self {
            code,
            out: String::new(),
            err: err.into(),
        }
    }
}

/// A folder to type commands in, and what the terminal is like.
struct Desk {
    folder: TempDir,
    look: Look,
    environment: Environment,
    /// What is written to standard input.
    input: String,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            look: Look::default(),
            environment: Environment::default(),
            input: String::new(),
        }
    }

    /// With this on standard input.
    fn with_input(self, input: &str) -> Self {
        Self {
            input: input.into(),
            ..self
        }
    }

    /// What is remembered here.
    fn settings(&self) -> String {
        let file = self.path().join(".config/pilvi/config.toml");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Types `pilvi <words>`, with the address of `server` and a token.
    fn types(&self, server: &Server, words: &str) -> Seen {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.types_words(server, &words)
    }

    fn types_words(&self, server: &Server, words: &[&str]) -> Seen {
        let url = server.url();
        let own = ["pilvi", words[0], "--url", &url, "--token", TOKEN];
        self.types_all(&[&own[..], &words[1..]].concat())
    }

    fn types_all(&self, words: &[&str]) -> Seen {
        let command = Line::try_parse_from(words).unwrap().command();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let json = command
            .connection()
            .is_some_and(|connection| connection.json);
        let mut screen = Screen::new(&mut out, &mut err, self.look, json);
        let code = run_at(&command, &mut screen, self.place());
        Seen {
            code,
            out: String::from_utf8(out).unwrap(),
            err: String::from_utf8(err).unwrap(),
        }
    }

    fn place(&self) -> Place {
        Place {
            folder: self.path().into(),
            home: Some(self.path().into()),
            environment: self.environment.clone(),
            asks: false,
            input: Box::new(std::io::Cursor::new(self.input.clone())),
            grammar: <Line as CommandFactory>::command,
        }
    }
}
