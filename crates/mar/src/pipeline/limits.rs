//! What a build may use.

use std::time::Duration;

use super::disk::KeptFree;

/// What one build may use, so that none can hold up the machine or fill its disk.
#[derive(Clone, Debug)]
pub struct BuildLimits {
    /// From the first step to the last.
    pub time: Duration,
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Its share when processors are scarce; apps that serve have 100.
    pub cpu_weight: u32,
    /// All that it writes, without the cache.
    pub disk_bytes: u64,
    /// What it leaves free of the disk that it works on.
    pub disk_kept_free: KeptFree,
    /// Files and folders that it makes.
    pub files_max: u64,
    /// The largest single file.
    pub file_bytes: u64,
    /// The packed slug.
    pub slug_bytes: u64,
    /// The files of the slug.
    pub slug_unpacked_bytes: u64,
    pub slug_files: u64,
    /// What a build leaves for the next one.
    pub cache_bytes: u64,
    /// Output of the build that is shown.
    pub shown_bytes: u64,
    /// Output of the build that is read at all; one that writes more is ended.
    pub output_bytes: u64,
    /// Compilers that a buildpack runs at the same time.
    pub jobs: usize,
    /// Builds of all apps that run at the same time.
    pub builds_max: usize,
}

/// Memory that one compiler is reckoned with.
const JOB_BYTES: u64 = 512 << 20;

/// A build gets half of a machine's memory, within these bounds.
const MEMORY_MIN: u64 = 512 << 20;
const MEMORY_MAX: u64 = 2 << 30;

fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

impl BuildLimits {
    /// The usual ones, for slugs that may have what the service says of them.
    pub fn of(slug: &crate::Limits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_bytes = (machine_memory() / 2).clamp(MEMORY_MIN, MEMORY_MAX);
        Self {
            time: Duration::from_secs(15 * 60),
            memory_bytes,
            pids: 1024,
            cpu_weight: 30,
            disk_bytes: 6 << 30,
            disk_kept_free: KeptFree {
                bytes: 512 << 20,
                percent: 15,
            },
            files_max: 1_000_000,
            file_bytes: 2 << 30,
            slug_bytes: slug.slug_bytes,
            slug_unpacked_bytes: slug.slug_unpacked_bytes,
            slug_files: slug.slug_files,
            cache_bytes: 2 << 30,
            shown_bytes: 10 << 20,
            output_bytes: 500 << 20,
            jobs: processors.min(usize::try_from(memory_bytes / JOB_BYTES).unwrap_or(1)),
            builds_max: 2,
        }
    }
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self::of(&crate::Limits::default())
    }
}
