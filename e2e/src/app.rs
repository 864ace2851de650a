//! Apps: made, pushed to and looked at as their developer does.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::api::text;
use crate::child::{Client, Ended};
use crate::cli::Cli;
use crate::server::Server;
use crate::{search_path, skip};

/// How long a push may take: it compiles C++ or downloads packages while others compile beside it.
const PUSHED_WITHIN: Duration = Duration::from_secs(300);

/// What is in an example's folder and not in its repository.
const LEFT_OUT: [&str; 3] = ["node_modules", "build", ".git"];

/// An app on a server.
pub struct App {
    pub id: String,
    /// What the API said of it when it was made.
    pub facts: Value,
    cli: Cli,
    /// Where a push goes, with the token.
    remote: String,
    https: SocketAddr,
    ca: String,
}

impl App {
    #[track_caller]
    pub fn create(server: &Server, name: &str) -> Self {
        let cli = Cli::of(server);
        let facts = cli.json(&["mar", "create", name]);
        let id = text(&facts, "/id");
        let token = server.cloud().token;
        Self {
            remote: format!("https://any:{token}@{}/git/{id}", server.https()),
            https: server.https(),
            ca: server.ca().to_owned(),
            id,
            facts,
            cli,
        }
    }

    /// `<id>.<apps domain>`, as in the header `Host`.
    #[track_caller]
    pub fn host(&self) -> String {
        let url = text(&self.facts, "/url");
        url.trim_start_matches("http://").to_owned()
    }

    /// Sets config vars, each as `NAME=VALUE`.
    #[track_caller]
    pub fn set(&self, vars: &[&str]) {
        self.mar(&[&["envs", "set"], vars].concat());
    }

    /// `pilvi mar <words>` about this app.
    #[track_caller]
    pub fn mar(&self, words: &[&str]) -> Ended {
        self.cli.run(&[&["mar", "--app", &self.id], words].concat())
    }

    /// The same, for whoever wants to talk to it while it runs.
    pub fn command(&self, words: &[&str]) -> Command {
        self.cli
            .command(&[&["mar", "--app", &self.id], words].concat())
    }

    /// The app object.
    #[track_caller]
    pub fn show(&self) -> Value {
        self.cli.json(&["mar", "--app", &self.id, "show"])
    }

    /// Pushes a repository, and returns what the pusher saw.
    #[track_caller]
    pub fn push(&self, source: &Source) -> Ended {
        Client::start("git push", &mut self.push_command(source)).ended(PUSHED_WITHIN)
    }

    /// What pushes a repository.
    #[track_caller]
    pub fn push_command(&self, source: &Source) -> Command {
        self.push_command_to(&self.remote, source)
    }

    /// The same by way of another address, from where it is passed on to the server.
    #[track_caller]
    pub fn push_command_by_way_of(&self, address: SocketAddr, source: &Source) -> Command {
        let [server, address] = [self.https, address].map(|address| format!("@{address}/"));
        self.push_command_to(&self.remote.replace(&server, &address), source)
    }

    fn push_command_to(&self, remote: &str, source: &Source) -> Command {
        let mut git = self.git(source);
        git.args(["push", remote, "HEAD:refs/heads/master"]);
        git
    }

    /// The commit of the branch that is deployed.
    #[track_caller]
    pub fn branch(&self, source: &Source) -> String {
        let mut git = self.git(source);
        git.args(["ls-remote", &self.remote, "refs/heads/master"]);
        let ended = Client::start("git ls-remote", &mut git).ended(PUSHED_WITHIN);
        assert!(ended.status.success(), "{}", ended.report());
        let line = ended.lines.first().map(String::as_str).unwrap_or_default();
        line.split('\t').next().unwrap_or_default().to_owned()
    }

    /// Git in a repository, trusting the server.
    fn git(&self, source: &Source) -> Command {
        let mut git = source.git();
        // The variable wins over all settings, and over itself where the machine has one.
        git.env("GIT_SSL_CAINFO", &self.ca);
        git
    }

    /// Pushes a repository and expects it to run then.
    #[track_caller]
    pub fn deploy(&self, source: &Source) {
        let ended = self.push(source);
        assert!(ended.status.success(), "{}", ended.report());
        let deployed = format!("{} deployed to ", self.id);
        assert!(ended.errors.contains(&deployed), "{}", ended.report());
    }

    /// The last lines of the app's log, for a message.
    #[track_caller]
    pub fn log(&self) -> String {
        self.mar(&["logs", "--timestamps", "--limit", "200"])
            .lines
            .join("\n")
    }
}

/// A failed test shows what the app had to say.
impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let words = [
                "mar",
                "--app",
                &self.id,
                "logs",
                "--timestamps",
                "--limit",
                "50",
            ];
            let output = self.cli.command(&words).output();
            let log = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            show(&format!(
                "--- the log of {} ends so ---\n{}",
                self.id,
                log.unwrap_or_default()
            ));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the test runner shows it beside the failure"
)]
fn show(text: &str) {
    eprintln!("{text}");
}

/// A repository with one commit.
pub struct Source {
    folder: TempDir,
}

impl Source {
    /// A copy of a folder below `examples`. Where git is missing, the running test is reported as skipped and
    /// there is none.
    #[track_caller]
    pub fn of_example(path: &str) -> Option<Self> {
        let source = Self::new()?;
        copy(&examples().join(path), source.path());
        source.commit();
        Some(source)
    }

    /// A repository with these files, where git is there.
    #[track_caller]
    pub fn of(files: &[(&str, &str)]) -> Option<Self> {
        let source = Self::new()?;
        for (name, content) in files {
            fs::write(source.path().join(name), content).expect("a file can be written");
        }
        source.commit();
        Some(source)
    }

    #[track_caller]
    fn new() -> Option<Self> {
        if search_path::find("git").is_none() {
            skip::report("git is not installed: as root, run apt-get install git");
            return None;
        }
        let folder = TempDir::new().expect("a temporary folder can be made");
        let source = Self { folder };
        source.step(&["init", "--quiet"]);
        Some(source)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The last commit.
    #[track_caller]
    pub fn head(&self) -> String {
        self.step(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Adds a file.
    #[track_caller]
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).expect("a file can be written");
        self.commit();
    }

    /// Makes a commit of all files as they are.
    #[track_caller]
    pub fn commit(&self) {
        self.step(&["add", "--all"]);
        self.step(&["commit", "--quiet", "--message", "As it is now"]);
    }

    #[track_caller]
    fn step(&self, arguments: &[&str]) -> String {
        let output = self
            .git()
            .args(arguments)
            .output()
            .expect("git can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Git in this repository, without anybody's own settings, and without questions.
    fn git(&self) -> Command {
        let folder = self.folder.path();
        let mut git = Command::new("git");
        git.current_dir(folder)
            .args(["-c", "user.name=Anna", "-c", "user.email=anna@example.org"])
            .env("HOME", folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        git
    }
}

/// The folder of the examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    let entries = fs::read_dir(from)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", from.display()));
    for entry in entries {
        let entry = entry.expect("a folder of ours can be read");
        let name = entry.file_name();
        let target = to.join(&name);
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
