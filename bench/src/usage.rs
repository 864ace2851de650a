//! What a server uses, as the kernel counts it: CPU time and memory of a whole process tree.
//!
//! A server may be several processes (nginx and its worker, Parse Server and PostgreSQL), so everything is summed over
//! the descendants of the process that we started.

use std::fs;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

use anyhow::{Context, Result};

/// A process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    root: u32,
}

/// Memory of a tree, in kilobytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All that is in memory, shared pages included.
    pub(crate) resident_kb: i64,
    /// Pages that nobody else maps.
    pub(crate) private_kb: i64,
    /// Pages that no file backs: what the program itself has allocated.
    pub(crate) anonymous_kb: i64,
}

impl Tree {
    pub(crate) fn of(root: u32) -> Self {
        Self { root }
    }

    /// User and system time so far, of the living and of those they have waited for.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let members = self.members()?;
        let ticks: u64 = members.iter().map(|stat| stat.ticks).sum();
        let nanos = ticks.saturating_mul(1_000_000_000) / rustix::param::clock_ticks_per_second();
        Ok(Duration::from_nanos(nanos))
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut sum = Memory::default();
        for stat in self.members()? {
            // A process that has just ended uses no memory.
            if let Ok(text) = fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.id)) {
                sum += Memory::parse(&text);
            }
        }
        Ok(sum)
    }

    /// The processes that belong to it now.
    pub(crate) fn ids(&self) -> Result<Vec<u32>> {
        Ok(self.members()?.iter().map(|stat| stat.id).collect())
    }

    fn members(&self) -> Result<Vec<Stat>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").context("could not list the processes")? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse::<u32>().ok());
            let text = id.and_then(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok());
            all.extend(text.and_then(|text| Stat::parse(&text)));
        }
        Ok(descendants(&all, self.root))
    }
}

/// What we need of `/proc/<id>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    id: u32,
    parent: u32,
    /// User and system time, own and of children that were waited for.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may hold any character.
        let (front, rest) = text.rsplit_once(") ")?;
        let id = front.split_once(" (")?.0.parse().ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }
}

fn descendants(all: &[Stat], root: u32) -> Vec<Stat> {
    let mut found: Vec<Stat> = all.iter().filter(|stat| stat.id == root).copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.id) {
        found.extend(all.iter().filter(|stat| stat.parent == parent));
        next += 1;
    }
    found
}

/// The memory of one process, in which a page that several map counts for each of them with its part, in kilobytes.
/// `None` when it has ended.
pub(crate) fn proportional_kb(id: u32) -> Option<i64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    Some(kilobytes(&rollup, "Pss"))
}

fn kilobytes(rollup: &str, name: &str) -> i64 {
    rollup
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .find_map(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

impl Memory {
    fn parse(rollup: &str) -> Self {
        let kilobytes = |name: &str| kilobytes(rollup, name);
        Self {
            resident_kb: kilobytes("Rss"),
            private_kb: kilobytes("Private_Clean") + kilobytes("Private_Dirty"),
            anonymous_kb: kilobytes("Anonymous"),
        }
    }
}

/// What the kernel keeps for all connections of this machine, in kilobytes: the objects of the slab caches below and
/// the pages in the queues of TCP. `None`: not root, so the caches cannot be read.
pub(crate) fn kernel_connections_kb() -> Option<i64> {
    let caches = fs::read_to_string("/proc/slabinfo").ok()?;
    let queues = fs::read_to_string("/proc/net/sockstat").ok()?;
    let pages_kb = i64::try_from(rustix::param::page_size()).unwrap_or(0) / 1024;
    Some(slab_kb(&caches) + queue_pages(&queues) * pages_kb)
}

/// The same once what has ended before has been given back, which the kernel does in its own time.
pub(crate) fn settled_kernel_connections_kb() -> Option<i64> {
    const PAUSE: Duration = Duration::from_millis(100);
    const LOOKS_MAX: usize = 50;
    let mut last = kernel_connections_kb()?;
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(PAUSE);
        let now = kernel_connections_kb()?;
        if (now - last).abs() <= last / 200 {
            return Some(now);
        }
        last = now;
    }
    Some(last)
}

/// The caches that grow with connections and with little else. A socket's entry in the cache of names (192 bytes) is
/// not among them: what others do with files moves that one by more than all sockets together.
const CACHES: [&str; 12] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "ep_head",
    "skbuff_head_cache",
    "skbuff_small_head",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
    "nf_conntrack",
];

fn slab_kb(slabinfo: &str) -> i64 {
    let bytes = slabinfo.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        CACHES.contains(&fields.next()?).then_some(())?;
        let active: i64 = fields.next()?.parse().ok()?;
        let size: i64 = fields.nth(1)?.parse().ok()?;
        Some(active * size)
    });
    bytes.sum::<i64>() / 1024
}

fn queue_pages(sockstat: &str) -> i64 {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = tcp.unwrap_or_default().split_ascii_whitespace();
    words.find(|word| *word == "mem");
    words
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident_kb += other.resident_kb;
        self.private_kb += other.private_kb;
        self.anonymous_kb += other.anonymous_kb;
    }
}

impl Sub for Memory {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            resident_kb: self.resident_kb - before.resident_kb,
            private_kb: self.private_kb - before.private_kb,
            anonymous_kb: self.anonymous_kb - before.anonymous_kb,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 0 0";
        let expected = Stat {
            id: 42,
            parent: 7,
            ticks: 124,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("42 (cut short) S 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_tree_is_the_root_and_all_below_it() {
        let stat = |id, parent| Stat {
            id,
            parent,
            ticks: 0,
        };
        let all = [stat(1, 0), stat(5, 1), stat(6, 5), stat(7, 6), stat(8, 1)];
        let ids: Vec<u32> = descendants(&all, 5).iter().map(|stat| stat.id).collect();
        assert_eq!(ids, [5, 6, 7]);
        assert!(descendants(&all, 99).is_empty());
    }

    #[test]
    fn memory_is_read_from_a_rollup() {
        let text = "55d-7ff ---p 00000000 00:00 0 [rollup]\nRss:             8468 kB\nPss:  10 kB\n\
            Private_Clean:      100 kB\nPrivate_Dirty:     2000 kB\nAnonymous:         1900 kB\n";
        let expected = Memory {
            resident_kb: 8468,
            private_kb: 2100,
            anonymous_kb: 1900,
        };
        assert_eq!(Memory::parse(text), expected);
        assert_eq!(Memory::parse(""), Memory::default());
    }

    #[test]
    fn the_kernel_tells_what_connections_take() {
        let slabinfo = "slabinfo - version: 2.1\n\
            # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
            TCP                   100    112   2368   13    8 : tunables    0    0    0\n\
            dentry             980529 980529    192   21    1 : tunables    0    0    0\n\
            filp                   32     64    192   21    1 : tunables    0    0    0\n";
        assert_eq!(slab_kb(slabinfo), (100 * 2368 + 32 * 192) / 1024);
        let sockstat =
            "sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 143\nUDP: inuse 0 mem 7\n";
        assert_eq!(queue_pages(sockstat), 143);
        assert_eq!((slab_kb(""), queue_pages("")), (0, 0));
    }

    #[test]
    fn our_own_process_uses_something() {
        let tree = Tree::of(std::process::id());
        assert!(tree.memory().unwrap().resident_kb > 0);
        tree.cpu().unwrap();
        assert_eq!(tree.ids().unwrap()[0], std::process::id());
        assert!(proportional_kb(std::process::id()).unwrap() > 0);
        assert_eq!(proportional_kb(u32::MAX), None);
    }
}
