//! What a sandbox consists of on the host, and taking it away.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;

use crate::cgroup::Cgroup;
use crate::channel::watch;
use crate::network::Network;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything of a sandbox that must be gone in the end. Its mounts, its loopback and the rest go with its processes.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) cgroup: Arc<Cgroup>,
    /// A handle on its init, once that was born.
    pub(crate) init: Option<OwnedFd>,
    pub(crate) network: Option<Network>,
}

impl Remains {
    pub(crate) fn new(cgroup: Cgroup) -> Self {
        Self {
            cgroup: Arc::new(cgroup),
            init: None,
            network: None,
        }
    }

    /// Kills what lives, and returns when nothing is left. Says whether the kernel had killed for memory.
    pub(crate) async fn clear(self) -> bool {
        if let Some(init) = self.init {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&init, Signal::KILL);
            ended(init).await;
        }
        let cgroup = self.cgroup;
        let end = move || {
            let out_of_memory = cgroup.out_of_memory();
            if let Err(error) = cgroup.kill(PATIENCE).and_then(|()| cgroup.remove()) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a cgroup of an ended sandbox stays behind"
                );
            }
            out_of_memory
        };
        let ending = tokio::task::spawn_blocking(end);
        let disconnecting = async {
            if let Some(network) = self.network {
                network.disconnect().await;
            }
        };
        let (out_of_memory, ()) = tokio::join!(ending, disconnecting);
        out_of_memory.unwrap_or(false)
    }
}

/// Waits for the end of a process. With an init, everything else of its sandbox has ended by then.
async fn ended(init: OwnedFd) {
    let Ok(init) = watch(init, Interest::READABLE) else {
        return;
    };
    if tokio::time::timeout(PATIENCE, init.readable())
        .await
        .is_err()
    {
        tracing::warn!("the kernel did not end a killed sandbox in time");
    }
}
