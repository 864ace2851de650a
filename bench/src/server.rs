//! A server under test: started on its own core, waited for, stopped with all its descendants.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::http::client::Client;
use crate::http::request::Request;
use crate::machine::Cores;
use crate::usage::Tree;

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How often we look whether a server answers, and so how exactly its start is timed.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running server, stopped on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first answer.
    pub(crate) started_within: Duration,
    output: PathBuf,
}

/// How to know that a server is there.
pub(crate) enum Ready<'a> {
    /// It answers `GET` of this target, with any status below 500.
    Answers(&'a str),
    /// It accepts connections, but speaks no HTTP.
    Accepts,
}

impl Server {
    /// Starts `command`, which is to listen on `address`, and waits until it is ready. What it prints goes into files
    /// in `folder`.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        address: SocketAddr,
        ready: &Ready<'_>,
        cores: Cores,
        folder: &Path,
    ) -> Result<Self> {
        let output = folder.join(format!("{name}.out"));
        let errors = folder.join(format!("{name}.err"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .process_group(0);
        // A process inherits the core of the thread that starts it.
        cores.enter_server()?;
        let start = Instant::now();
        let child = command.spawn();
        cores.enter_load()?;
        let child = child.with_context(|| format!("could not start {name}"))?;
        let mut server = Self {
            child,
            address,
            started_within: Duration::ZERO,
            output,
        };
        server
            .wait_until_ready(name, ready, start)
            .with_context(|| {
                let log = fs::read_to_string(&errors).unwrap_or_default();
                let printed = fs::read_to_string(&server.output).unwrap_or_default();
                format!(
                    "{name} did not start; it said: {}{}",
                    end_of(&printed),
                    end_of(&log)
                )
            })?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, name: &str, ready: &Ready<'_>, start: Instant) -> Result<()> {
        while !is_ready(self.address, ready) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            if start.elapsed() > START_WITHIN {
                bail!("{name} does not answer on {}", self.address);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.started_within = start.elapsed();
        Ok(())
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(self.child.id())
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.output)?)
    }

    fn stop(&mut self) {
        let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        // The interrupt lets a server end its own children. Whoever is left then, ends with the group.
        let _ = kill_process(id, Signal::INT);
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(id, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_ready(address: SocketAddr, ready: &Ready<'_>) -> bool {
    let Ok(mut client) = Client::connect(address) else {
        return false;
    };
    match ready {
        Ready::Accepts => true,
        Ready::Answers(target) => client
            .send(Request::get(target))
            .is_ok_and(|answer| answer.status < 500),
    }
}

/// A loopback address that nobody listens on at the moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}

fn end_of(text: &str) -> &str {
    const SHOWN_BYTES: usize = 2000;
    let mut start = text.len().saturating_sub(SHOWN_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].trim()
}
