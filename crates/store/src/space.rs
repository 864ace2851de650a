//! Room on the disk: writes are refused while there is still some left, and those of a tenant that has its part.
//!
//! A disk that is full to the last block takes no journal, no index for readers and no deletion. So the last part of it
//! is kept for those: see [`crate::Limits::disk_reserve`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use rusqlite::Connection;

use crate::pool::Reserve;

/// How many bytes single files may hold. Shared by all writers.
#[derive(Debug, Default)]
pub(crate) struct Caps(RwLock<HashMap<PathBuf, u64>>);

impl Caps {
    pub(crate) fn set(&self, path: PathBuf, bytes_max: Option<u64>) {
        let mut caps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match bytes_max {
            Some(bytes_max) => drop(caps.insert(path, bytes_max)),
            None => drop(caps.remove(&path)),
        }
    }

    /// How much the file may hold, if it holds as much. What was deleted from a file leaves room in it, which does not
    /// count; only of a file that has grown so far it is asked how much that is.
    pub(crate) fn reached(&self, path: &Path, connection: &Connection) -> Option<u64> {
        let caps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bytes_max = *caps.get(path)?;
        drop(caps);
        if std::fs::metadata(path).ok()?.len() < bytes_max {
            return None;
        }
        let page = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = || {
            let pages = page("page_count")? - page("freelist_count")?;
            Ok::<_, rusqlite::Error>(pages.saturating_mul(page("page_size")?))
        };
        // Whatever is wrong there, the write itself will say it better.
        let used = u64::try_from(used().ok()?).ok()?;
        (used >= bytes_max).then_some(bytes_max)
    }
}

/// Watches over the reserve. Shared by all writers, so that one of them tells the log.
#[derive(Debug)]
pub(crate) struct Space {
    reserve: Reserve,
    low: AtomicBool,
}

impl Space {
    pub(crate) fn new(reserve: Reserve) -> Self {
        Self {
            reserve,
            low: AtomicBool::new(false),
        }
    }

    /// Whether the disk that holds `file` has less than its reserve left. It costs one system call, a hundredth of
    /// what the commit behind it costs.
    pub(crate) fn is_low(&self, file: &Path) -> bool {
        let Some(disk) = file.parent().and_then(Disk::of) else {
            // Whatever is wrong there, the write itself will say it better.
            return false;
        };
        let low = disk.free < disk.kept_free(self.reserve);
        if self.low.swap(low, Ordering::Relaxed) != low {
            tell(file, &disk, low);
        }
        low
    }
}

fn tell(file: &Path, disk: &Disk, low: bool) {
    let (path, free) = (file.display(), disk.free);
    if low {
        tracing::error!(%path, free, "the disk is nearly full: until there is room, nothing new is written");
    } else {
        tracing::info!(%path, free, "the disk has room again, and everything is written again");
    }
}

/// Sizes in bytes.
struct Disk {
    size: u64,
    free: u64,
}

impl Disk {
    fn of(folder: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(Self {
            size: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn kept_free(&self, reserve: Reserve) -> u64 {
        // Divided first: sizes of disks times a hundred may not fit.
        reserve
            .bytes
            .min(self.size / 100 * u64::from(reserve.percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: Reserve = Reserve {
        bytes: 64 << 20,
        percent: 10,
    };
    /// More than any disk has.
    const ALL: Reserve = Reserve {
        bytes: u64::MAX,
        percent: u8::MAX,
    };

    #[test]
    fn a_small_disk_keeps_a_small_reserve() {
        let kept_free = |size, reserve| Disk { size, free: 0 }.kept_free(reserve);
        assert_eq!(kept_free(1 << 40, RESERVE), 64 << 20);
        assert_eq!(kept_free(1000, RESERVE), 100);
        assert_eq!(
            kept_free(
                1 << 40,
                Reserve {
                    bytes: 0,
                    ..RESERVE
                }
            ),
            0
        );
    }

    #[test]
    fn a_disk_below_its_reserve_is_low() {
        let file = std::env::temp_dir().join("a.db");
        assert!(Space::new(ALL).is_low(&file));
        assert!(!Space::new(Reserve { bytes: 0, ..ALL }).is_low(&file));
    }

    #[test]
    fn what_cannot_be_measured_is_not_low() {
        assert!(!Space::new(ALL).is_low(Path::new("/there/is/no/such/folder/a.db")));
    }
}
