//! One group: who is in it, what it uses, and its end.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::detect::Controllers;
use super::limits::{self, keyed, number};
use super::{Error, Result};
use crate::spec::{Limits, Usage};

/// The processes of one sandbox. Dropping it changes nothing: [`Cgroup::kill`] and [`Cgroup::remove`] do.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folders: Controllers,
    /// Opened when the group was made, for [`Cgroup::directory`].
    directory: Option<OwnedFd>,
}

/// How often an empty folder is tried again that the kernel still calls busy.
const REMOVE_TRIES: u32 = 200;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

impl Cgroup {
    pub(super) fn new(folders: Controllers) -> Self {
        Self {
            folders,
            directory: None,
        }
    }

    pub(super) fn make(&mut self) -> Result<()> {
        let is_swept = self
            .all()
            .any(|it| it.parent().is_some_and(|it| !it.is_dir()));
        let make = |folder: &Path| {
            // Another daemon may have swept our own folder away before it was locked.
            let parent = folder.parent().map_or(Ok(()), fs::create_dir_all);
            parent
                .and_then(|()| fs::create_dir(folder))
                .map_err(|error| Error::new("make the group", folder, error))
        };
        self.all().try_for_each(make)?;
        if is_swept {
            let parent = |folder: &Option<PathBuf>| folder.as_deref()?.parent().map(Path::to_owned);
            let (memory, pids) = (parent(&self.folders.memory), parent(&self.folders.pids));
            limits::bound_together(memory.as_deref(), pids.as_deref());
        }
        let open = |folder: &Path| {
            fs::File::open(folder)
                .map(OwnedFd::from)
                .map_err(|error| Error::new("open", folder, error))
        };
        self.directory = self.unified().map(open).transpose()?;
        Ok(())
    }

    /// The name of the folder, or nothing where there are no groups.
    pub(crate) fn name(&self) -> Option<&str> {
        self.all().next()?.file_name()?.to_str()
    }

    /// Sets other limits, also while processes run.
    pub(crate) fn change(&self, to: &Limits) -> Result<()> {
        let folders = &self.folders;
        if let Some(folder) = &folders.memory {
            limits::write_legacy_memory(folder, to)?;
        }
        if let Some(folder) = &folders.pids {
            limits::write(folder, &limits::pids(to))?;
        }
        if let Some(folder) = &folders.cpu {
            limits::write(folder, &limits::legacy_cpu(to))?;
        }
        let Some(unified) = &folders.unified else {
            return Ok(());
        };
        if unified.memory {
            limits::write(&unified.folder, &limits::unified_memory(to))?;
            if unified.folder.join("memory.swap.max").exists() {
                limits::write(&unified.folder, &limits::unified_swap())?;
            }
        }
        if unified.pids {
            limits::write(&unified.folder, &limits::pids(to))?;
        }
        if unified.cpu {
            limits::write(&unified.folder, &limits::unified_cpu(to))?;
        }
        Ok(())
    }

    /// The folder of the v2 tree, for `CLONE_INTO_CGROUP`: a child that is born into the group waits for nothing, where
    /// a move would wait for a grace period of the kernel (some 10 ms).
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// The ways into the v1 trees: a process that has one thread only joins by writing `0` into each. Unlike
    /// a move from outside this waits for nothing. They are opened by us, so whoever holds them needs no right to the
    /// files.
    pub(crate) fn doors(&self) -> Result<Vec<OwnedFd>> {
        let open = |folder: &Path| {
            let path = folder.join("tasks");
            OpenOptions::new()
                .write(true)
                .open(&path)
                .map(OwnedFd::from)
                .map_err(|error| Error::new("open", &path, error))
        };
        self.folders.legacy().into_iter().map(open).collect()
    }

    /// Moves a process with all its threads in from outside, which waits for the kernel as said above.
    #[cfg(test)]
    pub(crate) fn join(&self, pid: u32) -> Result<()> {
        let add_to = |folder: &Path| {
            let path = folder.join("cgroup.procs");
            fs::write(&path, pid.to_string())
                .map_err(|error| Error::new("move a process into", &path, error))
        };
        self.all().try_for_each(add_to)
    }

