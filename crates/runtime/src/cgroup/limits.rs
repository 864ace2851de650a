//! The limits of a group, and how each layout of the kernel spells them.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Result};
use crate::spec::Limits;

/// One file of a group's folder and the line that goes into it.
pub(super) type Setting = (&'static str, String);

/// The period in which a quota of processor time is counted; the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// The kernel refuses a quota below one millisecond.
const QUOTA_MIN_US: u64 = 1000;

/// Microseconds of processor time in one period.
fn quota_us(limits: &Limits) -> Option<u64> {
    // Rounding is what is wanted; a nonsensical number of cores ends at the bounds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped just before"
    )]
    limits
        .cpu_max
        .map(|cores| (cores.clamp(0.0, 100_000.0) * PERIOD_US as f64).round() as u64)
        .map(|quota| quota.max(QUOTA_MIN_US))
}

fn weight(limits: &Limits) -> u64 {
    u64::from(limits.cpu_weight.clamp(1, 10_000))
}

/// v2: everything in one folder. `memory.oom.group` lets the kernel end the whole group when its memory runs out, so
/// that a sandbox never lives on as half of itself.
pub(super) fn unified_memory(limits: &Limits) -> Vec<Setting> {
    vec![
        ("memory.max", limits.memory_bytes.to_string()),
        ("memory.oom.group", "1".into()),
    ]
}

pub(super) fn unified_swap() -> Vec<Setting> {
    vec![("memory.swap.max", "0".into())]
}

pub(super) fn unified_cpu(limits: &Limits) -> Vec<Setting> {
    let quota = or_max(quota_us(limits));
    vec![
        ("cpu.max", format!("{quota} {PERIOD_US}")),
        ("cpu.weight", weight(limits).to_string()),
    ]
}

/// The same file in both layouts.
pub(super) fn pids(limits: &Limits) -> Vec<Setting> {
    vec![("pids.max", limits.pids.to_string())]
}

pub(super) fn legacy_cpu(limits: &Limits) -> Vec<Setting> {
    let quota = quota_us(limits).map_or("-1".into(), |quota| quota.to_string());
    // The kernel's default share is 1024, which is what a weight of 100 means.
    let shares = (weight(limits) * 1024 / 100).max(2);
    vec![
        ("cpu.cfs_period_us", PERIOD_US.to_string()),
        ("cpu.cfs_quota_us", quota),
        ("cpu.shares", shares.to_string()),
    ]
}

/// v1 keeps "memory" never above "memory and swap", also between two writes: which one goes first depends on whether
/// the limit grows.
pub(super) fn write_legacy_memory(folder: &Path, limits: &Limits) -> Result<()> {
    let value = limits.memory_bytes.to_string();
    let memory = ("memory.limit_in_bytes", value.clone());
    let both = ("memory.memsw.limit_in_bytes", value);
    if !folder.join(both.0).exists() {
        return write(folder, &[memory]);
    }
    match write(folder, std::slice::from_ref(&memory)) {
        Ok(()) => write(folder, &[both]),
        Err(_) => write(folder, &[both, memory]),
    }
}

pub(super) fn write(folder: &Path, settings: &[Setting]) -> Result<()> {
    for (file, line) in settings {
        let path = folder.join(file);
        fs::write(&path, line).map_err(|source| Error::new("write the limit", &path, source))?;
    }
    Ok(())
}

/// Bounds what all sandboxes of a daemon have together in v1, where their folder holds nobody else: each may take all
/// that it was promised, and there may be more promises than memory. Then the kernel looks for room among sandboxes,
/// and neither at the server nor at what else runs here. Files that are not there are passed over.
pub(super) fn bound_together(memory: Option<&Path>, pids: Option<&Path>) {
    let file = |folder: Option<&Path>, name: &str| {
        let path = folder?.join(name);
        path.exists().then_some(path)
    };
    let settings = [
        (file(memory, "memory.limit_in_bytes"), memory_together()),
        (file(pids, "pids.max"), processes_together()),
    ];
    for (path, value) in settings {
        if let (Some(path), Some(value)) = (path, value)
            && let Err(error) = fs::write(&path, value.to_string())
        {
            tracing::warn!(%error, path = %path.display(), "sandboxes could not be bounded together");
        }
    }
}

/// All memory but an eighth, and at least 512 MB of it if that is not most.
fn memory_together() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let all = kilobytes.checked_mul(1024)?;
    Some(all - (all / 8).max(512 << 20).min(all / 2))
}

/// Half of the processes that the kernel can number.
fn processes_together() -> Option<u64> {
    let most = ["pid_max", "threads-max"]
        .iter()
        .filter_map(|name| number(&Path::new("/proc/sys/kernel").join(name)))
        .min()?;
    Some(most / 2)
}

/// A file of one number; nothing where it is not there or not a number (`max`).
pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `key` in a file of `key number` lines.
pub(super) fn keyed(path: &Path, key: &str) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    }))
}

fn or_max(value: Option<u64>) -> String {
    value.map_or("max".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_a_core() -> Limits {
        Limits {
            memory_bytes: 256 << 20,
            pids: 64,
            cpu_max: Some(0.5),
            cpu_weight: 50,
            ..Limits::default()
        }
    }

    #[test]
    fn v2_spells_limits_in_its_own_files() {
        let limits = half_a_core();
        assert_eq!(unified_memory(&limits)[0].1, "268435456");
        assert_eq!(unified_cpu(&limits)[0].1, "50000 100000");
        assert_eq!(unified_cpu(&limits)[1].1, "50");
        assert_eq!(pids(&limits)[0].1, "64");
    }

    #[test]
    fn v1_counts_shares_from_1024() {
        let settings = legacy_cpu(&half_a_core());
        assert_eq!(settings[1], ("cpu.cfs_quota_us", "50000".into()));
        assert_eq!(settings[2], ("cpu.shares", "512".into()));
    }

    #[test]
    fn no_bound_on_processors_is_written_as_none() {
        let limits = Limits {
            cpu_max: None,
            ..half_a_core()
        };
        assert_eq!(unified_cpu(&limits)[0].1, "max 100000");
        assert_eq!(legacy_cpu(&limits)[1].1, "-1");
    }

    #[test]
    fn a_quota_stays_within_what_the_kernel_takes() {
        let of = |cores| {
            let limits = Limits {
                cpu_max: Some(cores),
                cpu_weight: 0,
                ..Limits::default()
            };
            (quota_us(&limits), weight(&limits))
        };
        assert_eq!(of(0.000_1), (Some(1000), 1));
        assert_eq!(of(f64::NAN).0, Some(1000));
        assert_eq!(of(-3.0).0, Some(1000));
    }
}
