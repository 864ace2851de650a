//! Egress as root: a pair of devices for every sandbox, addresses out of our range, and the host as its router.
//!
//! The firewall comes with the first sandbox, or where packets are forwarded already. From then on the kernel follows
//! every connection of the host, also those that have nothing to do with apps, which costs each packet about a fifth
//! more. A server without apps does not pay for that.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::addresses::{Net, Slots, network_of, v4_only};
use super::filter::{self, Filter, Keeper};
use super::forwarding;
use super::netlink::{Batch, Line};
use super::resolvers::Resolvers;
use crate::spec::NetworkSettings;

/// The name of the device inside every sandbox.
const INSIDE: &str = "eth0";

/// What the names of all daemons' firewall tables begin with.
const TABLE: &str = "pilvi_";

/// More sandboxes than one host will ever have; a wider range is not used up.
const SLOTS_MAX: usize = 32_768;

/// The router for all sandboxes.
#[derive(Debug)]
pub(super) struct Routed {
    shared: Arc<Shared>,
    range: Net,
    devices: String,
    table: String,
    allowed: Vec<Net>,
    resolvers: Vec<Ipv4Addr>,
    /// There from the first sandbox until [`Routed::close`].
    gate: Mutex<Option<Gate>>,
    problems: Vec<String>,
}

/// The way out of the host: the firewall, and devices to the world that forward.
#[derive(Debug)]
struct Gate {
    /// Holds the firewall; none where it is an ordinary table.
    keeper: Option<Keeper>,
    /// Devices whose forwarding was off and is on by us.
    switched: Vec<String>,
}

/// What connections need until their end, each behind a lock of its own that is held for one exchange with the kernel.
#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    /// A removal takes the kernel some 20 ms, and no new sandbox shall wait for that.
    removals: Mutex<Line>,
    slots: Mutex<Slots>,
}

/// One sandbox's pair of devices; dropping it removes the pair.
#[derive(Debug)]
pub(super) struct Connection {
    device: String,
    slot: usize,
    shared: Arc<Shared>,
}

