//! A supervisor with everything around it: store, journal, router, and a launcher.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_edge::{Edge, Ends};
use pilvi_mar::journal::{self, Entry, Filter, Flood, Journal, Page};
use pilvi_mar::supervisor::launcher::Launcher;
use pilvi_mar::supervisor::{Foundation, Pace, Sandboxes, Settings, Supervisor};
use pilvi_mar::{Addresses, Folders, Limits, ProcessState, ProcessStatus, Processes};
use pilvi_model::app::{ProcessTypes, Size, StackName};
use pilvi_model::{AccountId, AppId, Instance, PersonId, Provider, Result, Timestamp};
use pilvi_runtime::{NetworkSettings, Runtime, Stacks};
use pilvi_store::Store;
use pilvi_store::platform::{
    Account, BuiltSlug, FirstRecords, Holder, NewRelease, NewSlug, NewToken, Origin, Person, Wanted,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::double::PlainProcesses;

/// How a test runs its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As plain processes of this machine.
    Plain,
    /// In sandboxes, as everywhere else.
    Sandbox,
}

impl Kind {
    /// Both, where sandboxes can be made.
    pub(crate) fn all() -> Vec<Self> {
        [Self::Plain, Self::Sandbox]
            .into_iter()
            .filter(|kind| kind.is_possible())
            .collect()
    }

    /// Says loudly when not; in CI that is a failure.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests reads it")]
    pub(crate) fn is_possible(self) -> bool {
        let is_possible = self == Self::Plain || rustix::process::geteuid().is_root();
        if !is_possible {
            assert!(!is_ci(), "these tests make sandboxes as root");
            eprintln!("SKIPPED: this test makes sandboxes as root");
        }
        is_possible
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is a door")]
fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// A test that fails leaves no sandbox and no firewall behind either.
struct Sandboxing {
    runtime: Runtime,
    has_ended: bool,
}

impl Drop for Sandboxing {
    fn drop(&mut self) {
        if !self.has_ended {
            let stop = || tokio::runtime::Handle::current().block_on(self.runtime.stop());
            tokio::task::block_in_place(stop);
        }
    }
}

/// How long a test waits for something that is about to happen.
const PATIENCE: Duration = Duration::from_secs(30);

static MADE: AtomicU32 = AtomicU32::new(0);

/// What stays when the server stops: the data folder.
pub(crate) struct Ground {
    pub(crate) folder: tempfile::TempDir,
    kind: Kind,
    account: AccountId,
}

/// A running server's part that runs apps, with one app.
pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) app: AppId,
    pub(crate) store: Store,
    pub(crate) supervisor: Supervisor,
    pub(crate) journal: Journal,
    pub(crate) folders: Folders,
    pub(crate) tasks: TaskGroup,
    pub(crate) router: SocketAddr,
    keyring: Keyring,
    sandboxing: Option<Sandboxing>,
}

