//! Limits, usage and the end of everything that runs in one sandbox, by control groups.
//!
//! Linux has three layouts of them and all three are met on servers of today. *Pure v2* has one tree; *legacy* (v1) has
//! one tree per controller; *hybrid* is legacy with an empty v2 tree beside it, which knows no limits but kills and
//! tells who is left. Where no tree may be written (not root, nothing delegated), a [`Cgroup`] stands for nothing: it
//! limits nothing, and the layer report says so.
//!
//! Every group of one daemon lies in one folder, its prefix, so what an earlier run left behind is found by name.
//! Start with [`Cgroups::open`].

mod detect;
mod group;
mod limits;
#[cfg(test)]
mod tests;
mod unified;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use self::detect::{Controllers, Mounts};
pub(crate) use self::group::Cgroup;
use crate::spec::Limits;

/// A step on a control group that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("could not {step} {}", path.display())]
pub(crate) struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    fn new(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            step,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// The outcome of a step on a control group.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Which of the kernel's layouts this machine has, as far as we may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One v2 tree that limits, kills and tells.
    Unified,
    /// Limits in v1, killing and telling in v2.
    Hybrid,
    /// v1 only.
    Legacy,
    /// None that we may write; why.
    None(String),
}

/// Makes the groups of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    controllers: Controllers,
    /// Makes names unique: a process that restarts may come before its predecessor's group is gone.
    made: AtomicU64,
    /// Our folders, locked, which tells other daemons that we live. The kernel unlocks them when we do not.
    alive: Vec<OwnedFd>,
}

impl Cgroups {
    /// Looks once at what the machine offers. `prefix` names the daemon's own folder of groups and is unique by data
    /// folder. In a pure v2 tree this moves the daemon into a leaf of its own, because a group with processes cannot
    /// have limited children.
    pub(crate) fn open(prefix: &str) -> Self {
        Self::on(&Mounts::of_this_process(), prefix)
    }

    /// The same on trees that the caller names; tests use plain folders.
    fn on(mounts: &Mounts, prefix: &str) -> Self {
        let mut claimed = Self::claim(mounts, prefix);
        // Until it is locked, a folder may be swept away by a daemon that starts at the same time.
        for _ in 0..CLAIMS_MAX {
            if claimed.holds_its_folders() {
                break;
            }
            std::thread::sleep(SWEPT_WITHIN);
            claimed = Self::claim(mounts, prefix);
        }
        Self(Arc::new(claimed))
    }

    fn claim(mounts: &Mounts, prefix: &str) -> Inner {
        let (kind, controllers) = detect::claim(mounts, prefix);
        let locked = |folder| locked(folder, FlockOperation::NonBlockingLockShared);
        let alive = controllers.parents().filter_map(locked).collect();
        Inner {
            kind,
            controllers,
            alive,
            made: AtomicU64::new(1),
        }
    }

    /// The layout in use.
    pub(crate) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// What cannot be limited or done here, each with its reason; empty when everything can.
    pub(crate) fn lacks(&self) -> Vec<Lack> {
        ABILITIES
            .into_iter()
            .filter(|ability| !self.0.controllers.can(*ability))
            .map(|ability| Lack {
                ability,
                why: self.why_not(ability),
            })
            .collect()
    }

