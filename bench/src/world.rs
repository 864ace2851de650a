//! What every benchmark needs to start a server: the cores, a folder, the programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::machine::Cores;
use crate::server::{Ready, Server, free_address};

/// The place in which servers run.
pub(crate) struct World {
    pub(crate) cores: Cores,
    /// The program under test.
    pub(crate) pilvi: PathBuf,
    folder: Rc<TempDir>,
}

impl World {
    pub(crate) fn new(cores: Cores, pilvi: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pilvi-bench-")
            .tempdir()
            .context("could not make a folder")?;
        // PostgreSQL runs as a user of its own and has to get in.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), mode)?;
        Ok(Self {
            cores,
            pilvi,
            folder: Rc::new(folder),
        })
    }

    /// The same place, in which server and load share both cores.
    pub(crate) fn with_shared_cores(&self) -> Self {
        Self {
            cores: self.cores.shared(),
            pilvi: self.pilvi.clone(),
            folder: Rc::clone(&self.folder),
        }
    }

    /// An empty folder of this name.
    pub(crate) fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server on a free address, which goes into the command.
    pub(crate) fn start(
        &self,
        name: &str,
        ready: &Ready<'_>,
        command: impl FnOnce(std::net::SocketAddr) -> Command,
    ) -> Result<Server> {
        let address = free_address()?;
        Server::start(
            name,
            command(address),
            address,
            ready,
            self.cores,
            self.folder.path(),
        )
    }

    /// On what the data lies: an fsync costs nothing in memory and much on a disk.
    pub(crate) fn file_system(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        kind_of(&mounts, self.folder()).unwrap_or_else(|| "unknown".into())
    }
}

/// The kind of the file system that `path` is on.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && path.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())
        .map(|fields| fields[2].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(
            kind_of(mounts, Path::new("/tmp/x")).as_deref(),
            Some("tmpfs")
        );
        assert_eq!(kind_of(mounts, Path::new("/tmpx")).as_deref(), Some("ext4"));
        assert_eq!(kind_of("", Path::new("/")), None);
    }
}