pub(crate) fn quick() -> Settings {
    Settings {
        boot_timeout: Duration::from_secs(20),
        stop_grace: Duration::from_secs(5),
        drain_patience: Duration::from_secs(5),
        pace: Pace {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(1),
            healthy: Duration::from_secs(60),
        },
        exec_timeout: Duration::from_secs(5),
        exec_output_max_bytes: 100_000,
        ..Settings::default()
    }
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, quick()).await
    }

    pub(crate) async fn with(kind: Kind, settings: Settings) -> Self {
        let ground = Ground {
            folder: tempfile::tempdir().unwrap(),
            kind,
            account: AccountId::random(),
        };
        let world = Self::open(ground, settings).await;
        world.insert_account().await;
        world.add_app(world.app.as_str()).await;
        world
    }

    /// What a server does at its start.
    async fn open(ground: Ground, settings: Settings) -> Self {
        let data = ground.folder.path();
        let tasks = TaskGroup::new();
        let store = Store::open(data, pilvi_store::Limits::default())
            .await
            .unwrap();
        let folders = Folders::open(&data.join("mar")).unwrap();
        let flood = Flood {
            lines_max: 500,
            ..Flood::default()
        };
        let journal_settings = journal::Settings {
            flood,
            ..journal::Settings::default()
        };
        let journal = Journal::open(folders.root(), Clock::system(), journal_settings).unwrap();
        let edge = Edge::new(
            pilvi_edge::Settings::default(),
            Arc::new(journal.clone()),
            tasks.clone(),
        );
        let router = serve(edge.clone(), &tasks).await;
        let sandboxing = match ground.kind {
            Kind::Plain => None,
            Kind::Sandbox => Some(Sandboxing {
                runtime: runtime(data.join("sandboxes")).await,
                has_ended: false,
            }),
        };
        let launcher: Arc<dyn Launcher> = match &sandboxing {
            None => PlainProcesses::new(tasks.clone()),
            Some(Sandboxing { runtime, .. }) => {
                let stacks = Stacks::open(data.join("stacks"));
                Arc::new(Sandboxes::new(runtime.clone(), stacks))
            }
        };
        let keyring = Keyring::from_bytes([7; 32]);
        let supervisor = Supervisor::new(Foundation {
            store: store.clone(),
            keyring: keyring.clone(),
            clock: Clock::system(),
            tasks: tasks.clone(),
            folders: folders.clone(),
            edge,
            journal: journal.clone(),
            launcher,
            addresses: addresses(router.port()),
            limits: Limits::default(),
            settings,
        });
        Self {
            app: "mar-eu-1-ab12cd34".parse().unwrap(),
            ground,
            store,
            supervisor,
            journal,
            folders,
            tasks,
            router,
            keyring,
            sandboxing,
        }
    }

    async fn insert_account(&self) {
        let person = PersonId::random();
        let token = |holder| NewToken {
            holder,
            digest: pilvi_base::secret::random_bytes(),
            generation: 0,
            name: None,
            created_at: now(),
            expires_at: None,
        };
        let account = self.ground.account;
        let first = FirstRecords {
            person_token: token(Holder::Person(person)),
            account_token: token(Holder::Member { account, person }),
            person: Person::new(person, "operator@localhost", "Somebody", now()),
            account: Account {
                id: account,
                name: "My Cloud".into(),
                datacenter: "eu-1".into(),
                vpc: true,
                created_at: now(),
            },
        };
        assert!(self.store.insert_first_records(first).await.unwrap());
    }

    pub(crate) async fn add_app(&self, id: &str) -> AppId {
        let instance = Instance {
            id: id.to_owned(),
            provider: Provider::Mar,
            account: self.ground.account,
            name: "echo".into(),
            tags: Vec::new(),
            config: serde_json::Map::new(),
            datacenter: "eu-1".into(),
            created_at: now(),
        };
        self.store.insert_instance(instance, 1000).await.unwrap();
        let token = NewToken {
            holder: Holder::Instance(id.to_owned()),
            digest: pilvi_base::secret::random_bytes(),
            generation: 0,
            name: None,
            created_at: now(),
            expires_at: None,
        };
        assert!(self.store.release_instance(id, token).await.unwrap());
        let app: AppId = id.parse().unwrap();
        self.store
            .insert_app(&app, Size::MINI, &StackName::default())
            .await
            .unwrap();
        std::fs::create_dir_all(self.folders.slugs(&app)).unwrap();
        app
    }

    /// Stores a slug with the test programs in it, and a pending release of it.
    pub(crate) async fn release(&self, app: &AppId, procfile: &str, vars: &[(&str, &str)]) -> u32 {
        let types = ProcessTypes::from_procfile(procfile).unwrap();
        let new = NewSlug {
            app: app.clone(),
            tag: "v1".parse().unwrap(),
            origin: Origin::Git,
            process_types: types,
            stack: None,
            created_at: now(),
        };
        let slug = self.store.reserve_slug(new).await.unwrap();
        std::fs::write(self.folders.tarball(app, slug.id), tarball()).unwrap();
        self.store
            .finish_slug(slug.id, BuiltSlug::default())
            .await
            .unwrap()
            .unwrap();
        let vars: serde_json::Map<_, _> = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let vars = serde_json::to_vec(&vars).unwrap();
        let new = NewRelease {
            app: app.clone(),
            slug: slug.id,
            vars: self.keyring.seal(&format!("mar release {app}"), &vars),
            reason: "Deploy v1".into(),
            author: "somebody".into(),
            created_at: now(),
        };
        self.store.begin_release(new).await.unwrap().number
    }

    pub(crate) async fn deploy(&self, procfile: &str) -> Result<()> {
        self.deploy_with(procfile, &[]).await
    }

    pub(crate) async fn deploy_with(&self, procfile: &str, vars: &[(&str, &str)]) -> Result<()> {
        let release = self.release(&self.app, procfile, vars).await;
        self.supervisor.deploy(&self.app, release, &()).await
    }

    pub(crate) async fn scale(&self, counts: &[(&str, u32)]) {
        let counts = counts
            .iter()
            .map(|(name, count)| (name.parse().unwrap(), *count))
            .collect();
        self.store
            .scale(&self.app, counts, 100, u64::MAX)
            .await
            .unwrap();
        self.supervisor.apply(&self.app).await.unwrap();
    }

    pub(crate) async fn want(&self, wanted: Wanted) {
        self.store.set_app_wanted(&self.app, wanted).await.unwrap();
        self.supervisor.apply(&self.app).await.unwrap();
    }

    pub(crate) async fn settled(&self) {
        let settled = self.supervisor.settled(&self.app);
        tokio::time::timeout(PATIENCE, settled)
            .await
            .expect("it settles")
            .unwrap();
    }

    pub(crate) async fn status(&self) -> Vec<ProcessStatus> {
        self.supervisor.status(&self.app).await.unwrap()
    }

    /// Names and states, such as `web.1 running`.
    pub(crate) async fn states(&self) -> Vec<String> {
        let status = self.status().await;
        status
            .iter()
            .map(|row| format!("{} {}", row.name, row.state.as_str()))
            .collect()
    }

    pub(crate) async fn until_state(&self, name: &str, state: ProcessState) -> ProcessStatus {
        until(&format!("{name} {}", state.as_str()), async || {
            let status = self.status().await;
            status
                .into_iter()
                .find(|row| row.name.to_string() == name && row.state == state)
        })
        .await
    }

    pub(crate) async fn log(&self) -> Vec<Entry> {
        let page = Page {
            offset: 0,
            limit: 1000,
            filter: Filter::default(),
        };
        self.journal.read(&self.app, page).await.unwrap()
    }

    /// Waits for a line of the log that has this in it.
    pub(crate) async fn until_log(&self, part: &str) -> Entry {
        until(part, async || {
            self.log()
                .await
                .into_iter()
                .find(|entry| entry.text.contains(part))
        })
        .await
    }

    /// Status and body of a request to the app.
    pub(crate) async fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        get(self.router, &self.app, path).await
    }

    pub(crate) async fn body(&self) -> String {
        let (status, body) = self.get("/").await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Stops the server as a signal does.
    pub(crate) async fn stop(self) -> Ground {
        assert!(
            self.tasks.drain(Duration::from_secs(20)).await,
            "everything ends in time"
        );
        if let Some(mut sandboxing) = self.sandboxing {
            sandboxing.runtime.stop().await;
            sandboxing.has_ended = true;
        }
        self.ground
    }

    pub(crate) async fn start(ground: Ground) -> Self {
        let world = Self::open(ground, quick()).await;
        world.store.fail_pending_releases().await.unwrap();
        world.supervisor.recover().await.unwrap();
        world
    }
}

