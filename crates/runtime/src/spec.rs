//! What a sandbox is made of, in plain data: what the callers of the crate say, and what its parts tell each other.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The uid and gid that every program in a sandbox has, as it sees it.
pub const INSIDE_ID: u32 = 5000;

/// The address inside every sandbox at which Pilvi's own doors answer.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 80, 1);

/// A sandbox to start and the program to run in it.
#[derive(Debug)]
pub struct Spec {
    /// Unique among the living sandboxes of a runtime, for example `mar-eu-1-ab12cd34/web.1`.
    pub name: String,
    /// The uid and gid on the host that stand behind [`INSIDE_ID`] when Pilvi runs as root; otherwise its own do.
    pub uid: u32,
    pub stack: StackRoot,
    pub mounts: Vec<Mount>,
    /// The program; it is looked for in the `PATH` of `env` when it holds no slash.
    pub argv: Vec<String>,
    /// The whole environment: nothing is added.
    pub env: Vec<(String, String)>,
    /// Where the program starts.
    pub cwd: String,
    pub limits: Limits,
    /// Whether it may reach the world; without, it has nothing but its own loopback and Pilvi's doors.
    pub network: bool,
    pub hostname: String,
    /// Nothing to read when missing.
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// What a sandbox may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Memory of all its processes and of its memory-backed folders.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Processors it may use at most: 0.5 is half of one. No bound when missing.
    pub cpu_max: Option<f64>,
    /// Its share when processors are scarce: 1 to 10 000, 100 is usual.
    pub cpu_weight: u32,
    /// Open files of each process.
    pub files: u64,
    /// Size of each file that it writes.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            pids: 256,
            cpu_max: None,
            cpu_weight: 100,
            files: 10_000,
            file_bytes: 4 << 30,
        }
    }
}

/// A folder inside the sandbox and where its contents come from.
#[derive(Clone, Debug)]
pub struct Mount {
    /// An absolute path inside.
    pub at: String,
    pub from: From,
}

/// Where the contents of a [`Mount`] come from.
#[derive(Clone, Debug)]
pub enum From {
    /// A folder or file of the host. No step of the path may be one that programs of a sandbox can change: it is taken
    /// with the rights of the server, which follows links on the way, though not a link at the end.
    Folder { path: PathBuf, writable: bool },
    /// A folder of the host below, which stays as it is, and a layer in memory above that takes the changes.
    Layered { lower: PathBuf, upper_bytes: u64 },
    /// An empty folder in memory.
    Memory { bytes: u64 },
}

/// The root file system below everything else: folders of the host to show read-only, links and small files.
#[derive(Clone, Debug, Default)]
pub struct StackRoot {
    /// Shown read-only, in this order, so that a later one may lie within an earlier one's folder.
    pub binds: Vec<Bind>,
    /// Folders that are covered by an empty one, after the binds: `/usr/local`.
    pub masks: Vec<String>,
    /// Symbolic links: where, and what they say.
    pub links: Vec<(String, String)>,
    /// Small files; a later one of the same path wins.
    pub files: Vec<File>,
}

/// A folder or file of the host that is shown read-only.
#[derive(Clone, Debug)]
pub struct Bind {
    /// An absolute path inside.
    pub at: String,
    pub source: PathBuf,
}

/// A small file that is written into the root of a sandbox.
#[derive(Clone, Debug)]
pub struct File {
    /// An absolute path inside.
    pub at: String,
    pub content: Vec<u8>,
    pub mode: u32,
}

/// How the network of sandboxes is laid out.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// The private range that sandboxes take their addresses from: address and prefix length.
    pub range: (Ipv4Addr, u8),
    /// Private addresses that sandboxes may reach all the same: address and prefix length.
    pub allowed: Vec<(IpAddr, u8)>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            range: (Ipv4Addr::new(10, 213, 0, 0), 16),
            allowed: Vec::new(),
        }
    }
}

/// One of Pilvi's own doors as sandboxes see it: a port at [`GATEWAY`], and the names that lead there.
#[derive(Clone, Debug)]
pub struct Door {
    pub port: u16,
    pub names: Vec<String>,
}

/// Another program to run in a sandbox that already runs.
#[derive(Debug)]
pub struct Exec {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub ending: Ending,
    /// Whether the kernel killed something in the sandbox because its memory was used up.
    pub out_of_memory: bool,
}

/// The two ways in which a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The number that a shell would show: the code, or 128 and the signal.
    pub fn code(&self) -> i32 {
        match self.ending {
            Ending::Code(code) => code,
            Ending::Signal(signal) => 128 + signal,
        }
    }
}

/// What a sandbox uses at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub pids: u64,
    /// Processor time that it has used since it started.
    pub cpu: std::time::Duration,
}