impl Routed {
    /// The error is the reason why there is no routing here.
    pub(super) fn open(
        settings: &NetworkSettings,
        prefix: &str,
        resolvers: &Resolvers,
    ) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may route for sandboxes".into());
        }
        let (address, length) = settings.range;
        if !(8..=30).contains(&length) {
            return Err(format!(
                "the range {address}/{length} for the addresses of sandboxes is too small or too wide: give one \
                 from /8 to /30"
            ));
        }
        let range = (network_of(address, length), length);
        // Daemons of other data folders begin elsewhere in the same range.
        let start = usize::try_from(fnv(prefix.as_bytes()) % 251).unwrap_or_default() * 128;
        let open =
            || Line::open().map_err(|error| format!("the kernel offers no netlink ({error})"));
        let (line, removals) = (open()?, open()?);
        let mut routed = Self {
            shared: Arc::new(Shared {
                line: Mutex::new(line),
                removals: Mutex::new(removals),
                slots: Mutex::new(Slots::new(slot_count(length), start)),
            }),
            range,
            devices: device_prefix(prefix),
            table: table_name(prefix),
            allowed: v4_only(&settings.allowed),
            resolvers: resolvers.servers.clone(),
            gate: Mutex::default(),
            problems: Vec::new(),
        };
        let uplinks = routed.uplinks();
        let mut possible = filter::check(&routed.firewall(&uplinks));
        // A server that was killed left it so, and nobody holds back what others send that way.
        if !forwarding::is_router() && uplinks.iter().any(|device| forwarding::is_on(device)) {
            possible = possible.and_then(|()| routed.open_gate());
        }
        if let Err(error) = possible {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => "nft is missing: install the package nftables".into(),
                _ => format!("the firewall could not be set up ({error})"),
            });
        }
        routed.problems = problems_of(&uplinks);
        if settings
            .allowed
            .iter()
            .any(|(address, _)| matches!(address, IpAddr::V6(_)))
        {
            routed.problems.push(
                "exceptions for IPv6 addresses have no effect, because sandboxes have no IPv6"
                    .into(),
            );
        }
        routed.problems.extend(others_that_drop(&routed.table));
        Ok(routed)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }

    /// Connects the network namespace of a process. Blocks.
    pub(super) fn connect(&self, name: &str, pid: u32) -> io::Result<Connection> {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        self.open_gate()?;
        let slot = self.free_slot().ok_or_else(|| {
            io::Error::other(
                "every address of the range for sandboxes is taken: give a wider range",
            )
        })?;
        // From here on the drop of the connection undoes what was done.
        let connection = Connection {
            device: format!("{}{slot}", self.devices),
            slot,
            shared: Arc::clone(&self.shared),
        };
        let (host, inside) = pair(self.range, slot);
        {
            let line = locked(&self.shared.line);
            let mut batch = Batch::default();
            batch.add_pair(&connection.device, name, INSIDE, namespace.as_fd());
            batch.switch_on(&connection.device, true);
            line.send(batch)?;
            let mut batch = Batch::default();
            batch.add_address(line.index_of(&connection.device)?, host, 31);
            line.send(batch)?;
        }
        within(namespace.as_fd(), || {
            let line = Line::open()?;
            let index = line.index_of(INSIDE)?;
            let mut batch = Batch::default();
            batch.switch_on(INSIDE, false);
            batch.add_address(index, inside, 31);
            batch.add_default_route(index, host);
            line.send(batch)
        })?;
        Ok(connection)
    }

    /// A slot whose addresses nobody on this host has: another daemon may use the same range.
    fn free_slot(&self) -> Option<usize> {
        let mut slots = locked(&self.shared.slots);
        let used = forwarding::pairs();
        let mut passed_over = Vec::new();
        let mut free = slots.take();
        while let Some(slot) = free.filter(|slot| used.contains(&pair(self.range, *slot).0)) {
            passed_over.push(slot);
            free = slots.take();
        }
        passed_over
            .into_iter()
            .for_each(|slot| slots.give_back(slot));
        free
    }

    /// Raises the firewall and lets packets pass, unless that has been done.
    fn open_gate(&self) -> io::Result<()> {
        let mut gate = locked(&self.gate);
        if gate.is_some() {
            return Ok(());
        }
        let uplinks = self.uplinks();
        let text = self.firewall(&uplinks);
        let keeper = filter::keep(&text, &self.table);
        if keeper.is_none() {
            filter::apply(&text)?;
        }
        // Not before there is a firewall that holds back what is not an app's.
        let switched = match forwarding::is_router() {
            true => Vec::new(),
            false => switch_on(&uplinks),
        };
        *gate = Some(Gate { keeper, switched });
        Ok(())
    }

    /// The devices to the world and to what apps may reach besides.
    fn uplinks(&self) -> Vec<String> {
        let near = self.allowed.iter().map(|net| net.0);
        forwarding::uplinks(near.chain(self.resolvers.iter().copied()))
    }

    fn firewall(&self, uplinks: &[String]) -> String {
        Filter {
            table: &self.table,
            devices: &self.devices,
            range: self.range,
            resolvers: &self.resolvers,
            allowed: &self.allowed,
            near: &forwarding::attached(),
            // Where the administrator did not make this host a router, what forwards does so because of us.
            guarded: match forwarding::is_router() {
                true => &[],
                false => uplinks,
            },
        }
        .text()
    }

    pub(super) fn close(&self) {
        let Some(Gate { keeper, switched }) = locked(&self.gate).take() else {
            return;
        };
        // Without the firewall nothing may be forwarded, so this comes first; but another daemon's apps need it on.
        if !is_there_another(&self.table) {
            for device in &switched {
                // The device may be gone by now.
                let _ = forwarding::switch(device, false);
            }
        }
        drop(keeper);
        if filter::is_there(&self.table)
            && let Err(error) = filter::remove(&self.table)
        {
            tracing::warn!(%error, table = self.table, "the firewall of the apps could not be removed");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut batch = Batch::default();
        batch.remove_link(&self.device);
        // It goes by itself when the namespace of its other end is gone, and that may have been before.
        let _ = locked(&self.shared.removals).send(batch);
        locked(&self.shared.slots).give_back(self.slot);
    }
}

