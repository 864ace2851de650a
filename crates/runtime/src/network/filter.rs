//! The firewall of all sandboxes of one daemon: one table, written once for the first of them, that knows them by the
//! names of their devices. A sandbox that comes or goes later changes nothing in it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::addresses::{NOT_PUBLIC, Net, merged};
use crate::host;

/// How long an interactive `nft` may take to make the table; it does so within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(2);

/// How many connections one sandbox may have: the kernel keeps those of the whole host in one table of limited size.
const CONNECTIONS_MAX: u32 = 4096;

/// What the table is written from.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    pub(super) table: &'a str,
    /// What the names of our devices begin with.
    pub(super) devices: &'a str,
    pub(super) range: Net,
    pub(super) resolvers: &'a [Ipv4Addr],
    pub(super) allowed: &'a [Net],
    /// What apps do not reach besides what is not public.
    pub(super) near: &'a [Net],
    /// Devices to the world that forward only because we asked for it: nobody else's packets may pass.
    pub(super) guarded: &'a [String],
}

impl Filter<'_> {
    /// The table in the language of `nft`; it replaces an earlier one of the same name in one step.
    pub(super) fn text(&self) -> String {
        let Self { table, devices, .. } = self;
        let mut text = String::new();
        let exceptions = self.exceptions();
        let guard = self.guard();
        let _ = write!(
            text,
            r#"table inet {table}
delete table inet {table}
table inet {table} {{
    comment "Made by Pilvi for the network of apps; removed when it stops"

    set connections {{
        type ipv4_addr
        size 65535
        flags dynamic
    }}

    chain refuse {{
        reject with icmpx type admin-prohibited
    }}

    chain input {{
        type filter hook input priority filter - 10; policy accept;
        iifname "{devices}*" jump to_host
    }}

    chain to_host {{
        meta nfproto ipv6 drop
        fib saddr . iif oif missing drop
{exceptions}
        goto refuse
    }}

    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        iifname "{devices}*" jump leaving
        oifname "{devices}*" jump arriving
{guard}
    }}

    chain leaving {{
        meta nfproto ipv6 drop
        fib saddr . iif oif missing drop
        oifname "pilvi*" goto refuse
{exceptions}
        ip daddr {{ {refused} }} goto refuse
        ct state new add @connections {{ ip saddr ct count over {CONNECTIONS_MAX} }} goto refuse
        accept
    }}

    chain arriving {{
        ct state established,related accept
        drop
    }}

    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {range} oifname != "pilvi*" masquerade
    }}
}}
"#,
            refused = list(&[&NOT_PUBLIC, self.near].concat()),
            range = net(self.range),
        );
        text
    }

    fn exceptions(&self) -> String {
        let mut text = String::new();
        if !self.resolvers.is_empty() {
            let servers: Vec<Net> = self.resolvers.iter().map(|it| (*it, 32)).collect();
            let _ = writeln!(
                text,
                "        ip daddr {{ {} }} meta l4proto {{ tcp, udp }} th dport 53 accept",
                list(&servers)
            );
        }
        if !self.allowed.is_empty() {
            let _ = writeln!(text, "        ip daddr {{ {} }} accept", list(self.allowed));
        }
        text
    }

    /// What was redirected to elsewhere by an administrator's own rules is their affair.
    fn guard(&self) -> String {
        if self.guarded.is_empty() {
            return String::new();
        }
        let devices: Vec<String> = self.guarded.iter().map(|it| format!("{it:?}")).collect();
        format!(
            "        ct state established,related accept\n        iifname {{ {} }} ct status != dnat drop",
            devices.join(", ")
        )
    }
}

/// `nft` refuses a list in which one network lies within another.
fn list(nets: &[Net]) -> String {
    let nets: Vec<String> = merged(nets).into_iter().map(net).collect();
    nets.join(", ")
}

fn net((address, prefix): Net) -> String {
    format!("{address}/{prefix}")
}

/// A table that lives as long as the `nft` that made it, and that one as long as we hold the other end of its input. A
/// server that is killed leaves no firewall behind, and nobody's `flush ruleset` takes it away while it is needed.
#[derive(Debug)]
pub(super) struct Keeper(Child);

