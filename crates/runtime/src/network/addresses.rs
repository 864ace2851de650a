//! Which addresses are nobody's business to an app, and which slot of the range belongs to which sandbox.

use std::net::{IpAddr, Ipv4Addr};

/// An address and the length of its prefix.
pub(super) type Net = (Ipv4Addr, u8);

/// Everything that is not the public internet: this host, private networks, link-local, carrier-grade NAT, benchmarks,
/// multicast and what is reserved (the registry of special-purpose addresses). The addresses of documentation are left
/// out: nobody's private network has them, and closed networks stand in for public registries with them.
pub(super) const NOT_PUBLIC: [Net; 12] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The networks of a list that IPv4 packets can go to.
pub(super) fn v4_only(nets: &[(IpAddr, u8)]) -> Vec<Net> {
    nets.iter()
        .filter_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Some(((*address), (*prefix).min(32))),
            IpAddr::V6(_) => None,
        })
        .map(|(address, prefix)| (network_of(address, prefix), prefix))
        .collect()
}

/// The same addresses in networks none of which lies within another.
pub(super) fn merged(nets: &[Net]) -> Vec<Net> {
    let mut kept: Vec<Net> = Vec::new();
    let mut sorted = nets.to_vec();
    sorted.sort_by_key(|(address, prefix)| (*prefix, *address));
    for net in sorted {
        if !kept.iter().any(|wide| contains(*wide, net.0)) {
            kept.push(net);
        }
    }
    kept
}

/// The address with the bits behind the prefix cleared.
pub(super) fn network_of(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) & mask(prefix))
}

pub(super) fn contains(net: Net, address: Ipv4Addr) -> bool {
    network_of(address, net.1) == network_of(net.0, net.1)
}

fn mask(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0)
}

/// Hands out numbers below a bound. The next one is tried first, so that a number rests for long before it is somebody
/// else's: late packets to its last owner have died by then.
#[derive(Debug)]
pub(super) struct Slots {
    taken: Vec<bool>,
    next: usize,
}

impl Slots {
    pub(super) fn new(count: usize, next: usize) -> Self {
        Self {
            taken: vec![false; count],
            next,
        }
    }

    pub(super) fn take(&mut self) -> Option<usize> {
        let count = self.taken.len();
        let slot = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|slot| !self.taken[*slot])?;
        self.taken[slot] = true;
        self.next = slot + 1;
        Some(slot)
    }

    pub(super) fn give_back(&mut self, slot: usize) {
        if let Some(taken) = self.taken.get_mut(slot) {
            *taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_back_rests_until_all_others_had_their_turn() {
        let mut slots = Slots::new(3, 0);
        assert_eq!(slots.take(), Some(0));
        slots.give_back(0);
        assert_eq!(slots.take(), Some(1));
        assert_eq!(slots.take(), Some(2));
        assert_eq!(slots.take(), Some(0));
        assert_eq!(slots.take(), None);
        slots.give_back(1);
        slots.give_back(99);
        assert_eq!(slots.take(), Some(1));
    }

    #[test]
    fn what_is_not_public_is_known() {
        let is_public = |text: &str| {
            let address = text.parse().unwrap();
            !NOT_PUBLIC.iter().any(|net| contains(*net, address))
        };
        for address in [
            "127.0.0.1",
            "10.9.8.7",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.251",
            "255.255.255.255",
            "0.0.0.0",
        ] {
            assert!(!is_public(address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "193.0.0.1",
            "11.0.0.1",
        ] {
            assert!(is_public(address), "{address}");
        }
    }

    #[test]
    fn a_prefix_of_nothing_holds_everything() {
        assert!(contains(
            (Ipv4Addr::UNSPECIFIED, 0),
            Ipv4Addr::new(8, 8, 8, 8)
        ));
        assert!(!contains(
            (Ipv4Addr::new(8, 8, 8, 8), 32),
            Ipv4Addr::new(8, 8, 8, 9)
        ));
    }
}
