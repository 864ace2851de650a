//! What an earlier run of the same data folder left behind, when it was killed before it could tidy up.

use std::time::Duration;

use crate::cgroup::Cgroups;
use crate::network;

/// How long killed processes may take to be gone; a process in the middle of a slow disk write takes long to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends and removes everything that carries our prefix: processes with their groups first, then the devices and the
/// firewall. Init ends each sandbox when its server is gone, so there is seldom anything. Blocks.
pub(crate) fn clean_up(cgroups: &Cgroups, prefix: &str) {
    for group in cgroups.existing() {
        let name = group.name().unwrap_or_default().to_owned();
        let outcome = group.kill(PATIENCE).and_then(|()| group.remove());
        match outcome {
            Ok(()) => tracing::info!(group = name, "a sandbox of an earlier run has been removed"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                group = name,
                "a sandbox of an earlier run could not be removed: end its processes by hand"
            ),
        }
    }
    cgroups.sweep();
    if let Err(error) = network::clean_up(prefix) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the network devices of an earlier run could not be removed"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::spec::Limits;
    use crate::testing::{is_root_or_skip, own_prefix};

    #[test]
    fn the_processes_of_an_earlier_run_are_ended_and_those_of_others_are_not() {
        if !is_root_or_skip("cleaning up") {
            return;
        }
        let sleeper = |cgroups: &Cgroups| {
            let group = cgroups.create("web.1", &Limits::default()).unwrap();
            let child = Command::new("sleep")
                .arg("60")
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            group.join(child.id()).unwrap();
            child
        };
        let (prefix, other_prefix) = (own_prefix(), own_prefix());
        let (cgroups, others) = (Cgroups::open(&prefix), Cgroups::open(&other_prefix));
        let (mut ours, mut theirs) = (sleeper(&cgroups), sleeper(&others));
        clean_up(&cgroups, &prefix);
        assert!(!ours.wait().unwrap().success());
        assert!(theirs.try_wait().unwrap().is_none());
        assert!(cgroups.existing().is_empty());
        clean_up(&others, &other_prefix);
        theirs.wait().unwrap();
        // A folder that was taken away while its daemon lives is made anew.
        others.remove();
        let group = others.create("web.2", &Limits::default()).unwrap();
        group.remove().unwrap();
        cgroups.remove();
        others.remove();
    }
}
