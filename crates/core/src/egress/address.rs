//! Which addresses may be connected to on somebody else's behalf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

/// The operator's decisions about targets.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Allow loopback: right when Pilvi itself listens on loopback only, so that nobody else can name a target.
    pub loopback: bool,
    /// Addresses that are allowed whatever they are.
    pub allowed: Vec<IpAddr>,
    /// Places that the operator named themselves, which may have any address.
    pub trusted: Vec<Place>,
}

/// A host and port that is called over one scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    secure: bool,
    host: String,
    port: u16,
}

impl Place {
    /// Where a URL leads; `None`: it is not one of http or https.
    pub fn of(target: &Uri) -> Option<Self> {
        let secure = match target.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            secure,
            host: target.host()?.to_ascii_lowercase(),
            port: target.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }
}

impl Policy {
    /// Is this one of the places that the operator named?
    pub fn trusts(&self, target: &Uri) -> bool {
        !self.trusted.is_empty()
            && Place::of(target).is_some_and(|place| self.trusted.contains(&place))
    }

    /// # Errors
    /// Why the address is refused, as a whole sentence.
    pub fn check(&self, address: IpAddr) -> Result<(), String> {
        let address = embedded_v4(address);
        if self.allowed.contains(&address) || (self.loopback && address.is_loopback()) {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(address) => kind_v4(address),
            IpAddr::V6(address) => kind_v6(address),
        };
        match kind {
            None => Ok(()),
            Some(kind) => Err(format!(
                "the target's address {address} is {kind}, which this server does not call"
            )),
        }
    }
}

/// An IPv4 address in IPv6 clothes is what it is.
fn embedded_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [first, second, third, .., high, low] = v6.segments();
    let tail = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let mapped = v6.to_ipv4_mapped();
    let nat64 = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = v6.segments()[..6] == [0; 6] && !v6.is_loopback() && !v6.is_unspecified();
    let six_to_four =
        (first == 0x2002).then(|| Ipv4Addr::from((u32::from(second) << 16) | u32::from(third)));
    match mapped
        .or((nat64 || compatible).then_some(tail))
        .or(six_to_four)
    {
        Some(v4) => IpAddr::V4(v4),
        None => address,
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_private() => Some("a private address"),
        _ if address.is_link_local() => Some("a link-local address"),
        _ if address.is_multicast() => Some("a multicast address"),
        (0, ..) | (240..=255, ..) => Some("not a host address"),
        (100, 64..=127, _) => Some("a carrier's private address"),
        (192, 0, 0) | (198, 18 | 19, _) => Some("a special-purpose address"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("a documentation address"),
        _ => None,
    }
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    match segments[0] {
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_unspecified() => Some("not a host address"),
        0xfc00..=0xfdff => Some("a private address"),
        0xfe80..=0xfeff => Some("a link-local address"),
        0xff00.. => Some("a multicast address"),
        0x2001 if segments[1] == 0xdb8 => Some("a documentation address"),
        0x64 if segments[1] == 0xff9b => Some("a special-purpose address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_addresses_are_refused_in_every_disguise() {
        let policy = Policy::default();
        for inner in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001:db8::1",
        ] {
            assert!(policy.check(inner.parse().unwrap()).is_err(), "{inner}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        let policy = Policy::default();
        for public in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(policy.check(public.parse().unwrap()), Ok(()), "{public}");
        }
    }

    #[test]
    fn the_operator_can_allow_more() {
        let policy = Policy {
            loopback: true,
            allowed: vec!["10.0.0.5".parse().unwrap()],
            trusted: Vec::new(),
        };
        for allowed in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5"] {
            assert_eq!(policy.check(allowed.parse().unwrap()), Ok(()), "{allowed}");
        }
        assert!(policy.check("10.0.0.6".parse().unwrap()).is_err());
    }

    #[test]
    fn a_trusted_place_is_one_host_and_port_over_one_scheme() {
        let place = |url: &str| Place::of(&url.parse().unwrap());
        let policy = Policy {
            trusted: place("https://Id.Example.org/realms/a")
                .into_iter()
                .collect(),
            ..Policy::default()
        };
        for (target, trusted) in [
            ("https://id.example.org/token", true),
            ("https://ID.example.org:443/x", true),
            ("https://id.example.org:8443/token", false),
            ("http://id.example.org/token", false),
            ("http://id.example.org:443/token", false),
            ("https://example.org/token", false),
            ("https://id.example.org.evil.com/", false),
        ] {
            assert_eq!(policy.trusts(&target.parse().unwrap()), trusted, "{target}");
        }
        assert!(!Policy::default().trusts(&"https://id.example.org/".parse().unwrap()));
        assert_eq!(place("ftp://id.example.org/"), None);
    }
}
