//! What a sandbox is told about itself, in files that are written for it.

use crate::spec::{Door, File, Limits};
use crate::stack;

/// The period of the kernel's scheduler that limits are counted in, in microseconds.
const PERIOD: u64 = 100_000;

/// Its names, and its limits.
pub(super) fn files(hostname: &str, doors: &[Door], limits: &Limits) -> Vec<File> {
    let mut files = vec![
        stack::hosts(hostname, doors),
        file("/etc/hostname", hostname),
    ];
    files.extend(limit_files(limits));
    files
}

/// The limits where language runtimes look for them to choose the size of a heap or the number of threads: they would
/// take the whole machine for theirs. The real files would tell more about the host than about the sandbox, and on a
/// machine with both versions of cgroups they are not where all look for them.
fn limit_files(limits: &Limits) -> Vec<File> {
    let memory = limits.memory_bytes.to_string();
    let quota = limits.cpu_max.map(|share| (share * PERIOD as f64) as u64);
    let cpu = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
    let legacy_cpu = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
    let lines = [
        ("cgroup.controllers", "cpu memory pids"),
        ("memory.max", &memory),
        ("memory.high", &memory),
        ("cpu.max", &format!("{cpu} {PERIOD}")),
        ("pids.max", &limits.pids.to_string()),
        ("memory/memory.limit_in_bytes", &memory),
        ("memory/memory.soft_limit_in_bytes", &memory),
        ("cpu/cpu.cfs_quota_us", &legacy_cpu),
        ("cpu/cpu.cfs_period_us", &PERIOD.to_string()),
    ];
    lines
        .into_iter()
        .map(|(name, line)| file(&format!("/sys/fs/cgroup/{name}"), line))
        .collect()
}

fn file(at: &str, line: &str) -> File {
    File {
        at: at.to_owned(),
        content: format!("{line}\n").into_bytes(),
        mode: 0o644,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(files: &[File], at: &str) -> String {
        let found = files.iter().find(|file| file.at == at).unwrap();
        String::from_utf8(found.content.clone()).unwrap()
    }

    #[test]
    fn limits_are_told_in_both_dialects() {
        let mut limits = Limits {
            memory_bytes: 512 << 20,
            cpu_max: Some(0.5),
            ..Limits::default()
        };
        let files = limit_files(&limits);
        assert_eq!(line_of(&files, "/sys/fs/cgroup/memory.max"), "536870912\n");
        assert_eq!(line_of(&files, "/sys/fs/cgroup/cpu.max"), "50000 100000\n");
        assert_eq!(
            line_of(&files, "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
            "536870912\n"
        );
        limits.cpu_max = None;
        let files = limit_files(&limits);
        assert_eq!(line_of(&files, "/sys/fs/cgroup/cpu.max"), "max 100000\n");
        assert_eq!(
            line_of(&files, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
            "-1\n"
        );
    }
}
