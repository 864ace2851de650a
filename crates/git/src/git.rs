//! What both doors share: who may do what, and how many git processes there are at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_base::secret::{random_hex, sha256};
use pilvi_model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::command::git;
use crate::conversation::{Conversation, Work};
use crate::hook::{HOOK_WORD, SOCKET_FOLDER, TOKEN};
use crate::receive::{self, Reception};
use crate::turns::{Lane, Turns};
use crate::{Access, Deployer, Gatekeeper, Pusher, Repositories};

/// Pushes and fetches, whichever door they come through. Cloning gives another handle.
#[derive(Clone)]
pub struct Git {
    pub(crate) shared: Arc<Shared>,
}

/// Where things are, and how much of everything there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder of its own for the hook and the socket that it calls back through.
    pub folder: PathBuf,
    /// The program that [`crate::take_over`] is called in, with the words before [`HOOK_WORD`] if there are any.
    pub program: Vec<OsString>,
    pub limits: Limits,
}

/// Bounds of pushes and fetches.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest push, as it travels.
    pub push_bytes_max: u64,
    /// The largest repository. One that is larger takes no push until it is reset.
    pub repository_bytes_max: u64,
    /// Git processes at once that serve clients.
    pub processes_max: usize,
    /// The same for one app.
    pub processes_per_app_max: usize,
    /// How long a client waits until it can have one.
    pub process_timeout: Duration,
    /// Pushes of one app that wait for the one that is being deployed.
    pub waiting_max: usize,
    /// How long each of them waits at most.
    pub turn_timeout: Duration,
    /// A client and git that have nothing to say to each other for so long are parted.
    pub stall_timeout: Duration,
    /// How long a push may go on after its client has gone, to end in good order.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            push_bytes_max: 512 << 20,
            repository_bytes_max: 2 << 30,
            processes_max: 32,
            processes_per_app_max: 8,
            process_timeout: Duration::from_secs(10),
            waiting_max: 4,
            turn_timeout: Duration::from_secs(30 * 60),
            stall_timeout: Duration::from_secs(5 * 60),
            farewell: Duration::from_secs(30),
        }
    }
}

/// How long cleaning up one repository may take.
const TIDYING_TIMEOUT: Duration = Duration::from_secs(15 * 60);

pub(crate) struct Shared {
    pub(crate) repositories: Repositories,
    pub(crate) gatekeeper: Arc<dyn Gatekeeper>,
    pub(crate) deployer: Arc<dyn Deployer>,
    pub(crate) tasks: TaskGroup,
    pub(crate) limits: Limits,
    folder: PathBuf,
    processes: Arc<Semaphore>,
    turns: Turns,
    tidying: Arc<Semaphore>,
    /// Pushes whose hook has not called yet, by the digest of its token. A plain mutex: held for one look-up.
    receptions: Mutex<HashMap<[u8; 32], Arc<Reception>>>,
}

/// What a client asks git for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Clone and fetch.
    Upload,
    /// Push.
    Receive,
}

impl Service {
    /// By the name of git's program.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Self::Upload),
            "git-receive-pack" => Some(Self::Receive),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upload => "git-upload-pack",
            Self::Receive => "git-receive-pack",
        }
    }

    pub(crate) fn access(self) -> Access {
        match self {
            Self::Upload => Access::Read,
            Self::Receive => Access::Write,
        }
    }
}

/// How git is to speak with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One conversation, as over SSH.
    Conversation,
    /// Only what there is to fetch or to replace, the first half over HTTP.
    Advertisement,
    /// One request with one reply, the second half over HTTP.
    Exchange,
}

/// A request for git, from somebody who was recognised.
pub(crate) struct Wish<'a> {
    pub(crate) service: Service,
    pub(crate) manner: Manner,
    pub(crate) app: &'a str,
    pub(crate) pusher: Pusher,
    /// Where they are.
    pub(crate) peer: IpAddr,
    /// What the client says of the protocol versions it knows.
    pub(crate) protocol: Option<&'a str>,
}