/// What keeps packets from passing between sandboxes and these devices.
fn problems_of(uplinks: &[String]) -> Vec<String> {
    if uplinks.is_empty() {
        return vec!["the host has no route to the world, so apps have none either".into()];
    }
    if forwarding::is_router() {
        return Vec::new();
    }
    let refusals = uplinks.iter().filter_map(|device| {
        let error = forwarding::may_switch(device).err()?;
        let is_off = !forwarding::is_on(device);
        is_off.then(|| format!("{device} cannot be made to forward packets ({error})"))
    });
    refusals.collect()
}

/// Has devices forward and says of which that was changed. Where one forwards already, another daemon wants it, too.
fn switch_on(uplinks: &[String]) -> Vec<String> {
    let mut switched = Vec::new();
    for device in uplinks {
        match forwarding::switch(device, true) {
            Ok(()) => switched.push(device.clone()),
            Err(_) if forwarding::is_on(device) => {}
            Err(error) => {
                tracing::warn!(%error, device, "the device cannot be made to forward what apps send");
            }
        }
    }
    switched
}

/// Whether another daemon on this host routes for its apps.
fn is_there_another(our_table: &str) -> bool {
    let tables = filter::ask(&["list", "tables"]).unwrap_or_default();
    tables
        .lines()
        .filter_map(|line| line.trim().strip_prefix("table inet "))
        .any(|table| table.starts_with(TABLE) && table != our_table)
}

/// Other firewalls have a say too: one that drops what it does not know drops the apps' packets.
fn others_that_drop(our_table: &str) -> Option<String> {
    let chains = filter::ask(&["list", "chains"]).ok()?;
    let mut table = "";
    let mut chain = "";
    for line in chains.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches(" {");
        } else if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches(" {");
        } else if line.contains("hook forward")
            && line.contains("policy drop")
            && !table.ends_with(our_table)
        {
            return Some(format!(
                "the chain {chain} of the firewall's table {table} drops forwarded packets: let those of the devices \
                 pilvi* pass in it"
            ));
        }
    }
    None
}

/// Runs a piece of work on a thread of its own that lives in another network namespace.
pub(super) fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            work()
        });
        thread.join().unwrap_or_else(|_| {
            Err(io::Error::other(
                "the thread in the network namespace ended badly",
            ))
        })
    })
}

/// Two neighbouring addresses: the host's and the sandbox's.
fn pair(range: Net, slot: usize) -> (Ipv4Addr, Ipv4Addr) {
    let slot = u32::try_from(slot).expect("there are few slots");
    let first = u32::from(range.0) + 2 * slot;
    (Ipv4Addr::from(first), Ipv4Addr::from(first + 1))
}

fn slot_count(prefix: u8) -> usize {
    (1_usize << (32 - u32::from(prefix)) >> 1).min(SLOTS_MAX)
}

/// Names of devices have at most 15 bytes; five of these are left for the number.
pub(super) fn device_prefix(prefix: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut hash = fnv(prefix.as_bytes());
    let mut name = String::from("pilvi");
    for _ in 0..4 {
        name.push(char::from(DIGITS[(hash % 36) as usize]));
        hash /= 36;
    }
    name.push('-');
    name
}

pub(super) fn table_name(prefix: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let rest = prefix.trim_start_matches("pilvi-").chars().map(plain);
    TABLE.chars().chain(rest).collect()
}

/// The names must be the same in every run, which the standard library's hash does not promise.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A thread that ended badly has left a line or a list that is still whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_fit_the_kernel_and_tell_daemons_apart() {
        let name = format!("{}{}", device_prefix("pilvi-0a1b2c"), SLOTS_MAX - 1);
        assert!(name.len() <= 15, "{name}");
        assert_ne!(device_prefix("pilvi-a"), device_prefix("pilvi-b"));
        assert_eq!(device_prefix("pilvi-a"), device_prefix("pilvi-a"));
        assert_eq!(table_name("pilvi-a.b"), "pilvi_a_b");
    }

    #[test]
    fn the_last_pair_of_a_range_lies_within_it() {
        let range = (Ipv4Addr::new(10, 213, 0, 0), 16);
        assert_eq!(slot_count(16), 32_768);
        let (host, inside) = pair(range, slot_count(16) - 1);
        assert_eq!(host, Ipv4Addr::new(10, 213, 255, 254));
        assert_eq!(inside, Ipv4Addr::new(10, 213, 255, 255));
        assert_eq!(slot_count(30), 2);
    }
}