    /// Makes a group and sets its limits; nothing runs in it yet. The name is told to operators only.
    pub(crate) fn create(&self, name: &str, limits: &Limits) -> Result<Cgroup> {
        let number = self.0.made.fetch_add(1, Ordering::Relaxed);
        let mut group = self.group(&format!("{}.{number}", folder_name(name)));
        group.make()?;
        match group.change(limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                // The first error is the one to tell; an empty group that stays is found at the next start.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    /// The groups below our prefix: at the start of a daemon, what an earlier run left behind.
    pub(crate) fn existing(&self) -> Vec<Cgroup> {
        let mut names: Vec<String> = self
            .0
            .controllers
            .parents()
            .flat_map(folders_in)
            .filter(|name| name != detect::DAEMON)
            .collect();
        names.sort();
        names.dedup();
        names.iter().map(|name| self.group(name)).collect()
    }

    /// Removes the folders of other daemons that have ended, which nobody comes back for when their data is gone too,
    /// unless something still runs in them. Not in a pure v2 tree, where a folder is more than a name.
    pub(crate) fn sweep(&self) {
        if self.0.kind == Kind::Unified {
            return;
        }
        for parent in self.0.controllers.parents() {
            let Some(place) = parent.parent() else {
                continue;
            };
            for name in folders_in(place) {
                let path = place.join(&name);
                if !name.starts_with("pilvi-") || path == parent {
                    continue;
                }
                // Held until they are gone: who comes to life meanwhile makes its folder anew.
                if let Some(_dead) = locked(&path, FlockOperation::NonBlockingLockExclusive) {
                    remove_empty(&path, LEVELS_SWEPT);
                }
            }
        }
    }

    /// Removes the daemon's own folders, when nothing is in them any more.
    pub(crate) fn remove(&self) {
        for parent in self.0.controllers.parents() {
            // It may hold groups still, or the daemon itself: then it stays for the next start.
            let _ = fs::remove_dir(parent);
        }
    }

    fn group(&self, name: &str) -> Cgroup {
        Cgroup::new(self.0.controllers.join(name))
    }

    fn why_not(&self, ability: Ability) -> String {
        match &self.0.kind {
            Kind::None(why) => why.clone(),
            kind => {
                let layout = match kind {
                    Kind::Unified => "cgroup v2",
                    Kind::Hybrid => "hybrid cgroups",
                    _ => "cgroup v1",
                };
                format!("the {layout} here offer no {}", ability.needs())
            }
        }
    }
}

impl Inner {
    /// Whether every folder is there and nobody sweeps it away from here on.
    fn holds_its_folders(&self) -> bool {
        let mut folders = self.controllers.parents();
        self.alive.len() == self.controllers.parents().count() && folders.all(Path::exists)
    }
}

/// How often folders are claimed that others sweep away meanwhile, and how long one such sweep may take.
const CLAIMS_MAX: u32 = 100;
const SWEPT_WITHIN: Duration = Duration::from_millis(2);

/// What control groups are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    Memory,
    Swap,
    Pids,
    Cpu,
    Kill,
    Freeze,
}

const ABILITIES: [Ability; 6] = [
    Ability::Memory,
    Ability::Swap,
    Ability::Pids,
    Ability::Cpu,
    Ability::Kill,
    Ability::Freeze,
];

impl Ability {
    fn needs(self) -> &'static str {
        match self {
            Self::Memory => "memory controller",
            Self::Swap => "limit for swap",
            Self::Pids => "pids controller",
            Self::Cpu => "cpu controller",
            Self::Kill => "cgroup.kill (Linux 5.14 brings it)",
            Self::Freeze => "freezer",
        }
    }
}

/// An ability that is not there, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) ability: Ability,
    pub(crate) why: String,
}

/// The name of a sandbox as the name of one folder: no separators, no surprises, not too long for the kernel.
fn folder_name(name: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '.',
    };
    let name: String = name.chars().take(100).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

/// Groups in groups that a sweep looks into; nobody makes that many.
const LEVELS_SWEPT: u32 = 8;

/// Removes the groups that nothing runs in, the innermost first. The kernel refuses the others.
fn remove_empty(folder: &Path, levels: u32) {
    if levels > 0 {
        for name in folders_in(folder) {
            remove_empty(&folder.join(name), levels - 1);
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The folder with a lock on it, or nothing when somebody else's lock is in the way.
fn locked(folder: &Path, how: FlockOperation) -> Option<OwnedFd> {
    let folder = OwnedFd::from(fs::File::open(folder).ok()?);
    flock(&folder, how).ok()?;
    Some(folder)
}

fn folders_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
