//! The data folder and the disk below it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::{Circumstances, Finding, State};

/// Below this much free space things are watched; below the second, writes are refused.
const DISK_WANTED: u64 = 2 << 30;
const DISK_NEEDED: u64 = 256 << 20;
const INODES_WANTED: u64 = 50_000;

/// File systems that forget, and those whose locks SQLite cannot rely on.
const FORGETTING: [&str; 2] = ["tmpfs", "ramfs"];
const REMOTE: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"];

/// Whether a server has the folder open, without touching its lock.
pub(super) fn is_open(data: &Path) -> bool {
    let Ok(lock) = fs::metadata(data.join("lock")) else {
        return false;
    };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    holds(&locks, lock.dev(), lock.ino())
}

/// Whether a file is among those of `/proc/locks`.
pub(super) fn holds(locks: &str, device: u64, inode: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "FLOCK") && words.any(|word| word == place)
    })
}

pub(super) fn folder(circumstances: &Circumstances) -> Vec<Finding> {
    let name = "data folder";
    let data = &circumstances.data;
    let shown = data.display();
    let metadata = match fs::metadata(data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return vec![missing(data)],
        Err(error) => {
            return vec![Finding::of(
                State::Fault,
                name,
                format!("{shown} cannot be looked at: {error}"),
                "A server of this user does not start.",
                "Run this as the user that the server runs as, or name another folder with --data.",
            )];
        }
    };
    if !metadata.is_dir() {
        return vec![Finding::of(
            State::Fault,
            name,
            format!("{shown} is a file"),
            "A server does not start.",
            format!("Move it away, or name another folder: mv {shown} {shown}.old"),
        )];
    }
    if access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return vec![Finding::of(
            State::Fault,
            name,
            format!("{shown} may not be written by this user"),
            "A server of this user does not start.",
            "Run the server, and this, as the folder's owner, or see whether its disk is mounted read-only.",
        )];
    }
    let mut findings = vec![
        match (data.join("pilvi.db").exists(), circumstances.is_running) {
            (true, true) => Finding::fine(name, "open in a running server"),
            (true, false) => Finding::fine(name, "there; no server has it open"),
            (false, _) => Finding::fine(name, "empty; the first start fills it"),
        },
    ];
    findings.extend(exposed(data));
    findings
}

fn missing(data: &Path) -> Finding {
    let shown = data.display();
    let parent = nearest(data);
    if access(&parent, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Finding::fine("data folder", "not there yet; the first start makes it");
    }
    Finding::of(
        State::Fault,
        "data folder",
        format!("{shown} is not there, and this user may not make it"),
        "A server of this user does not start.",
        format!("sudo install -d -m 700 -o \"$USER\" {shown}"),
    )
}

/// Files whose secrets others may read.
fn exposed(data: &Path) -> Vec<Finding> {
    let secret = [
        "secret.key",
        "pilvi.db",
        "ca/ca.key",
        "ssh_host_ed25519_key",
    ];
    let open = secret
        .into_iter()
        .map(|name| data.join(name))
        .filter(|path| {
            let mode = fs::metadata(path).map(|metadata| metadata.mode());
            mode.is_ok_and(|mode| mode & 0o077 != 0)
        });
    let open: Vec<_> = open.map(|path| path.display().to_string()).collect();
    if open.is_empty() {
        return Vec::new();
    }
    vec![Finding::of(
        State::Warning,
        "secrets",
        format!("other users may read {}", open.join(" and ")),
        "Whoever reads them can act as anybody on this server.",
        format!("chmod 600 {}", open.join(" ")),
    )]
}

/// The folder, or the nearest one above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn disk(circumstances: &Circumstances) -> Vec<Finding> {
    let place = nearest(&circumstances.data);
    let mut findings = Vec::new();
    if let Ok(disk) = statvfs(&place) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let found = format!("{} free at {}", size(free), place.display());
        findings.push(if free < DISK_NEEDED {
            Finding::of(
                State::Fault,
                "disk",
                found,
                "Writes are refused until there is room again; what was written is safe.",
                "Delete what is not needed, or give the data folder a larger disk.",
            )
        } else if free < DISK_WANTED {
            Finding::of(
                State::Warning,
                "disk",
                found,
                "A few builds of apps fill this, and writes are refused then.",
                "Delete what is not needed, or give the data folder a larger disk.",
            )
        } else {
            Finding::fine("disk", found)
        });
        // Some file systems have no such number.
        if disk.f_files > 0 && disk.f_favail < INODES_WANTED {
            findings.push(Finding::of(
                State::Warning,
                "files on disk",
                format!("room for only {} more", disk.f_favail),
                "One app with many packages uses up as many.",
                "Delete what is not needed, or use a file system made with more inodes.",
            ));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = kind_of(&mounts, &place.canonicalize().unwrap_or(place.clone()));
    findings.extend(kind.and_then(|kind| unfit(&kind)));
    findings
}

/// What a file system cannot do.
fn unfit(kind: &str) -> Option<Finding> {
    if FORGETTING.contains(&kind) {
        return Some(Finding::of(
            State::Warning,
            "file system",
            format!("{kind}, which is in memory"),
            "All data is gone when this machine restarts.",
            "Choose a folder on a disk with --data.",
        ));
    }
    REMOTE.contains(&kind).then(|| {
        Finding::of(
            State::Fault,
            "file system",
            format!("{kind}, which is on another machine"),
            "Databases can be damaged, since locks do not hold there; apps cannot be built there.",
            "Choose a folder on a disk of this machine with --data.",
        )
    })
}

/// The kind of the file system that a path is on.
pub(super) fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let rows = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let kind = after.split(' ').next()?;
        path.starts_with(&point)
            .then(|| (point.len(), kind.to_owned()))
    });
    // Of several at one place the last is on top.
    let best = rows
        .enumerate()
        .max_by_key(|(row, (length, _))| (*length, *row));
    best.map(|(_, (_, kind))| kind)
}

/// `3.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", tenths(1 << 30)),
    }
}
