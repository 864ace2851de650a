//! Small disks of a test's own, which can be filled and made read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::skip;

/// A disk in memory, unmounted on drop.
pub struct Disk {
    folder: TempDir,
}

/// How often it is tried again to cover a disk.
const COVER_AGAIN_MAX: usize = 20;

/// A mount over a folder that allows no writing below it, taken away on drop.
pub struct ReadOnlyCover {
    folder: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many MiB. Where that is not allowed, the running test is reported as skipped and there is
    /// none.
    #[track_caller]
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let size = format!("size={mebibytes}m,mode=700");
        match run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "pilvi-test"],
            folder.path(),
        ) {
            Ok(()) => Some(Self { folder }),
            Err(reason) => {
                skip::report(&format!(
                    "a disk cannot be mounted, which takes root: {reason}"
                ));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file that takes up `bytes`, or what there is.
    pub fn fill(&self, name: &str, bytes: usize) {
        use std::io::Write;
        let mut file = fs::File::create(self.path().join(name)).expect("a file takes no block");
        let block = [7; 4096];
        for _ in 0..bytes / block.len() {
            // The disk is full, and that was asked for.
            if file.write_all(&block).is_err() {
                return;
            }
        }
    }

    /// Makes the whole disk read-only or writable again. No file on it may be open for writing.
    #[track_caller]
    pub fn set_read_only(&self, read_only: bool) {
        let options = if read_only {
            "remount,ro"
        } else {
            "remount,rw"
        };
        run("mount", &["-o", options], self.path())
            .unwrap_or_else(|reason| panic!("the disk cannot be remounted: {reason}"));
    }

    /// Makes everything read-only for whoever opens it from now on. Open files stay as they are.
    #[track_caller]
    pub fn cover(&self) -> ReadOnlyCover {
        let folder = self.path().to_owned();
        let path = folder
            .to_str()
            .expect("a temporary folder has a plain name");
        // A file that a server opens between the two steps for writing is in the way of the second.
        let cover = || {
            run("mount", &["--bind", path], &folder)?;
            run("mount", &["-o", "remount,bind,ro"], &folder).inspect_err(|_| unmount(&folder))
        };
        let mut outcome = cover();
        for _ in 0..COVER_AGAIN_MAX {
            if outcome.is_ok() {
                break;
            }
            outcome = cover();
        }
        outcome.unwrap_or_else(|reason| panic!("the disk cannot be covered: {reason}"));
        ReadOnlyCover { folder }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

impl Drop for ReadOnlyCover {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

fn unmount(folder: &Path) {
    // Lazily: a server that is just ending may still hold a file.
    let _ = run("umount", &["--lazy"], folder);
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(folder).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_as_small_as_was_asked_and_can_be_made_read_only() {
        let Some(disk) = Disk::mount(1) else {
            return;
        };
        disk.fill("full", 2 << 20);
        let file = disk.path().join("full");
        assert_eq!(fs::metadata(&file).expect("it is there").len(), 1 << 20);
        assert!(fs::write(disk.path().join("more"), [7; 4096]).is_err());
        fs::remove_file(&file).expect("it is there");

        let cover = disk.cover();
        assert!(fs::write(&file, "x").is_err());
        drop(cover);
        fs::write(&file, "x").expect("the cover is gone");
        disk.set_read_only(true);
        assert!(fs::write(&file, "y").is_err());
        disk.set_read_only(false);
        fs::write(&file, "y").expect("the disk is writable again");
    }
}
