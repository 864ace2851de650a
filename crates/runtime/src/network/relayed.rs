//! Egress without root: `pasta` carries the packets of a sandbox over sockets of our own, and rules inside its network
//! namespace, raised by init before it gives up its privileges, refuse what is private.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::addresses::{NOT_PUBLIC, Net, merged, v4_only};
use super::forwarding;
use super::netlink::{Batch, Rule, Verdict};
use super::resolvers::Resolvers;
use crate::host;
use crate::spec::NetworkSettings;

/// The name of the device inside every sandbox.
const INSIDE: &str = "eth0";

/// How long `pasta` may take until it carries packets.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(2);

/// The numbers of protocols.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What every sandbox's `pasta` is told.
#[derive(Debug)]
pub(super) struct Relayed {
    resolvers: Vec<Ipv4Addr>,
    allowed: Vec<Net>,
    /// The networks that the host was attached to at the start.
    near: Vec<Net>,
    name: String,
}

/// The `pasta` of one sandbox.
#[derive(Debug)]
pub(super) struct Connection(Child);

impl Relayed {
    /// The error is the reason why it cannot be done here.
    pub(super) fn open(
        settings: &NetworkSettings,
        prefix: &str,
        resolvers: &Resolvers,
    ) -> Result<Self, String> {
        let there = host::command("pasta")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.is_err() {
            return Err("pasta is missing: install the package passt".into());
        }
        if !fs::exists("/dev/net/tun").unwrap_or(false) {
            return Err("pasta needs /dev/net/tun, which is not there".into());
        }
        if let Err(error) = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
        {
            return Err(format!("pasta may not open /dev/net/tun ({error})"));
        }
        Ok(Self {
            resolvers: resolvers.servers.clone(),
            allowed: v4_only(&settings.allowed),
            near: forwarding::attached(),
            name: process_name(prefix),
        })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        vec![
            "pasta carries the packets, which is slower than routing, because only root may route"
                .into(),
        ]
    }

    /// The rules against everything private. Those that pass come first; what the sandbox itself is (its loopback, its
    /// own address) is decided before any of them.
    pub(super) fn fence(&self) -> Vec<u8> {
        let mut batch = Batch::default();
        let mut add = |priority, to, protocol, port, verdict| {
            batch.add_rule(&Rule {
                priority,
                to,
                protocol,
                port,
                verdict,
            });
        };
        for server in &self.resolvers {
            for protocol in [TCP, UDP] {
                add(100, (*server, 32), Some(protocol), Some(53), Verdict::Pass);
            }
        }
        for net in &self.allowed {
            add(110, *net, None, None, Verdict::Pass);
        }
        let own = own_addresses().into_iter().map(|address| (address, 32));
        let near = self.near.iter().copied().chain(own);
        let refused: Vec<Net> = NOT_PUBLIC.into_iter().chain(near).collect();
        for net in merged(&refused) {
            // All that `pasta` carries. A rule for every protocol would refuse the route to a gateway in the network.
            for protocol in [ICMP, TCP, UDP] {
                add(200, net, Some(protocol), None, Verdict::Refuse);
            }
        }
        batch.into_bytes()
    }

    /// Starts a `pasta` for the namespace of the process and waits until it carries packets. Blocks.
    pub(super) fn connect(&self, pid: u32) -> io::Result<Connection> {
        let mut pasta = host::command("pasta");
        pasta
            .arg0(&self.name)
            .args([
                "--foreground",
                "--quiet",
                "--config-net",
                "--ipv4-only",
                "--no-map-gw",
            ])
            .args(["--tcp-ports", "none", "--udp-ports", "none"])
            .args(["--tcp-ns", "none", "--udp-ns", "none"])
            .args(["--ns-ifname", INSIDE])
            .args(["--userns", &format!("/proc/{pid}/ns/user")])
            .args(["--netns", &format!("/proc/{pid}/ns/net")])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // From here on the drop of the connection undoes what was done.
        let mut connection = Connection(pasta.spawn()?);
        let deadline = Instant::now() + PATIENCE;
        // It has no way to say that it is ready, but the route it makes last is to be seen from outside.
        while !has_default_route(pid) {
            if let Some(status) = connection.0.try_wait()? {
                return Err(io::Error::other(format!(
                    "pasta ended with {status} instead of connecting the sandbox"
                )));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "pasta did not connect the sandbox in time",
                ));
            }
            sleep(GLANCE);
        }
        Ok(connection)
    }
}

#[cfg(test)]
impl Connection {
    pub(super) fn is_there(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It ends by itself when the namespace does; this waits for it either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The name under which a `pasta` of ours runs. It must tell that it is one, because the program looks at it.
fn process_name(prefix: &str) -> String {
    format!("{prefix}-pasta")
}

/// Ends those that an earlier run left: a `pasta` does not notice when a server that was killed is gone.
pub(super) fn clean_up(prefix: &str) -> io::Result<()> {
    let mut wanted = process_name(prefix).into_bytes();
    wanted.push(0);
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        // Processes end while one looks at them.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.starts_with(&wanted) {
            // Those of other users are not ours, whatever they are called.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

fn has_default_route(pid: u32) -> bool {
    let routes = fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap_or_default();
    routes
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}

/// The addresses of this host: `pasta` would reach its servers, as a program of the host does.
fn own_addresses() -> Vec<Ipv4Addr> {
    let table = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap_or_default();
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in table.lines() {
        if let Some(address) = line.trim().strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last.take());
        }
    }
    found.sort();
    found.dedup();
    found
}
