//! Whether names lead here.

use std::net::{IpAddr, ToSocketAddrs};

use super::{Circumstances, Finding, State};

/// A name that no app has, to be asked for below a domain.
const PROBE: &str = "pilvi-doctor";

/// The addresses of a name, as this machine's programs find them.
fn addresses(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    let mut addresses: Vec<_> = found
        .into_iter()
        .flatten()
        .map(|address| address.ip())
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

pub(super) fn localhost(circumstances: &Circumstances) -> Vec<Finding> {
    let name = format!("{PROBE}.localhost");
    let found = addresses(&name);
    let is_used = circumstances.options.apps.apps_domain == "localhost";
    vec![match found.iter().any(IpAddr::is_loopback) {
        true => Finding::fine("*.localhost", "leads to this machine, for every program"),
        false => Finding::of(
            match is_used {
                true => State::Warning,
                false => State::Note,
            },
            "*.localhost",
            "browsers and curl find it, other programs do not",
            "git, ssh, Node, Python and Qt do not find apps by their names here. The addresses that Pilvi prints for \
             pushes work all the same.",
            "sudo apt-get install libnss-myhostname",
        ),
    }]
}

/// The names under which others should reach this server and its apps.
pub(super) fn own(circumstances: &Circumstances) -> Vec<Finding> {
    let apps = &circumstances.options.apps;
    let mut wanted: Vec<(String, String)> = apps
        .own_names
        .iter()
        .map(|name| (name.clone(), name.clone()))
        .collect();
    if apps.apps_domain != "localhost" {
        let probe = format!("{PROBE}.{}", apps.apps_domain);
        wanted.push((format!("*.{}", apps.apps_domain), probe));
    }
    if wanted.is_empty() {
        return vec![Finding::fine("names", "none but localhost are configured")];
    }
    let resolved = wanted.into_iter().map(|(shown, asked)| {
        let found = addresses(&asked);
        if found.is_empty() {
            return Finding::of(
                State::Warning,
                &shown,
                "nothing is found under it",
                "Nobody reaches the server, or its apps, by this name.",
                format!("Add a record for {shown} with this machine's public address to the DNS of its domain."),
            );
        }
        let list: Vec<_> = found.iter().map(ToString::to_string).collect();
        Finding::fine(&shown, format!("leads to {}", list.join(", ")))
    });
    resolved.collect()
}
