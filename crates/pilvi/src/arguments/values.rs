//! How the values of options are read.

use std::net::{IpAddr, Ipv4Addr};

use pilvi_base::Secret;
use pilvi_platform::Datacenter;

/// A host name as it is compared with those that apps ask for.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let domain = text.trim().parse::<pilvi_model::app::Domain>();
    domain
        .map(|domain| domain.to_string())
        .map_err(|error| error.message)
}

/// The name of a datacenter, and what people read for it.
pub(super) fn parse_datacenter(text: &str) -> Result<Datacenter, String> {
    let (name, description) = text.split_once('=').unwrap_or((text, ""));
    Datacenter::new(name.trim(), description.trim()).map_err(|error| error.message)
}

/// An address and the length of its prefix; a bare address is a network of one.
pub(super) fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "is not an address such as 10.0.0.0/8".to_owned())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| *length <= longest)
            .ok_or_else(|| format!("ends with a prefix length of 0 to {longest}, such as /16"))?,
    };
    Ok((address, length))
}

/// A range of IPv4 addresses with room for some apps.
pub(super) fn parse_range(text: &str) -> Result<(Ipv4Addr, u8), String> {
    match parse_network(text)? {
        (IpAddr::V4(address), length @ 8..=24) => Ok((address, length)),
        _ => Err("must be an IPv4 range of /8 to /24, such as 10.213.0.0/16".to_owned()),
    }
}

/// A secret, such as an address with a password in it.
pub(super) fn parse_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
