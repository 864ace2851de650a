//! What a sandbox can reach: the internet and the host's resolvers, and nothing nearer.
//!
//! Nearer is what is private, and what the host is directly attached to, whichever addresses that has. As root every
//! sandbox gets a pair of devices and a firewall holds all that back (`routed`). Not as root,
//! `pasta` carries its traffic, and rules inside its own namespace hold back the same (`relayed`). With neither it has
//! its loopback only. IPv6 is off: a sandbox has no address of it besides `::1` that leads anywhere.

mod addresses;
mod filter;
mod forwarding;
mod netlink;
mod relayed;
mod resolvers;
mod routed;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::sync::Arc;

use self::relayed::Relayed;
use self::resolvers::Resolvers;
use self::routed::Routed;
use crate::spec::{File, NetworkSettings};

/// Connects the sandboxes of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Networks {
    way: Way,
    resolvers: Arc<Resolvers>,
}

#[derive(Debug, Clone)]
enum Way {
    Routed(Arc<Routed>),
    Relayed(Arc<Relayed>),
    /// None, and why.
    Missing(Arc<str>),
}

/// The connection of one sandbox.
#[derive(Debug)]
pub(crate) struct Network(
    #[expect(dead_code, reason = "it is held for what its drop does")] Connection,
);

#[derive(Debug)]
#[expect(dead_code, reason = "they are held for what their drop does")]
enum Connection {
    Routed(routed::Connection),
    Relayed(relayed::Connection),
}

impl Networks {
    /// Looks once at what this machine lets us do, and writes the firewall. `prefix` is unique by data folder.
    pub(crate) fn open(settings: &NetworkSettings, prefix: &str) -> Self {
        Self::with_resolvers(settings, prefix, Resolvers::of_host())
    }

    fn with_resolvers(settings: &NetworkSettings, prefix: &str, resolvers: Resolvers) -> Self {
        let resolvers = Arc::new(resolvers);
        let way = match Routed::open(settings, prefix, &resolvers) {
            Ok(routed) => Way::Routed(Arc::new(routed)),
            Err(unrouted) => match Relayed::open(settings, prefix, &resolvers) {
                Ok(relayed) => Way::Relayed(Arc::new(relayed)),
                Err(unrelayed) => Way::Missing(format!("{unrouted}; {unrelayed}").into()),
            },
        };
        Self { way, resolvers }
    }

    /// Loopback only, for a test that needs nothing of the host's network.
    #[cfg(test)]
    pub(crate) fn none(why: &str) -> Self {
        Self {
            way: Way::Missing(why.into()),
            resolvers: Arc::default(),
        }
    }

    /// The files that tell programs in a sandbox with egress where names are looked up.
    pub(crate) fn files(&self) -> Vec<File> {
        vec![File {
            at: "/etc/resolv.conf".into(),
            content: self.resolvers.text().into_bytes(),
            mode: 0o644,
        }]
    }

    /// What init must hand to [`raise_fence`] inside its new network namespace, while it may still change it. Empty
    /// when the host's firewall does the work.
    pub(crate) fn fence(&self) -> Vec<u8> {
        match &self.way {
            Way::Relayed(relayed) => relayed.fence(),
            _ => Vec::new(),
        }
    }

    /// Connects the network namespace that the process lives in; its `lo` is left alone. Takes some milliseconds. The
    /// name is for operators, who see it beside the device.
    pub(crate) async fn connect(&self, name: &str, pid: u32) -> io::Result<Network> {
        let connection = match &self.way {
            Way::Routed(routed) => {
                let routed = Arc::clone(routed);
                let name = name.to_owned();
                Connection::Routed(blocking(move || routed.connect(&name, pid)).await?)
            }
            Way::Relayed(relayed) => {
                let relayed = Arc::clone(relayed);
                Connection::Relayed(blocking(move || relayed.connect(pid)).await?)
            }
            Way::Missing(why) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, why.to_string()));
            }
        };
        Ok(Network(connection))
    }

    /// Takes the firewall away again. Sandboxes that still live have no network from then on.
    pub(crate) fn close(&self) {
        if let Way::Routed(routed) = &self.way {
            routed.close();
        }
    }

    /// Whether there is egress: `Err` says why there is none, `Ok(Some)` what is not as it should be.
    pub(crate) fn state(&self) -> Result<Option<String>, String> {
        let problems = match &self.way {
            Way::Routed(routed) => routed.problems(),
            Way::Relayed(relayed) => relayed.problems(),
            Way::Missing(why) => return Err(why.to_string()),
        };
        let problems: Vec<String> = problems
            .into_iter()
            .chain(self.resolvers.problem.clone())
            .collect();
        Ok((!problems.is_empty()).then(|| problems.join("; ")))
    }
}

impl Network {
    /// Cuts the connection. The same happens, later, when the network namespace ends by itself.
    pub(crate) async fn disconnect(self) {
        // Dropping it does the work, and takes a moment.
        let _ = blocking(move || {
            drop(self);
            Ok(())
        })
        .await;
    }
}

/// Called by init inside the network namespace of a sandbox, before it gives up its privileges: what
/// [`Networks::fence`] said.
pub(crate) fn raise_fence(fence: &[u8]) -> io::Result<()> {
    if fence.is_empty() {
        return Ok(());
    }
    netlink::Line::open()?.send_bytes(fence)
}

/// Removes the devices and the firewall that a daemon with this prefix made.
pub(crate) fn clean_up(prefix: &str) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return relayed::clean_up(prefix);
    }
    let devices = routed::device_prefix(prefix);
    let mut batch = netlink::Batch::default();
    let mut found = false;
    for line in fs::read_to_string("/proc/thread-self/net/dev")?.lines() {
        if let Some((name, _)) = line
            .trim()
            .split_once(':')
            .filter(|(name, _)| name.starts_with(&devices))
        {
            batch.remove_link(name);
            found = true;
        }
    }
    if found {
        netlink::Line::open()?.send(batch)?;
    }
    let table = routed::table_name(prefix);
    if filter::is_there(&table) {
        filter::remove(&table)?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