impl Git {
    /// Prepares the hook and waits for its calls. What processes of an earlier run left behind is cleared away.
    pub async fn start(
        settings: Settings,
        repositories: Repositories,
        gatekeeper: Arc<dyn Gatekeeper>,
        deployer: Arc<dyn Deployer>,
        tasks: TaskGroup,
    ) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&settings.folder)?;
        let folder = settings.folder.canonicalize()?;
        write_hook(&folder, &settings.program)?;
        try_hook(&folder).await?;
        let listener = receive::bind(&folder)?;
        let limits = settings.limits;
        let shared = Shared {
            repositories,
            gatekeeper,
            deployer,
            tasks: tasks.clone(),
            folder,
            processes: Arc::new(Semaphore::new(limits.processes_max)),
            turns: Turns::new(limits.waiting_max),
            tidying: Arc::new(Semaphore::new(1)),
            receptions: Mutex::default(),
            limits,
        };
        let git = Self {
            shared: Arc::new(shared),
        };
        tasks.spawn(
            "git hook",
            receive::listen(Arc::clone(&git.shared), listener),
        );
        Ok(git)
    }

    /// Starts git for a client, if they may.
    pub(crate) async fn begin(&self, wish: Wish<'_>) -> Result<Conversation> {
        let shared = &self.shared;
        let access = wish.service.access();
        shared
            .gatekeeper
            .may(&wish.pusher, wish.app, access)
            .await?;
        let place = shared.place(wish.app).await?;
        shared.repositories.create(wish.app).await?;
        if wish.service == Service::Receive && wish.manner != Manner::Advertisement {
            shared.check_room(wish.app).await?;
        }
        self.run(&wish, place).map_err(Error::internal)
    }

    fn run(&self, wish: &Wish<'_>, place: Place) -> io::Result<Conversation> {
        let shared = &self.shared;
        let push_bytes_max = shared.limits.push_bytes_max.to_string();
        let hooks = shared.folder.join("hooks");
        let hooks = hooks.to_str().ok_or_else(not_utf_8)?;
        let more = [
            ("receive.maxInputSize", push_bytes_max.as_str()),
            ("core.hooksPath", hooks),
        ];
        let mut command = git(&shared.repositories.path(wish.app)?, &more);
        match wish.service {
            Service::Upload => command.args(["upload-pack", "--strict"]),
            Service::Receive => command.arg("receive-pack"),
        };
        match wish.manner {
            Manner::Conversation => {}
            Manner::Exchange => drop(command.arg("--stateless-rpc")),
            Manner::Advertisement => {
                command.args(["--stateless-rpc", "--http-backend-info-refs"]);
            }
        }
        command.arg(".");
        if let Some(protocol) = wish.protocol.filter(|text| is_protocol(text)) {
            command.env("GIT_PROTOCOL", protocol);
        }
        let mut work = Work {
            shared: Arc::clone(shared),
            app: wish.app.to_owned(),
            _place: place,
            reception: None,
        };
        if wish.service == Service::Receive && wish.manner != Manner::Advertisement {
            let token = random_hex::<32>();
            command
                .env(SOCKET_FOLDER, &shared.folder)
                .env(TOKEN, &token);
            work.reception = Some(Expected::new(shared, &token, wish));
        }
        Conversation::start(command, work)
    }
}

/// The right to run one process for an app.
pub(crate) struct Place {
    _process: OwnedSemaphorePermit,
    _of_app: OwnedSemaphorePermit,
}

/// A push whose hook is expected to call, until this is dropped.
pub(crate) struct Expected {
    shared: Arc<Shared>,
    digest: [u8; 32],
    pub(crate) reception: Arc<Reception>,
}

impl Expected {
    fn new(shared: &Arc<Shared>, token: &str, wish: &Wish<'_>) -> Self {
        let reception = Arc::new(Reception {
            app: wish.app.to_owned(),
            pusher: wish.pusher.clone(),
            peer: wish.peer,
            abandoned: CancellationToken::new(),
            progress: Mutex::default(),
        });
        let digest = sha256(token.as_bytes());
        shared.receptions().insert(digest, Arc::clone(&reception));
        Self {
            shared: Arc::clone(shared),
            digest,
            reception,
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.reception.abandoned.cancel();
        self.shared.receptions().remove(&self.digest);
    }
}

impl Shared {
    /// The push that this token was made for; it is good for one call.
    pub(crate) fn take_reception(&self, token: &str) -> Option<Arc<Reception>> {
        self.receptions().remove(&sha256(token.as_bytes()))
    }

