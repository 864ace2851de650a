//! Room on the disk: what grows is refused while there is still some left.
//!
//! A disk that is full to the last block takes no journal, no index for readers and no deletion. So the last part of it
//! is kept for those.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many bytes, or so much of the disk where that is less. 0: none.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    pub bytes: u64,
    pub percent: u8,
}

/// Watches over the reserve. Shared by all that write to one disk, so that one of them tells the log.
#[derive(Debug)]
pub struct Space {
    reserve: Reserve,
    low: AtomicBool,
}

impl Space {
    pub fn new(reserve: Reserve) -> Self {
        Self {
            reserve,
            low: AtomicBool::new(false),
        }
    }

    /// Whether the disk that holds `file` has less than its reserve left. It costs one system call, a hundredth of
    /// what the commit behind it costs.
    pub fn is_low(&self, file: &Path) -> bool {
        self.lacks(file, 0)
    }

    /// Whether the disk that holds `file` would have less than its reserve left after so many bytes more.
    pub fn lacks(&self, file: &Path, bytes: u64) -> bool {
        let Some(disk) = file.parent().and_then(Disk::of) else {
            // Whatever is wrong there, the write itself will say it better.
            return false;
        };
        let kept = disk.kept_free(self.reserve);
        let low = disk.free < kept;
        if self.low.swap(low, Ordering::Relaxed) != low {
            tell(file, &disk, low);
        }
        disk.free < kept.saturating_add(bytes)
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
    const NONE: Reserve = Reserve { bytes: 0, ..ALL };

    #[test]
    fn a_small_disk_keeps_a_small_reserve() {
        let kept_free = |size, reserve| Disk { size, free: 0 }.kept_free(reserve);
        assert_eq!(kept_free(1 << 40, RESERVE), 64 << 20);
        assert_eq!(kept_free(1000, RESERVE), 100);
        assert_eq!(kept_free(1 << 40, NONE), 0);
    }

    #[test]
    fn a_disk_below_its_reserve_is_low() {
        let file = std::env::temp_dir().join("a.db");
        assert!(Space::new(ALL).is_low(&file));
        assert!(!Space::new(NONE).is_low(&file));
        assert!(Space::new(NONE).lacks(&file, u64::MAX));
    }

    #[test]
    fn what_cannot_be_measured_is_not_low() {
        assert!(!Space::new(ALL).is_low(Path::new("/there/is/no/such/folder/a.db")));
    }
}
