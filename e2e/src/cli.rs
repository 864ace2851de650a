//! Types `pilvi mar …` and `pilvi keys …` as a developer does.

use std::path::Path;
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
    token: String,
    ca: String,
}

impl Cli {
    /// With the operator's token, over HTTPS.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        Self {
            url: format!("https://{}/v1", server.https()),
            token: server.cloud().token,
            ca: server.ca().to_owned(),
        }
    }

    /// The command, for whoever wants to talk to it while it runs.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(process::binary());
        command
            .args(words)
            .env("QTC_PLATFORM_URL", &self.url)
            .env("PILVI_TOKEN", &self.token)
            .env("PILVI_CA", &self.ca)
            .env_remove("PILVI_APP");
        command
    }

    /// Runs a command to its end in a folder.
    #[track_caller]
    pub fn run_in(&self, folder: &Path, words: &[&str]) -> Ended {
        let name = format!("pilvi {}", words.join(" "));
        let mut command = self.command(words);
        Client::start(&name, command.current_dir(folder)).ended(DONE_WITHIN)
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