    fn receptions(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Reception>>> {
        self.receptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How the pushes of this app go one after the other.
    pub(crate) fn lane(&self, app: &str) -> Arc<Lane> {
        self.turns.lane(app, self.limits.processes_per_app_max)
    }

    async fn place(&self, app: &str) -> Result<Place> {
        let of_app = Arc::clone(&self.lane(app).processes);
        let all = Arc::clone(&self.processes);
        let places = async {
            let of_app = of_app.acquire_owned().await.ok()?;
            let process = all.acquire_owned().await.ok()?;
            Some(Place {
                _process: process,
                _of_app: of_app,
            })
        };
        let found = tokio::time::timeout(self.limits.process_timeout, places).await;
        found.ok().flatten().ok_or_else(|| {
            Error::unavailable(
                "There are too many pushes and fetches at the moment. Try again in a minute.",
            )
        })
    }

    /// Has git clean up in the background, if it finds that worth while. One repository at a time.
    pub(crate) fn tidy(self: &Arc<Self>, app: &str) {
        let Ok(repository) = self.repositories.path(app) else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.tidying).try_acquire_owned() else {
            return;
        };
        let tasks = self.tasks.clone();
        self.tasks.spawn("git gc", async move {
            let _permit = permit;
            let mut command = git(&repository, &[]);
            command.args(["gc", "--auto", "--quiet"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else {
                return;
            };
            tokio::select! {
                _ = child.wait() => {}
                () = tokio::time::sleep(TIDYING_TIMEOUT) => {}
                () = tasks.stopping() => {}
            }
        });
    }

    async fn check_room(&self, app: &str) -> Result<()> {
        let (size, most) = (
            self.repositories.size(app).await?,
            self.limits.repository_bytes_max,
        );
        if size <= most {
            return Ok(());
        }
        Err(Error::too_large(format!(
            "The repository of {app} takes {} MB, and {} MB is the most. Empty it with the command mar repo:reset, \
             which leaves the app running, then push again.",
            size >> 20,
            most >> 20
        )))
    }
}

/// Whether this is what git's clients say of protocol versions, such as `version=2`.
fn is_protocol(text: &str) -> bool {
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"=:.-_".contains(&byte);
    text.len() <= 64 && text.bytes().all(clean)
}

fn not_utf_8() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the path of the data folder must be UTF-8",
    )
}

/// Puts the one hook into place: this program again, which then only carries words between git and the server.
fn write_hook(folder: &Path, program: &[OsString]) -> io::Result<()> {
    let mut script = String::from("#!/bin/sh\nexec").into_bytes();
    let words = program.iter().map(OsString::as_os_str);
    for word in words.chain([HOOK_WORD.as_ref()]) {
        script.extend(b" ");
        script.extend(quoted(word.as_bytes()));
    }
    script.extend(b" \"$@\"\n");
    let hooks = folder.join("hooks");
    std::fs::create_dir_all(&hooks)?;
    let hook = hooks.join("pre-receive");
    // A server whose disk is full must be able to start all the same.
    let is_whole = || -> io::Result<bool> {
        let mode = std::fs::metadata(&hook)?.permissions().mode();
        Ok(mode & 0o777 == 0o700 && std::fs::read(&hook)? == script)
    };
    if is_whole().unwrap_or(false) {
        return Ok(());
    }
    let draft = folder.join(format!(".draft-{}", random_hex::<8>()));
    put_in_place(&script, &draft, &hook).inspect_err(|_| {
        // It is the first fault that is told.
        let _ = std::fs::remove_file(&draft);
    })
}

fn put_in_place(script: &[u8], draft: &Path, hook: &Path) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(draft)?;
    io::Write::write_all(&mut file, script)?;
    drop(file);
    std::fs::set_permissions(draft, std::fs::Permissions::from_mode(0o700))?;
    std::fs::rename(draft, hook)
}

/// A word as the shell reads it back.
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in word {
        match byte {
            b'\'' => out.extend(br"'\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
    out
}

/// How often the hook is tried.
const TRIALS: usize = 50;

/// Git passes over a hook that cannot be run, and then every push would be taken and none deployed. So it is run once
/// before the first push.
async fn try_hook(folder: &Path) -> io::Result<()> {
    let hook = folder.join("hooks/pre-receive");
    for _ in 0..TRIALS {
        let tried = tokio::process::Command::new(&hook)
            .arg("check")
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(Duration::from_secs(10), tried).await {
            Ok(Ok(output)) if output.status.success() && output.stdout == b"ready\n" => {
                return Ok(());
            }
            // A process that was started while the hook was written has it open for a moment.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => break,
        }
    }
    Err(io::Error::other(format!(
        "the git hook `{}` cannot be run; the data folder must not be on a file system that is mounted noexec",
        hook.display()
    )))
}
