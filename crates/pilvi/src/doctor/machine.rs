//! The machine: its kernel, who we are on it, clock, memory, files.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::programs::{Said, ask};
use super::{Circumstances, Finding, State};

/// From here on the kernel has all that the sandboxes use; older ones lack a layer or more.
const KERNEL_WANTED: (u32, u32) = (6, 12);
/// Older ones lack what cannot be done without: user namespaces with overlays.
const KERNEL_NEEDED: (u32, u32) = (5, 11);

/// What a server with some dozens of clients and apps needs.
const MEMORY_WANTED_KIB: u64 = 512 * 1024;
const FILES_WANTED: u64 = 16_384;
const FILES_NEEDED: u64 = 1_024;

/// Before this day nobody can have built this program.
const PLAUSIBLE_FROM: u64 = 1_780_000_000;

pub(super) fn system(_: &Circumstances) -> Vec<Finding> {
    let name = "system";
    let release = read("/proc/sys/kernel/osrelease");
    let system = read("/etc/os-release");
    let pretty = value_of(&system, "PRETTY_NAME").unwrap_or_else(|| "an unnamed system".to_owned());
    let found = format!("{pretty}, Linux {release}, {}", std::env::consts::ARCH);
    let Some(version) = kernel_version(&release) else {
        return vec![Finding::of(
            State::Warning,
            name,
            found,
            "This is no kernel that is known, so nobody knows what works.",
            "Run Pilvi on Linux 6.12 or newer, such as that of Debian 13.",
        )];
    };
    vec![if version < KERNEL_NEEDED {
        Finding::of(
            State::Fault,
            name,
            found,
            "Apps cannot run: this kernel is too old to mount overlays within user namespaces.",
            "Upgrade to Linux 5.11 or newer, best 6.12 or newer, as in Debian 13.",
        )
    } else if version < KERNEL_WANTED {
        Finding::of(
            State::Note,
            name,
            found,
            "Sandboxes have all layers of protection from Linux 6.12 on.",
            "",
        )
    } else {
        Finding::fine(name, found)
    }]
}

/// `6.1` out of `6.1.0-28-amd64`.
pub(super) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// `KEY="value"` in a file of such lines.
pub(super) fn value_of(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

pub(super) fn user(circumstances: &Circumstances) -> Vec<Finding> {
    vec![match circumstances.is_root {
        true => Finding::fine(
            "user",
            "root, who can give every app a user and a network of its own",
        ),
        false => Finding::of(
            State::Note,
            "user",
            format!("uid {}, not root", rustix::process::geteuid().as_raw()),
            "A server that this user starts works; its apps share this user and have no limits that only root can set. \
             What is said below is how it is for this user.",
            "sudo pilvi doctor",
        ),
    }]
}

pub(super) fn clock(_: &Circumstances) -> Vec<Finding> {
    let name = "clock";
    let now = pilvi_base::Clock::system().now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    if since.map_or(0, |since| since.as_secs()) < PLAUSIBLE_FROM {
        return vec![Finding::of(
            State::Fault,
            name,
            "it is years behind",
            "Certificates are not valid yet, and every token and time stamp is wrong.",
            "sudo timedatectl set-ntp true",
        )];
    }
    // Where no systemd runs, as in containers, somebody else keeps the time.
    let said = ask(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    );
    vec![match said {
        Said::Text(text) if text.trim() == "yes" => {
            Finding::fine(name, "kept right by the network")
        }
        Said::Text(text) if text.trim() == "no" => Finding::of(
            State::Warning,
            name,
            "nobody keeps it right",
            "When it drifts, sign-ins by other providers fail and time stamps are wrong.",
            "sudo timedatectl set-ntp true",
        ),
        _ => Finding::fine(
            name,
            "plausible; whether anybody keeps it right cannot be seen from here",
        ),
    }]
}

pub(super) fn memory(_: &Circumstances) -> Vec<Finding> {
    let text = read("/proc/meminfo");
    let kib = |key: &str| -> Option<u64> {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse().ok()
    };
    let (Some(available), Some(total)) = (kib("MemAvailable"), kib("MemTotal")) else {
        return Vec::new();
    };
    let found = format!("{} MiB free of {} MiB", available / 1024, total / 1024);
    vec![match available < MEMORY_WANTED_KIB {
        false => Finding::fine("memory", found),
        true => Finding::of(
            State::Warning,
            "memory",
            found,
            "A build, or an app of the size small, can use up the rest, and the kernel ends whatever is largest then.",
            "End what is not needed, or run fewer apps.",
        ),
    }]
}

pub(super) fn open_files(_: &Circumstances) -> Vec<Finding> {
    let name = "open files";
    let most = getrlimit(Resource::Nofile).maximum;
    let Some(most) = most else {
        return vec![Finding::fine(name, "no limit")];
    };
    let found = format!("at most {most}");
    if most >= FILES_WANTED {
        return vec![Finding::fine(name, found)];
    }
    let state = match most < FILES_NEEDED {
        true => State::Fault,
        false => State::Warning,
    };
    let about = most / 2;
    let mend = match Path::new("/run/systemd/system").exists() {
        true => "Set LimitNOFILE=1048576 in the unit of the server, or run: ulimit -Hn 1048576",
        false => "ulimit -Hn 1048576",
    };
    let costs = format!(
        "Clients, sockets and databases share them: about {about} connections at a time are all."
    );
    vec![Finding::of(state, name, found, costs, mend)]
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}