/// Waits until there is something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("this did not happen in time: {what}"))
}

pub(crate) async fn get(
    router: SocketAddr,
    app: &AppId,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(router).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((
        status.ok_or(std::io::ErrorKind::InvalidData)?,
        body.to_owned(),
    ))
}

/// The same over a connection that is kept for the next request.
pub(crate) async fn get_over(
    kept: &mut Option<BufReader<TcpStream>>,
    router: SocketAddr,
    app: &AppId,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(router).await?),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {app}.localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut status, mut length, mut closes) = (None, None, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
        length = length.or_else(|| line.strip_prefix("content-length: ")?.parse().ok());
        closes |= line == "connection: close";
    }
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut body = vec![0; length.ok_or_else(broken)?];
    stream.read_exact(&mut body).await?;
    *kept = (!closes).then_some(stream);
    Ok((
        status.ok_or_else(broken)?,
        String::from_utf8_lossy(&body).into_owned(),
    ))
}

/// The router at a port.
async fn serve(edge: Edge, tasks: &TaskGroup) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let local = listener.local_addr().unwrap();
    let group = tasks.clone();
    tasks.spawn("listener", async move {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                () = group.stopping() => return,
            };
            let (edge, stopping) = (edge.clone(), group.clone());
            group.spawn("connection", async move {
                let ends = Ends {
                    peer,
                    local,
                    secure: false,
                };
                tokio::select! {
                    _ = edge.serve(stream, BytesMut::new(), ends) => {}
                    () = stopping.stopping() => {}
                }
            });
        }
    });
    local
}

async fn runtime(folder: std::path::PathBuf) -> Runtime {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let started = Runtime::start(pilvi_runtime::Settings {
        folder,
        helper: vec![
            env!("CARGO_BIN_EXE_pilvi-mar-helper").into(),
            "sandbox".into(),
        ],
        prefix: format!("pilvi-run-{}-{number}", std::process::id()),
        required: Vec::new(),
        network: NetworkSettings::default(),
        doors: Vec::new(),
    });
    started
        .await
        .unwrap_or_else(|failure| panic!("{}", failure.sentence()))
}

fn addresses(http_port: u16) -> Addresses {
    Addresses {
        apps_domain: "localhost".into(),
        http_port,
        https_port: 0,
        ssh: None,
        https_origin: "https://localhost".into(),
        own_hosts: Vec::new(),
        own_names_are_known: true,
    }
}

/// A slug of what lies in `programs`.
fn tarball() -> Vec<u8> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(packed);
    for (path, content) in [
        ("server.pl", &include_bytes!("programs/server.pl")[..]),
        (".profile.d/b.sh", b"export PROFILE=\"${PROFILE}b\"\n"),
        (".profile.d/a.sh", b"export PROFILE=a\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_400_000_000_000)
}
