//! Types `pilvi mar …`, `pilvi login` and so on as a developer does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::child::{Client, Ended};
use crate::process;
use crate::server::Server;

/// The server answers every call within a minute.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// A developer's terminal: it knows the server and the token, and trusts the server's own certificates.
#[derive(Clone)]
pub struct Cli {
    url: String,
    /// What the environment says of the token, and of the address beside it; none means neither.
    token: Option<String>,
    ca: String,
    /// Where settings are kept.
    home: PathBuf,
}

/// A folder that no system has.
const NOWHERE: &str = "/nonexistent";

impl Cli {
    /// With the operator's token, over HTTPS.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        Self {
            url: format!("https://{}/v1", server.https()),
            token: Some(server.cloud().token),
            ca: server.ca().to_owned(),
            home: NOWHERE.into(),
        }
    }

    /// The same server as somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// In the home folder of somebody who knows the server by what `pilvi login` remembers there, and not by the
    /// environment.
    #[must_use]
    pub fn at_home(&self, home: &Path) -> Self {
        Self {
            token: None,
            home: home.to_owned(),
            ..self.clone()
        }
    }

    /// The address of the platform.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The command, for whoever wants to talk to it while it runs.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(process::binary());
        command
            .args(words)
            .env("PILVI_CA", &self.ca)
            .env("HOME", &self.home)
            .env_remove("XDG_CONFIG_HOME");
        for variable in [
            "QTC_PLATFORM_URL",
            "PILVI_TOKEN",
            "PILVI_APP",
            "PILVI_ACCOUNT",
            "PILVI_BACKEND",
            "PILVI_GATEWAY",
            "PILVI_CONTEXT",
        ] {
            command.env_remove(variable);
        }
        if let Some(token) = &self.token {
            command
                .env("QTC_PLATFORM_URL", &self.url)
                .env("PILVI_TOKEN", token);
        }
        command
    }

    /// Runs a command to its end in a folder.
    #[track_caller]
    pub fn run_in(&self, folder: &Path, words: &[&str]) -> Ended {
        let name = format!("pilvi {}", words.join(" "));
        let mut command = self.command(words);
        Client::start(&name, command.current_dir(folder)).ended(DONE_WITHIN)
    }

    /// Runs a command that reads this from standard input.
    #[track_caller]
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Ended {
        let name = format!("pilvi {}", words.join(" "));
        let mut client = Client::start(&name, &mut self.command(words));
        client.say(input);
        client.ended(DONE_WITHIN)
    }

    /// Runs a command and expects it to end well.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ended {
        let ended = self.run_in(&std::env::temp_dir(), words);
        let line = words.join(" ");
        assert!(ended.status.success(), "pilvi {line}\n{}", ended.report());
        ended
    }

    /// Runs a command that prints JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let ended = self.run(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.lines.join("\n"))
            .unwrap_or_else(|error| panic!("no JSON came ({error})\n{}", ended.report()))
    }
}
