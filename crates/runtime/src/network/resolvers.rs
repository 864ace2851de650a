//! Whom a sandbox asks for the addresses of names: the same resolvers as the host, as far as it can reach them.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

/// Where the host says which resolvers it asks.
const HOST: &str = "/etc/resolv.conf";

/// The resolvers behind systemd's own one, which listens on the host's loopback only.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

/// Where names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolvers {
    pub(super) servers: Vec<Ipv4Addr>,
    /// The lines besides the servers that matter to programs: `search` and `options`.
    pub(super) lines: Vec<String>,
    /// What is wrong, when there is no server.
    pub(super) problem: Option<String>,
}

impl Resolvers {
    /// Reads what the host is set up with.
    pub(super) fn of_host() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let host = Self::parse(&read(HOST));
        if host.servers.is_empty() {
            let behind = Self::parse(&read(BEHIND_SYSTEMD));
            if !behind.servers.is_empty() {
                return behind;
            }
        }
        host
    }

    /// The text of a `resolv.conf`, without the servers that only the host itself can reach.
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut passed_over = Vec::new();
        for line in text.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(server)) => match server.parse() {
                    Ok(IpAddr::V4(address))
                        if !address.is_loopback() && !address.is_unspecified() =>
                    {
                        found.servers.push(address);
                    }
                    _ => passed_over.push(server.to_owned()),
                },
                (Some("search" | "domain" | "options"), Some(_)) => {
                    found.lines.push(line.to_owned())
                }
                _ => {}
            }
        }
        if found.servers.is_empty() {
            found.problem = Some(problem(&passed_over));
        }
        found
    }

    /// The same as a `resolv.conf`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        text
    }
}

fn problem(passed_over: &[String]) -> String {
    let what = match passed_over {
        [] => "/etc/resolv.conf names no resolver".to_owned(),
        servers => format!(
            "the resolver {} of /etc/resolv.conf cannot be reached from a sandbox",
            servers.join(", ")
        ),
    };
    format!("{what}: name one by an IPv4 address that is not loopback")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_lists_are_kept() {
        let text = "# made by hand\nsearch example.org\nnameserver 192.0.2.53\n\
                    nameserver 2001:db8::1\noptions ndots:2\n";
        let resolvers = Resolvers::parse(text);
        assert_eq!(
            resolvers.text(),
            "search example.org\noptions ndots:2\nnameserver 192.0.2.53\n"
        );
        assert_eq!(resolvers.problem, None);
    }

    #[test]
    fn a_resolver_on_loopback_is_a_problem_that_is_told() {
        let resolvers = Resolvers::parse("nameserver 127.0.0.53\n");
        assert!(resolvers.servers.is_empty());
        assert!(resolvers.problem.unwrap().contains("127.0.0.53"));
        assert!(
            Resolvers::parse("")
                .problem
                .unwrap()
                .contains("names no resolver")
        );
    }
}
