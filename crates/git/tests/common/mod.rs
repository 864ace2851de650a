//! A server with both doors, a deployer that does as it is told, and the real clients.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output as Outcome, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pilvi_base::{Secret, TaskGroup};
use pilvi_git::{
    Access, Deployer, Gatekeeper, Git, HostKey, Limits, Output, PublicKey, Push, Pusher, Rejected,
    Repositories, Settings, SshLimits, SshServer,
};
use pilvi_model::{Error, PersonId, Result};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore};

pub(crate) const APP: &str = "mar-eu-1-twwto7g0";
pub(crate) const TOKEN: &str = "pilvi_pat_test";

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("this did not happen in time: {what}"),
    }
}

/// What the deployer does with the next pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Reads the archive, says so, and is content.
    #[default]
    Accept,
    /// Says why not.
    Reject,
    /// Says that it has begun, then waits until it is let go or nobody cares any more.
    Wait,
    /// The same, but goes on for ever when nobody cares.
    Stubborn,
}

pub(crate) struct TestDeployer {
    pub(crate) repositories: Repositories,
    pub(crate) mood: Mutex<Mood>,
    /// All pushes so far, with the names in their archives.
    pub(crate) seen: Mutex<Vec<(Push, Vec<String>)>>,
    /// One for each push that has begun.
    pub(crate) begun: Semaphore,
    /// Lets a waiting push go.
    pub(crate) go: Notify,
    /// One for each push that was abandoned.
    pub(crate) abandoned: Semaphore,
}

impl Deployer for TestDeployer {
    fn push(&self, push: Push, output: Output) -> BoxFuture<'_, std::result::Result<(), Rejected>> {
        Box::pin(async move {
            let mood = *self.mood.lock().unwrap();
            let archive =
                self.repositories
                    .archive(&push.app, &push.deploy.commit, &push.quarantine);
            let mut tar = Vec::new();
            archive.unwrap().read_to_end(&mut tar).await.unwrap();
            let names = names_in_tar(&tar);
            output
                .line(&format!("-----> Building {}", names.join(" ")))
                .await;
            let abandoned = push.abandoned.clone();
            self.seen.lock().unwrap().push((push, names));
            self.begun.add_permits(1);
            match mood {
                Mood::Accept => {}
                Mood::Reject => return Err(Rejected("The build has failed.".to_owned())),
                Mood::Wait => {
                    tokio::select! {
                        () = self.go.notified() => {}
                        () = abandoned.cancelled() => {
                            self.abandoned.add_permits(1);
                            return Err(Rejected(String::new()));
                        }
                    }
                }
                Mood::Stubborn => std::future::pending().await,
            }
            output.write("       Uploading ").await;
            output.write("...").await;
            output.line(" done.").await;
            Ok(())
        })
    }
}

/// The names of the files in a tar, read by the real `tar`'s rules as far as these tests need them.
fn names_in_tar(tar: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tar;
    while rest.len() >= 512 && rest[0] != 0 {
        let (head, body) = rest.split_at(512);
        let name = head[..100].split(|byte| *byte == 0).next().unwrap();
        let size = std::str::from_utf8(&head[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap().div_ceil(512) * 512;
        // A commit's hash stands in a header of its own.
        if head[156] == b'0' {
            names.push(String::from_utf8(name.to_vec()).unwrap());
        }
        rest = &body[size..];
    }
    names
}

/// Knows the keys and tokens that it was given, and one app.
#[derive(Default)]
pub(crate) struct TestGatekeeper {
    pub(crate) keys: Mutex<HashMap<String, Pusher>>,
    pub(crate) read_only: Mutex<bool>,
}

impl Gatekeeper for TestGatekeeper {
    fn key_holder<'a>(
        &'a self,
        fingerprint: &'a str,
        _: IpAddr,
    ) -> BoxFuture<'a, Result<Option<Pusher>>> {
        let holder = self.keys.lock().unwrap().get(fingerprint).cloned();
        Box::pin(async move { Ok(holder) })
    }

    fn token_holder(&self, token: Secret) -> BoxFuture<'_, Result<Option<Pusher>>> {
        let known = token.expose() == TOKEN;
        Box::pin(async move { Ok(known.then(person)) })
    }

    fn may<'a>(&'a self, _: &'a Pusher, app: &'a str, access: Access) -> BoxFuture<'a, Result<()>> {
        let read_only = *self.read_only.lock().unwrap();
        Box::pin(async move {
            match (app, access) {
                (APP, Access::Read) => Ok(()),
                (APP, Access::Write) if !read_only => Ok(()),
                (APP, Access::Write) => {
                    Err(Error::forbidden("Your role may not push to this app."))
                }
                _ => Err(Error::not_found(format!("There is no app {app}."))),
            }
        })
    }
}

