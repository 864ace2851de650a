//! A server with an app that runs, on one folder and at one address for every start.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use pilvi_e2e::app::{App, Source};
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::wait;
use tempfile::TempDir;

use crate::leftovers::Traces;
use crate::{leftovers, sources};

/// How long anything may take that is not waited for by its own limit.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) data: PathBuf,
    addresses: [SocketAddr; 2],
    more: Vec<String>,
    pub(crate) app: App,
    pub(crate) source: Source,
    pub(crate) traces: Traces,
    _folder: Option<TempDir>,
}

impl World {
    /// Starts a server with these arguments beside the usual ones, and runs the first version on it.
    #[track_caller]
    pub(crate) fn new(more: &[&str]) -> Option<(Self, Server)> {
        let folder = TempDir::new().unwrap();
        let data = folder.path().to_owned();
        Self::on(&data, Some(folder), more)
    }

    /// The same in this folder.
    #[track_caller]
    pub(crate) fn on(
        data: &Path,
        folder: Option<TempDir>,
        more: &[&str],
    ) -> Option<(Self, Server)> {
        if !leftovers::can_be_seen() {
            return None;
        }
        let source = sources::first()?;
        let own = own_address();
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let server = start(data, [own; 2], &more);
        let app = App::create(&server, "faulty");
        app.set(&[sources::BUILDPACK]);
        let world = Self {
            data: data.to_owned(),
            addresses: [server.http, server.https()],
            more,
            app,
            source,
            traces: Traces::of(data),
            _folder: folder,
        };
        world.app.deploy(&world.source);
        world.must_serve("1");
        world.traces.expect_some();
        Some((world, server))
    }

    /// Starts the server again.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        start(&self.data, self.addresses, &self.more)
    }

    /// Starts the server again, and kills it as soon as its log says this.
    #[track_caller]
    pub(crate) fn start_and_kill(&self, sign: &str) {
        let options = options(&self.data, self.addresses, &self.more);
        Server::start_and_kill(&options, sign);
        self.traces.expect_no_processes();
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// A request to the app.
    #[track_caller]
    pub(crate) fn get(&self) -> Reply {
        self.request().send(self.http())
    }

    pub(crate) fn request(&self) -> Request {
        Request::get("/")
            .header("Host", self.app.host())
            .header("Connection", "close")
    }

    /// Waits until the app answers, and expects it to be this version.
    #[track_caller]
    pub(crate) fn must_serve(&self, version: &str) {
        let answer = || Some(self.get()).filter(|reply| reply.status != 503);
        let reply = wait::until("the app to answer", SOON, answer);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text(), format!("version {version}\n"));
    }

    /// Starts a push.
    #[track_caller]
    pub(crate) fn push(&self) -> Client {
        Client::start("git push", &mut self.app.push_command(&self.source))
    }

    /// Pushes and expects to be rejected, with these words among others, while version 1 goes on.
    #[track_caller]
    pub(crate) fn must_be_rejected(&self, words: &[&str]) -> String {
        let ended = self.app.push(&self.source);
        rejected(&ended, words);
        self.must_serve("1");
        ended.errors
    }

    /// Pushes a version that is in order.
    #[track_caller]
    pub(crate) fn must_deploy(&self, version: &str) {
        for (name, content) in [
            ("Procfile", sources::PROCFILE),
            ("build.sh", "echo Nothing to do\n"),
        ] {
            fs::write(self.source.path().join(name), content).unwrap();
        }
        self.source.write("version", &format!("{version}\n"));
        self.app.deploy(&self.source);
        self.must_serve(version);
        self.must_be_at(&self.source.head());
    }

    /// Expects the branch to be there.
    #[track_caller]
    pub(crate) fn must_be_at(&self, commit: &str) {
        assert_eq!(self.app.branch(&self.source), commit);
    }

    /// Waits for words in the app's log.
    #[track_caller]
    pub(crate) fn must_log(&self, words: &str) {
        let what = format!("{words:?} in the log");
        wait::until(&what, SOON, || self.app.log().contains(words).then_some(()));
    }

    /// The folder of the app.
    pub(crate) fn folder(&self) -> PathBuf {
        self.data.join("mar").join(&self.app.id)
    }

    /// Waits for a file that a build makes in its cache.
    #[track_caller]
    pub(crate) fn must_mark(&self, name: &str) {
        let mark = self.folder().join("cache").join(name);
        let what = format!("{} to be made", mark.display());
        wait::until(&what, SOON, || mark.exists().then_some(()));
    }

    /// Expects this release to be the newest one that was put into service.
    #[track_caller]
    pub(crate) fn must_be_at_release(&self, number: u32) {
        assert_eq!(self.app.show()["release"], number);
    }

    /// After a fault: nothing is left of it beside what serves, another push works, and after the server's end
    /// nothing is left at all.
    #[track_caller]
    pub(crate) fn must_be_in_order(&self, server: Server) {
        self.traces.expect_tidy(&self.folder());
        self.must_deploy("9");
        self.traces.expect_tidy(&self.folder());
        assert!(!server.log().contains("panicked"), "{}", server.log());
        server.stop();
        self.traces.expect_none();
        self.traces.expect_settled(&self.data, &self.folder());
    }
}

/// Expects a push to have failed with these words.
#[track_caller]
pub(crate) fn rejected(ended: &Ended, words: &[&str]) {
    assert!(!ended.status.success(), "{}", ended.report());
    for word in words {
        assert!(
            ended.errors.contains(word),
            "{word:?} is missing\n{}",
            ended.report()
        );
    }
}

#[track_caller]
fn start(data: &Path, addresses: [SocketAddr; 2], more: &[String]) -> Server {
    Server::start(&options(data, addresses, more))
}

fn options(data: &Path, [http, https]: [SocketAddr; 2], more: &[String]) -> Options {
    Options {
        http,
        https,
        data: Some(data.to_owned()),
        more: more.to_vec(),
        ..Options::serve()
    }
}

/// A loopback address of its own, so that nobody takes the ports between two starts.
fn own_address() -> SocketAddr {
    static STARTED: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let started = STARTED.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 80 + started, high, low.clamp(1, 254)], 0))
}
