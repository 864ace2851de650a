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

/// The networks that this host is attached to, whose machines it reaches without a gateway. Loopback and the devices of
/// sandboxes are left out, and so are networks that are wider than any real one: a tunnel that carries everything has
/// a route to half of all addresses.
pub(super) fn attached() -> Vec<Net> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let routes = routes.lines().skip(1).filter_map(Route::parse);
    routes
        .filter(Route::is_to_neighbours)
        .map(|route| route.to)
        .collect()
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

/// The shortest prefix of a network that machines share.
const WIDEST: u8 = 8;

#[derive(Debug, PartialEq, Eq)]
struct Route {
    device: String,
    to: Net,
    has_gateway: bool,
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
        let gateway = address(words.next()?)?;
        let mask = address(words.nth(4)?)?;
        let prefix = u32::from(mask).leading_ones();
        Some(Self {
            device,
            to: (to, u8::try_from(prefix).ok()?),
            has_gateway: !gateway.is_unspecified(),
        })
    }

    fn is_to_neighbours(&self) -> bool {
        let is_ours = self.device == "lo" || self.device.starts_with("pilvi");
        !is_ours && !self.has_gateway && self.to.1 >= WIDEST
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

/// Whether the switch can be set; nothing is changed.
pub(super) fn may_switch(device: &str) -> io::Result<()> {
    let mut switch = fs::OpenOptions::new();
    switch.write(true).open(switch_of(device)).map(|_| ())
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
            has_gateway: false,
        };
        if cfg!(target_endian = "little") {
            assert_eq!(Route::parse(line), Some(expected));
        }
        assert_eq!(Route::parse("eth0 zz"), None);
        assert_eq!(Route::parse(""), None);
    }

    #[test]
    fn neighbours_are_behind_devices_of_the_host_and_no_gateway() {
        let is_to_neighbours = |device: &str, to: Net, has_gateway| {
            let device = device.to_owned();
            Route {
                device,
                to,
                has_gateway,
            }
            .is_to_neighbours()
        };
        let net = (Ipv4Addr::new(45, 0, 0, 0), 24);
        assert!(is_to_neighbours("eth0", net, false));
        assert!(is_to_neighbours("tun0", (net.0, 32), false));
        assert!(!is_to_neighbours("eth0", net, true));
        assert!(!is_to_neighbours("pilviab12-7", net, false));
        // Tunnels that carry everything.
        for everything in [0, 1] {
            assert!(!is_to_neighbours(
                "ppp0",
                (Ipv4Addr::UNSPECIFIED, everything),
                false
            ));
        }
    }
}