fn person() -> Pusher {
    Pusher::Person {
        id: PersonId::random(),
        name: "ada@example.org".to_owned(),
    }
}

/// A running server, and a folder for the clients' work.
pub(crate) struct Server {
    pub(crate) deployer: Arc<TestDeployer>,
    pub(crate) gatekeeper: Arc<TestGatekeeper>,
    pub(crate) repositories: Repositories,
    pub(crate) tasks: TaskGroup,
    pub(crate) ssh: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) fingerprint: String,
    pub(crate) folder: TempDir,
}

pub(crate) fn git_settings(folder: &Path, limits: Limits) -> Settings {
    Settings {
        folder: folder.join("git"),
        program: vec![OsString::from(env!("CARGO_BIN_EXE_pilvi-git-hook"))],
        limits,
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), SshLimits::default()).await
    }

    pub(crate) async fn with(limits: Limits, ssh_limits: SshLimits) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pilvi-git-test-")
            .tempdir()
            .unwrap();
        let repositories = Repositories::open(&folder.path().join("mar")).unwrap();
        let deployer = Arc::new(TestDeployer {
            repositories: repositories.clone(),
            mood: Mutex::default(),
            seen: Mutex::default(),
            begun: Semaphore::new(0),
            go: Notify::new(),
            abandoned: Semaphore::new(0),
        });
        let gatekeeper = Arc::new(TestGatekeeper::default());
        let tasks = TaskGroup::new();
        let git = Git::start(
            git_settings(folder.path(), limits),
            repositories.clone(),
            gatekeeper.clone(),
            deployer.clone(),
            tasks.clone(),
        )
        .await
        .unwrap();
        let host_key = HostKey::open(&folder.path().join("git/host_key")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ssh = listener.local_addr().unwrap();
        let server = SshServer::new(git.clone(), &host_key, ssh_limits);
        tasks.spawn("ssh", server.serve(listener, tasks.clone()));
        let http = serve_http(git, tasks.clone()).await;
        let server = Self {
            deployer,
            gatekeeper,
            repositories,
            tasks,
            ssh,
            http,
            fingerprint: host_key.fingerprint(),
            folder,
        };
        server.make_key("id", &["-t", "ed25519"]).await;
        server.let_in("id");
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn make_key(&self, name: &str, arguments: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "ada@laptop", "-f"]);
        command.arg(self.path(name)).args(arguments);
        succeeded(&command.output().await.unwrap());
    }

    /// Makes a key known.
    pub(crate) fn let_in(&self, name: &str) {
        let text = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        let key = PublicKey::parse(&text).unwrap();
        let mut keys = self.gatekeeper.keys.lock().unwrap();
        keys.insert(key.fingerprint, person());
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.deployer.mood.lock().unwrap() = mood;
    }

    /// The branches that were deployed, in order.
    pub(crate) fn deployed(&self) -> Vec<String> {
        let seen = self.deployer.seen.lock().unwrap();
        seen.iter()
            .map(|(push, _)| push.deploy.branch.clone())
            .collect()
    }

    pub(crate) async fn begun(&self) {
        let begun = soon("a push begins", self.deployer.begun.acquire()).await;
        begun.unwrap().forget();
    }

    pub(crate) fn ssh_url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}/{APP}", self.ssh.port())
    }

    pub(crate) fn http_url(&self) -> String {
        format!(
            "http://any:{TOKEN}@127.0.0.1:{}/git/{APP}",
            self.http.port()
        )
    }

    pub(crate) fn urls(&self) -> [String; 2] {
        [self.ssh_url(), self.http_url()]
    }

    /// How `ssh` is called, with this key.
    pub(crate) fn ssh_command(&self, key: &str) -> String {
        format!(
            "ssh -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={} \
             -o LogLevel=ERROR -F none",
            self.path(key).display(),
            self.path("known_hosts").display()
        )
    }

    /// `git` as a developer runs it, in a folder below the test's own.
    pub(crate) fn git(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(self.path(folder))
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.path("gitconfig"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", self.ssh_command("id"))
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.org")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.org")
            .env_remove("GIT_DIR")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, folder: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.git(folder, arguments);
        soon(&arguments.join(" "), command.output()).await.unwrap()
    }

    /// What git says, on both channels; it must succeed.
    pub(crate) async fn ok(&self, folder: &str, arguments: &[&str]) -> String {
        succeeded(&self.run(folder, arguments).await)
    }

    /// What git says; it must fail.
    pub(crate) async fn fails(&self, folder: &str, arguments: &[&str]) -> String {
        let outcome = self.run(folder, arguments).await;
        let said = said(&outcome);
        assert!(
            !outcome.status.success(),
            "git {arguments:?} succeeded: {said}"
        );
        said
    }

    /// A work folder with one commit on `master`.
    pub(crate) async fn work(&self, name: &str) {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self.ok(name, &["init", "-q", "-b", "master"]).await;
        self.commit(name, "hello.txt", "hello").await;
    }

    pub(crate) async fn commit(&self, folder: &str, file: &str, text: &str) {
        std::fs::write(self.path(folder).join(file), text).unwrap();
        self.ok(folder, &["add", "."]).await;
        self.ok(folder, &["commit", "-q", "-m", text]).await;
    }

    /// What the server's repository says a name is.
    pub(crate) async fn served(&self, name: &str) -> Option<String> {
        let repository = self.path("mar").join(APP).join("repository.git");
        let mut command = self.git(".", &["--git-dir"]);
        command
            .arg(repository)
            .args(["rev-parse", "--verify", "-q", name]);
        let outcome = command.output().await.unwrap();
        let text = String::from_utf8(outcome.stdout).unwrap();
        outcome.status.success().then(|| text.trim().to_owned())
    }

    pub(crate) async fn head_of(&self, folder: &str) -> String {
        self.ok(folder, &["rev-parse", "HEAD"])
            .await
            .trim()
            .to_owned()
    }

    /// Folders in which a push keeps what is not accepted yet.
    pub(crate) fn quarantines(&self) -> Vec<PathBuf> {
        let objects = self.path("mar").join(APP).join("repository.git/objects");
        let entries = std::fs::read_dir(objects).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("incoming-")
            })
            .collect()
    }

    /// Waits until no git process of this server is left.
    pub(crate) async fn quiet(&self) {
        let mark = format!(
            "PILVI_REPOSITORY={}",
            self.path("mar").canonicalize().unwrap().display()
        );
        soon("git ends", async {
            while processes_with(&mark) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    pub(crate) fn push_in_background(&self, folder: &str, url: &str) -> Child {
        let mut command = self.git(folder, &["push", url, "master"]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Whether there is a process with these words in its environment.
pub(crate) fn processes_with(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().any(|entry| {
        let path = entry.unwrap().path().join("environ");
        let environment = std::fs::read(path).unwrap_or_default();
        environment
            .windows(mark.len())
            .any(|window| window == mark.as_bytes())
    })
}

pub(crate) fn said(outcome: &Outcome) -> String {
    let text = [&outcome.stdout[..], &outcome.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn succeeded(outcome: &Outcome) -> String {
    let said = said(outcome);
    assert!(outcome.status.success(), "{}: {said}", outcome.status);
    said
}

/// The HTTP door alone, on a listener of its own.
async fn serve_http(git: Git, tasks: TaskGroup) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = tasks.clone();
    tasks.spawn("http", async move {
        loop {
            let (stream, peer) = tokio::select! {
                () = group.stopping() => return,
                accepted = listener.accept() => accepted.unwrap(),
            };
            let git = git.clone();
            let service = service_fn(move |request| {
                let git = git.clone();
                async move { Ok::<_, Infallible>(git.answer("/git/", peer.ip(), request).await) }
            });
            let stopping = group.clone();
            group.spawn("connection", async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stopping.stopping() => {}
                    _ = connection => {}
                }
            });
        }
    });
    address
}

/// Reads what a client says until it has said this.
pub(crate) async fn until_said(child: &mut Child, words: &str) -> String {
    let stderr = child.stderr.as_mut().unwrap();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    soon(words, async {
        while !said.contains(words) {
            let read = stderr.read(&mut buffer).await.unwrap();
            assert!(
                read > 0,
                "the client has ended without saying {words:?}: {said}"
            );
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    })
    .await;
    said
}

/// Waits for a client's end, and says whether it succeeded and what else it said.
pub(crate) async fn ended(child: Child) -> (bool, String) {
    let outcome = soon("the client ends", child.wait_with_output())
        .await
        .unwrap();
    (outcome.status.success(), said(&outcome))
}

/// Kills a client with all its helpers, as a closed laptop does.
pub(crate) async fn kill_all(child: &mut Child) {
    let group = i32::try_from(child.id().unwrap()).unwrap();
    let group = rustix::process::Pid::from_raw(group).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    child.wait().await.unwrap();
}
