//! A runtime of its own for every test.

use std::io::{PipeReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use pilvi_runtime::{
    Door, Exec, Exit, Limits, NetworkSettings, Runtime, Sandbox, Settings, Spec, Stacks,
};

/// The executable that is the helper, and the program of many sandboxes.
pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_pilvi-runtime-helper");

/// Where sandboxes see the helper's folder.
pub(crate) const HELPER_INSIDE: &str = "/probe/pilvi-runtime-helper";

/// Whether sandboxes can be made here. Says so loudly when not; in CI that is a failure.
pub(crate) fn is_possible() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("this test makes sandboxes as root");
    }
    is_root
}

/// Says loudly that a test does not run here, and why. CI has everything, so there it is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests reads it")]
pub(crate) fn skip(why: &str) {
    assert!(!is_ci(), "skipped: {why}");
    eprintln!("SKIPPED: {why}");
}

#[expect(clippy::disallowed_methods, reason = "a test is a door")]
fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) prefix: String,
    has_ended: bool,
    _turn: UnixListener,
}

/// A test that fails leaves no sandbox and no firewall behind either.
impl Drop for World {
    fn drop(&mut self) {
        if !self.has_ended {
            let stop = || tokio::runtime::Handle::current().block_on(self.runtime.stop());
            tokio::task::block_in_place(stop);
        }
    }
}

/// Waits while another run of the tests uses this prefix: a runtime takes what it finds under its own for leftovers.
pub(crate) async fn wait_for_turn(prefix: &str) -> UnixListener {
    let name = SocketAddr::from_abstract_name(prefix).unwrap();
    for _ in 0..6000 {
        match UnixListener::bind_addr(&name) {
            Ok(turn) => return turn,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("another run of the tests does not end");
}

/// What a program prints, read as it comes so that it never waits.
pub(crate) struct Output(JoinHandle<String>);

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        Self::with_doors(name, Vec::new()).await
    }

    pub(crate) async fn with_doors(name: &str, doors: Vec<Door>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = format!("pilvi-test-{name}");
        let turn = wait_for_turn(&prefix).await;
        let settings = Settings {
            folder: folder.path().join("scratch"),
            // The prefix lets tests find the helper of their own.
            helper: vec![HELPER.into(), "sandbox".into(), prefix.clone().into()],
            prefix: prefix.clone(),
            required: Vec::new(),
            network: NetworkSettings::default(),
            doors,
        };
        let runtime = Runtime::start(settings).await.unwrap();
        Self {
            folder,
            runtime,
            prefix,
            has_ended: false,
            _turn: turn,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder of the host that belongs to the user behind a sandbox.
    pub(crate) fn folder(&self, name: &str, uid: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
        path
    }

    /// A sandbox that runs `argv`; the rest can be changed before the launch.
    pub(crate) fn spec(&self, argv: &[&str]) -> (Spec, Output) {
        let (output, stdout, stderr) = Output::new();
        let stack = Stacks::open(self.path("stacks")).host().unwrap();
        let spec = Spec {
            name: "app/web.1".into(),
            uid: 200_001,
            stack,
            mounts: vec![pilvi_runtime::Mount {
                at: "/probe".into(),
                from: pilvi_runtime::From::Folder {
                    path: Path::new(HELPER).parent().unwrap().to_owned(),
                    writable: false,
                },
            }],
            argv: words(argv),
            env: path_only(),
            cwd: "/".into(),
            limits: Limits::default(),
            network: false,
            hostname: "web-1".into(),
            stdin: None,
            stdout,
            stderr,
        };
        (spec, output)
    }

    /// Runs a program to its end; returns what it printed.
    pub(crate) async fn run(&self, argv: &[&str]) -> (Exit, String) {
        let (spec, output) = self.spec(argv);
        let sandbox = self.launch(spec).await;
        let exit = sandbox.exited().await;
        (exit, output.text())
    }

    /// Runs a line of shell to its end.
    pub(crate) async fn shell(&self, line: &str) -> (Exit, String) {
        self.run(&["sh", "-c", line]).await
    }

    pub(crate) async fn launch(&self, spec: Spec) -> Sandbox {
        match self.runtime.launch(spec).await {
            Ok(sandbox) => sandbox,
            Err(failure) => panic!("{}", failure.sentence()),
        }
    }

    /// Everything of this world ends; nothing may be left.
    pub(crate) async fn end(mut self) {
        self.runtime.stop().await;
        self.has_ended = true;
        assert_eq!(
            processes_of(&self.prefix),
            Vec::<u32>::new(),
            "processes are left"
        );
        assert_eq!(
            groups_of(&self.prefix),
            Vec::<PathBuf>::new(),
            "cgroups are left"
        );
    }
}

impl Output {
    pub(crate) fn new() -> (Self, std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
        let (mut reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
        let errors = writer.try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        (Self(reading), writer.into(), errors.into())
    }

    /// All of it, once nobody can print any more.
    pub(crate) fn text(self) -> String {
        self.0.join().unwrap()
    }
}

/// Another program for a running sandbox.
pub(crate) fn exec(argv: &[&str]) -> (Exec, Output) {
    let (output, stdout, stderr) = Output::new();
    let exec = Exec {
        argv: words(argv),
        env: path_only(),
        cwd: "/".into(),
        stdin: None,
        stdout,
        stderr,
    };
    (exec, output)
}

/// Runs another program in a sandbox to its end.
pub(crate) async fn exec_to_end(sandbox: &Sandbox, argv: &[&str]) -> (Exit, String) {
    let (order, output) = exec(argv);
    let exit = sandbox.exec(order).await.unwrap().exited().await;
    (exit, output.text())
}

pub(crate) fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

fn path_only() -> Vec<(String, String)> {
    vec![("PATH".into(), "/usr/bin:/bin".into())]
}

/// The processes of the host that are in a cgroup of this prefix. Those that have ended and that only the host's first
/// process has not heard of yet are none.
pub(crate) fn processes_of(prefix: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &u32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let has_ended = stat
            .rsplit_once(')')
            .is_none_or(|(_, rest)| rest.starts_with(" Z"));
        groups.contains(&format!("/{prefix}/")) && !has_ended
    };
    pids.filter(is_ours).collect()
}

/// The cgroups of sandboxes that are left below this prefix, in every tree.
pub(crate) fn groups_of(prefix: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let trees = std::fs::read_dir(root)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let places = trees.chain([root.to_owned()]).map(|tree| tree.join(prefix));
    let below = |place: PathBuf| std::fs::read_dir(place).ok();
    let entries = places
        .filter_map(below)
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.is_dir() && !path.ends_with("daemon"))
        .collect()
}