    /// The processes of the group, as this process sees them.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let Some(folder) = self.all().last() else {
            return Vec::new();
        };
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        text.lines()
            .filter_map(|line| Pid::from_raw(line.parse().ok()?))
            .collect()
    }

    /// Stops or continues every process, without a signal that they could see.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let (path, line) = if let Some(folder) = self.unified() {
            let line = if frozen { "1" } else { "0" };
            (folder.join("cgroup.freeze"), line)
        } else if let Some(folder) = &self.folders.freezer {
            let line = if frozen { "FROZEN" } else { "THAWED" };
            (folder.join("freezer.state"), line)
        } else {
            return Ok(());
        };
        fs::write(&path, line).map_err(|error| Error::new("write", &path, error))
    }

    /// Kills every process and waits until none is left, at most for `patience`. Blocks: not for an async task.
    pub(crate) fn kill(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        match &self.folders.unified {
            Some(unified) if unified.kill => {
                let path = unified.folder.join("cgroup.kill");
                write_if_there(&path, "1")
                    .map_err(|error| Error::new("kill by writing", &path, error))?;
            }
            _ => self.kill_one_by_one()?,
        }
        self.wait_until_empty(deadline)
    }

    /// Nobody can flee from a frozen group by forking.
    fn kill_one_by_one(&self) -> Result<()> {
        if self.processes().is_empty() {
            return Ok(());
        }
        self.freeze(true)?;
        for pid in self.processes() {
            // It may have ended in between; that is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.freeze(false)
    }

    fn wait_until_empty(&self, deadline: Instant) -> Result<()> {
        let Some(folder) = self.all().last() else {
            return Ok(());
        };
        let still_there = || Error::new("empty in time", folder, io::ErrorKind::TimedOut);
        let Some(unified) = self.unified() else {
            // v1 tells nobody when a group becomes empty.
            while !self.processes().is_empty() {
                if Instant::now() >= deadline {
                    return Err(still_there());
                }
                std::thread::sleep(REMOVE_PAUSE);
                self.kill_one_by_one()?;
            }
            return Ok(());
        };
        let path = unified.join("cgroup.events");
        let Ok(events) = fs::File::open(&path) else {
            // The group is gone already.
            return Ok(());
        };
        while is_populated(&events) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(still_there());
            }
            let patience = Timespec::try_from(left).ok();
            let mut waiting = [PollFd::new(&events, PollFlags::PRI)];
            // A signal that interrupts the wait only makes it look once more.
            let _ = poll(&mut waiting, patience.as_ref());
        }
        Ok(())
    }

    /// Removes the group, which must be empty; [`Cgroup::kill`] comes first. Blocks for as long as the kernel needs to
    /// bury the dead.
    pub(crate) fn remove(&self) -> Result<()> {
        for folder in self.all() {
            remove_tree(folder, 0)?;
        }
        Ok(())
    }

    /// What the processes use now; zero where the kernel does not tell. Memory is without the page cache that can be
    /// given back at once.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.memory_bytes().unwrap_or_default(),
            pids: self.pids().unwrap_or_default(),
            cpu: self.cpu_time().unwrap_or_default(),
        }
    }

    fn memory_bytes(&self) -> Option<u64> {
        let (folder, used, idle) = match &self.folders.memory {
            Some(folder) => (folder, "memory.usage_in_bytes", "total_inactive_file"),
            None => {
                let unified = self.folders.unified.as_ref().filter(|it| it.memory)?;
                (&unified.folder, "memory.current", "inactive_file")
            }
        };
        let idle = keyed(&folder.join("memory.stat"), idle).ok().flatten();
        Some(number(&folder.join(used))?.saturating_sub(idle.unwrap_or(0)))
    }

    fn pids(&self) -> Option<u64> {
        let unified = self.folders.unified.as_ref().filter(|it| it.pids);
        let folder = self.folders.pids.as_ref();
        let folder = folder.or(unified.map(|unified| &unified.folder))?;
        number(&folder.join("pids.current"))
    }

    fn cpu_time(&self) -> Option<Duration> {
        // A v2 group counts processor time even where it limits none.
        if let Some(folder) = self.unified() {
            let used = keyed(&folder.join("cpu.stat"), "usage_usec").ok().flatten();
            return used.map(Duration::from_micros);
        }
        let folder = self.folders.cpuacct.as_ref()?;
        number(&folder.join("cpuacct.usage")).map(Duration::from_nanos)
    }

    /// Whether the kernel ended a process here because the group's memory had run out.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.memory_file()
            .and_then(|path| keyed(&path, "oom_kill").ok().flatten())
            .is_some_and(|kills| kills > 0)
    }

    fn memory_file(&self) -> Option<PathBuf> {
        match &self.folders.memory {
            Some(folder) => Some(folder.join("memory.oom_control")),
            None => {
                let unified = self.folders.unified.as_ref().filter(|it| it.memory)?;
                Some(unified.folder.join("memory.events"))
            }
        }
    }

    fn unified(&self) -> Option<&Path> {
        self.folders.unified.as_ref().map(|it| it.folder.as_path())
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        self.folders.parents()
    }
}

fn write_if_there(path: &Path, line: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => io::Write::write_all(&mut file, line.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads the whole file, which also arms the next wait for its change.
fn is_populated(events: &fs::File) -> bool {
    let mut text = [0; 256];
    match rustix::io::pread(events, &mut text, 0) {
        Ok(length) => String::from_utf8_lossy(&text[..length]).contains("populated 1"),
        // The group has been removed.
        Err(_) => false,
    }
}

/// Also the groups that something made within it; a sandbox cannot, but an earlier version or an operator might.
fn remove_tree(folder: &Path, depth: u32) -> Result<()> {
    if depth < 8 {
        for name in super::folders_in(folder) {
            remove_tree(&folder.join(name), depth + 1)?;
        }
    }
    let mut tries = 0;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if is_busy(&error) && tries < REMOVE_TRIES => {
                tries += 1;
                std::thread::sleep(REMOVE_PAUSE);
            }
            Err(error) => return Err(Error::new("remove the group", folder, error)),
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}
