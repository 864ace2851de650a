//! Whether the server can listen where it is to.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use super::{Circumstances, Finding, State};

pub(super) fn ports(circumstances: &Circumstances) -> Vec<Finding> {
    let options = &circumstances.options;
    let doors = [
        ("http", options.http),
        ("https", options.https),
        ("ssh", options.ssh),
    ];
    let findings = doors.map(|(name, address)| door(name, address, circumstances.is_running));
    findings.to_vec()
}

fn door(name: &str, address: SocketAddr, is_running: bool) -> Finding {
    if address.port() == 0 {
        return Finding::fine(name, format!("any free port of {}", address.ip()));
    }
    let error = match TcpListener::bind(address) {
        // A server that has just stopped leaves a port like this for a while, which a new one may take.
        Ok(_) if is_running => {
            return Finding::of(
                State::Note,
                name,
                format!("the running server does not listen on {address}"),
                "It was started with other settings.",
                "Restart it to have these settings count.",
            );
        }
        Ok(_) => return Finding::fine(name, format!("{address} is free")),
        Err(error) => error,
    };
    let costs = "The server does not start.";
    match error.kind() {
        ErrorKind::AddrInUse => in_use(name, address, is_running),
        ErrorKind::PermissionDenied => Finding::of(
            State::Fault,
            name,
            format!("this user may not use {address}"),
            costs,
            format!(
                "sudo sysctl net.ipv4.ip_unprivileged_port_start={}",
                address.port()
            ),
        ),
        ErrorKind::AddrNotAvailable => Finding::of(
            State::Fault,
            name,
            format!("this machine does not have the address {}", address.ip()),
            costs,
            format!(
                "Name one that `ip address` lists, or 0.0.0.0 for all: --{name} 0.0.0.0:{}",
                address.port()
            ),
        ),
        _ => Finding::of(
            State::Fault,
            name,
            format!("{address} cannot be used: {error}"),
            costs,
            format!("Choose another address with --{name}."),
        ),
    }
}

fn in_use(name: &str, address: SocketAddr, is_running: bool) -> Finding {
    let holder = holder(address);
    let is_pilvi = holder
        .as_ref()
        .is_none_or(|(program, _)| program == "pilvi");
    if is_running && is_pilvi {
        return Finding::fine(name, format!("{address}, where the running server listens"));
    }
    let found = match &holder {
        Some((program, id)) => format!("{address} is taken by {program}, process {id}"),
        None => format!("{address} is taken by another program"),
    };
    let mend = match holder {
        Some(_) => format!("Stop that, or choose another address with --{name}."),
        None => format!("sudo ss -ltnp 'sport = :{}'", address.port()),
    };
    Finding::of(
        State::Fault,
        name,
        found,
        "The server does not start.",
        mend,
    )
}

/// The name and the id of the process that listens there, as far as this user may see it.
fn holder(address: SocketAddr) -> Option<(String, String)> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .find_map(|table| {
            let table = fs::read_to_string(table).ok()?;
            listening(&table, address).map(|inode| format!("socket:[{inode}]"))
        })?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter(|process| is_number(&process.file_name()) && has_open(&process.path(), &socket))
        .find_map(|process| {
            let program = fs::read_to_string(process.path().join("comm")).ok()?;
            let id = process.file_name().to_string_lossy().into_owned();
            Some((program.trim().to_owned(), id))
        })
}

/// Beside the processes there are links to ourselves, and much else.
fn is_number(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

fn has_open(process: &Path, socket: &str) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.any(|target| target.as_os_str() == socket)
}

/// The inode of the socket that listens at an address, or at all of them, in a table of the kernel's.
pub(super) fn listening(table: &str, address: SocketAddr) -> Option<String> {
    const LISTENS: &str = "0A";
    let port = format!("{:04X}", address.port());
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (place, found_port) = words.get(1)?.split_once(':')?;
        let is_wide = place.bytes().all(|byte| byte == b'0');
        let is_there = is_wide || address.ip().is_unspecified() || place == hex(address.ip());
        (found_port == port && *words.get(3)? == LISTENS && is_there)
            .then(|| words.get(9).map(ToString::to_string))?
    })
}

/// An address as the kernel's tables have it: words of four bytes in the machine's own order.
fn hex(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = bytes.chunks(4).map(|word| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    words.collect()
}
