//! How much lies in folders that somebody else writes to.
//!
//! Whoever owns such a folder may turn any part of it into a link at any moment, so nothing here follows one.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};

use super::BuildLimits;
use super::outcome::Cause;

/// How much lies in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Folders in folders that are looked into, since each level costs an open file. Nothing could hide below them: a
/// folder that lies deeper counts as more than anybody may have.
pub(super) const DEPTH_MAX: usize = 64;

/// The time between two looks at a build's folders, at least; and the share of the time that may go into looking.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const LOOK_SHARE: u32 = 20;

/// The time between two looks at the room that is left: so short that the fastest disk does not fill up between them.
const LOOK_FOR_ROOM_AFTER: Duration = Duration::from_millis(100);

/// What a folder holds, until it is more than `enough`. What vanishes meanwhile is not counted.
pub(super) fn measure(folder: &Path, enough: Measure) -> Measure {
    let mut found = Measure::default();
    if let Ok(folder) = openat(CWD, folder, flags(), Mode::empty()) {
        add(&folder, DEPTH_MAX, enough, &mut found);
    }
    found
}

/// How many bytes lie in a folder, as far as so many files go that no app may have more.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    const ENOUGH: Measure = Measure {
        bytes: u64::MAX,
        files: 2_000_000,
    };
    measure(folder, ENOUGH).bytes
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn add(folder: &OwnedFd, depth: usize, enough: Measure, found: &mut Measure) {
    let Ok(entries) = Dir::read_from(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if found.files > enough.files || found.bytes > enough.bytes {
            return;
        }
        let name: CString = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        found.files += 1;
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        found.bytes = found.bytes.saturating_add(bytes);
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            continue;
        }
        let Some(depth) = depth.checked_sub(1) else {
            found.bytes = u64::MAX;
            return;
        };
        if let Ok(inner) = openat(folder, &name, flags(), Mode::empty()) {
            add(&inner, depth, enough, found);
        }
    }
}

/// Resolves once a build's folder holds more than it may, or the disk has too little room left for everybody else.
pub(super) async fn overfull(folder: &Path, limits: &BuildLimits) -> Cause {
    tokio::select! {
        cause = grown(folder, limits.disk_bytes, limits.files_max) => cause,
        () = crowded(folder, limits.disk_kept_free) => Cause::DiskNearlyFull,
    }
}

/// The free room that a build leaves on a disk, for databases, logs and what others build.
#[derive(Clone, Copy, Debug)]
pub struct KeptFree {
    pub bytes: u64,
    /// Of a small disk, no more than this part of it.
    pub percent: u8,
}

/// Resolves once the disk has less room left than a build leaves free.
async fn crowded(folder: &Path, kept: KeptFree) {
    loop {
        // One system call, which waits for no disk. A file system that does not say is not watched.
        if let Ok(disk) = rustix::fs::statvfs(folder) {
            let size = disk.f_blocks.saturating_mul(disk.f_frsize);
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < kept.bytes.min(size / 100 * u64::from(kept.percent)) {
                return;
            }
        }
        tokio::time::sleep(LOOK_FOR_ROOM_AFTER).await;
    }
}

/// Resolves once the folder holds more than it may.
async fn grown(folder: &Path, bytes_max: u64, files_max: u64) -> Cause {
    let enough = Measure {
        bytes: bytes_max,
        files: files_max,
    };
    let mut wait = LOOK_AGAIN_AFTER;
    loop {
        tokio::time::sleep(wait).await;
        let folder = folder.to_owned();
        let begun = Instant::now();
        let looked = tokio::task::spawn_blocking(move || measure(&folder, enough));
        let found = looked.await.unwrap_or_default();
        if found.bytes > bytes_max {
            return Cause::OutOfDisk(bytes_max);
        }
        if found.files > files_max {
            return Cause::TooManyFiles(files_max);
        }
        wait = LOOK_AGAIN_AFTER.max(begun.elapsed() * LOOK_SHARE);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const PLENTY: Measure = Measure {
        bytes: u64::MAX,
        files: u64::MAX,
    };

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), vec![1; 100_000]).unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), vec![1; 10_000]).unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink("/nowhere", tree.join("dangling")).unwrap();
        let found = measure(&tree, PLENTY);
        assert_eq!(found.files, 5);
        assert!((10_000..90_000).contains(&found.bytes), "{found:?}");
    }

    #[tokio::test]
    async fn a_folder_that_holds_too_much_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), vec![1; 100_000]).unwrap();
        let cause = grown(folder.path(), 50_000, 100).await;
        assert!(matches!(cause, Cause::OutOfDisk(50_000)), "{cause:?}");
        let cause = grown(folder.path(), 500_000, 0).await;
        assert!(matches!(cause, Cause::TooManyFiles(0)), "{cause:?}");
    }

    #[tokio::test]
    async fn what_lies_too_deep_to_be_counted_counts_as_too_much() {
        // In memory, where a folder takes no room of its own.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let nested = |levels: usize| folder.path().join(vec!["d"; levels].join("/"));
        fs::create_dir_all(nested(DEPTH_MAX)).unwrap();
        fs::write(nested(DEPTH_MAX).join("file"), vec![1; 10_000]).unwrap();
        let found = measure(folder.path(), PLENTY);
        assert!((10_000..50_000).contains(&found.bytes), "{found:?}");
        fs::create_dir_all(nested(70)).unwrap();
        fs::write(nested(70).join("file"), vec![1; 100_000]).unwrap();
        let looked =
            tokio::time::timeout(Duration::from_secs(10), grown(folder.path(), 50_000, 100));
        let cause = looked.await.unwrap();
        assert!(matches!(cause, Cause::OutOfDisk(50_000)), "{cause:?}");
    }

    #[tokio::test]
    async fn a_build_leaves_room_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let all_of_it = KeptFree {
            bytes: u64::MAX,
            percent: 101,
        };
        let limits = BuildLimits {
            disk_kept_free: all_of_it,
            ..BuildLimits::default()
        };
        let cause = overfull(folder.path(), &limits).await;
        assert!(matches!(cause, Cause::DiskNearlyFull), "{cause:?}");
    }
}
