//! Which devices of the host lead to the world, and whether packets may go on from them.
//!
//! The switch is set for single devices where the kernel has one, not for the whole machine: a host that is no router
//! does not become one.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use super::addresses::{Net, contains};

/// The devices by which packets to the world and to `others` leave, each once.
pub(super) fn uplinks(others: impl Iterator<Item = Ipv4Addr>) -> Vec<String> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let routes: Vec<Route> = routes.lines().skip(1).filter_map(Route::parse).collect();
    let mut devices: Vec<String> = Vec::new();
    let anywhere = routes.iter().filter(|route| route.to.1 == 0);
    let particular = others.filter_map(|address| {
        routes
            .iter()
            .filter(|route| contains(route.to, address))
            .max_by_key(|route| route.to.1)
    });
    for route in anywhere.chain(particular) {
        if !devices.contains(&route.device) {
            devices.push(route.device.clone());
        }
    }
    devices
}

/// The first addresses of the pairs that devices of this host have already.
pub(super) fn pairs() -> Vec<Ipv4Addr> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let routes = routes.lines().skip(1).filter_map(Route::parse);
    routes
        .filter(|route| route.to.1 == 31)
        .map(|route| route.to.0)
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Route {
    device: String,
    to: Net,
}

impl Route {
    /// `eth0 00000000 010200C0 0003 0 0 0 00000000 …`: the addresses are in the machine's own byte order.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let device = words.next()?.to_owned();
        let address = |word: &str| {
            let number = u32::from_str_radix(word, 16).ok()?;
            Some(Ipv4Addr::from(number.to_ne_bytes()))
        };
        let to = address(words.next()?)?;
        let mask = address(words.nth(5)?)?;
        let prefix = u32::from(mask).leading_ones();
        Some(Self {
            device,
            to: (to, u8::try_from(prefix).ok()?),
        })
    }
}

/// Whether the whole machine is a router by its administrator's wish.
pub(super) fn is_router() -> bool {
    read("all") == Some(true)
}

pub(super) fn is_on(device: &str) -> bool {
    read(device) == Some(true)
}

pub(super) fn switch(device: &str, on: bool) -> io::Result<()> {
    fs::write(switch_of(device), if on { "1" } else { "0" })
}

fn read(device: &str) -> Option<bool> {
    let text = fs::read_to_string(switch_of(device)).ok()?;
    Some(text.trim() == "1")
}

fn switch_of(device: &str) -> String {
    // A dot in a device's name is a slash in this folder only for the `sysctl` command, not for the file.
    format!("/proc/sys/net/ipv4/conf/{device}/forwarding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_the_kernel_writes_it() {
        let line = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let expected = Route {
            device: "eth0".into(),
            to: (Ipv4Addr::new(192, 0, 2, 0), 24),
        };
        if cfg!(target_endian = "little") {
            assert_eq!(Route::parse(line), Some(expected));
        }
        assert_eq!(Route::parse("eth0 zz"), None);
        assert_eq!(Route::parse(""), None);
    }
}