/// Makes the table of a text that belongs to a process; `None` where the kernel or `nft` knows no such tables.
pub(super) fn keep(text: &str, table: &str) -> Option<Keeper> {
    let child = host::command("nft")
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not ended with us by the keys of a terminal: there is a shutdown to go through first.
        .process_group(0)
        .spawn();
    let mut keeper = Keeper(child.ok()?);
    let owned = text.replace("    comment ", "    flags owner\n    comment ");
    let input = keeper.0.stdin.as_mut()?;
    input.write_all(in_one_line(&owned).as_bytes()).ok()?;
    let deadline = Instant::now() + PATIENCE;
    while !is_there(table) {
        let has_ended = keeper.0.try_wait().is_ok_and(|status| status.is_some());
        if has_ended || Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(GLANCE);
    }
    Some(keeper)
}

/// The interactive `nft` takes one command a line; the first two lines of our text are commands of their own.
fn in_one_line(text: &str) -> String {
    let mut line = String::new();
    for (number, part) in text
        .lines()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .enumerate()
    {
        line.push_str(part);
        line.push_str(match part {
            _ if number < 2 => "\n",
            _ if part.ends_with('{') => " ",
            _ => "; ",
        });
    }
    line.push('\n');
    line
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether there is a table of that name.
pub(super) fn is_there(table: &str) -> bool {
    ask(&["list", "tables"]).is_ok_and(|tables| {
        tables
            .lines()
            .any(|line| line.trim().strip_prefix("table inet ") == Some(table))
    })
}

/// Has `nft` carry out a text. What it says when it does not is the error.
pub(super) fn apply(text: &str) -> io::Result<()> {
    feed(&["-f", "-"], text)
}

/// Has `nft` and the kernel look at a text as if it were to be carried out.
pub(super) fn check(text: &str) -> io::Result<()> {
    feed(&["--check", "-f", "-"], text)
}

fn feed(arguments: &[&str], text: &str) -> io::Result<()> {
    let mut nft = host::command("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("nothing");
    Err(io::Error::other(format!(
        "nft refused the rules and said: {first}"
    )))
}

/// What `nft` prints about `arguments`.
pub(super) fn ask(arguments: &[&str]) -> io::Result<String> {
    let output = host::command("nft").args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// Removes a table, if it is there.
pub(super) fn remove(table: &str) -> io::Result<()> {
    apply(&format!("table inet {table}\ndelete table inet {table}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_come_before_what_is_refused() {
        let text = Filter {
            table: "pilvi-t",
            devices: "pilviab12-",
            range: (Ipv4Addr::new(10, 213, 0, 0), 16),
            resolvers: &[Ipv4Addr::new(192, 0, 2, 53)],
            allowed: &[
                (Ipv4Addr::new(10, 1, 2, 0), 24),
                (Ipv4Addr::new(10, 1, 2, 3), 32),
            ],
            near: &[
                (Ipv4Addr::new(45, 0, 0, 0), 24),
                (Ipv4Addr::new(172, 17, 0, 0), 16),
                (Ipv4Addr::new(45, 0, 0, 0), 24),
            ],
            guarded: &["eth0".into()],
        }
        .text();
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("no {what} in {text}"))
        };
        let leaving = at("chain leaving");
        let exception = leaving + text[leaving..].find("10.1.2.0/24").unwrap();
        assert!(exception < at("172.16.0.0/12"));
        assert!(!text.contains("10.1.2.3"), "{text}");
        assert!(exception < at("45.0.0.0/24"));
        // One list has no network twice, nor within another.
        assert_eq!(text.matches("45.0.0.0/24").count(), 1);
        assert!(!text.contains("172.17.0.0"), "{text}");
        assert!(text.contains("iifname { \"eth0\" } ct status != dnat drop"));
    }

    #[test]
    fn a_host_that_forwards_by_itself_is_not_guarded() {
        let text = Filter {
            table: "pilvi-t",
            devices: "pilviab12-",
            range: (Ipv4Addr::new(10, 213, 0, 0), 16),
            resolvers: &[],
            allowed: &[],
            near: &[],
            guarded: &[],
        }
        .text();
        assert!(!text.contains("dnat"));
        assert!(!text.contains("dport 53"));
    }
}
