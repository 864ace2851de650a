//! Peers that are gone without a word, as after a power cut: what they send and what is sent to them is dropped.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{search_path, skip};

/// A table of rules of our own; the peer is back on drop.
pub struct Lost {
    table: String,
}

impl Lost {
    /// Cuts the line between this peer and whoever it talks to on this machine. Where that is not allowed, the running
    /// test is reported as skipped and there is none.
    ///
    /// # Panics
    /// When the rules are not taken although we may give some.
    #[track_caller]
    pub fn peer(peer: SocketAddr) -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if search_path::find("nft").is_none() {
            skip::report("nft is not installed: as root, run apt-get install nftables");
            return None;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let table = format!("pilvi_lost_{}_{number}", std::process::id());
        // From now on it is taken away whatever happens.
        let lost = Self { table };
        let made = lost.nft(&format!("add table inet {}", lost.table));
        if let Err(reason) = made {
            skip::report(&format!("rules cannot be made, which takes root: {reason}"));
            return None;
        }
        let (table, port) = (&lost.table, peer.port());
        let rules = format!(
            "add chain inet {table} out {{ type filter hook output priority 0; }}\n\
             add rule inet {table} out ip daddr 127.0.0.0/8 tcp sport {port} drop\n\
             add rule inet {table} out ip daddr 127.0.0.0/8 tcp dport {port} drop\n"
        );
        lost.nft(&rules)
            .unwrap_or_else(|reason| panic!("the rules are not taken: {reason}"));
        Some(lost)
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let ended = Command::new("nft").arg(rules).output();
        let ended = ended.map_err(|error| error.to_string())?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
        }
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        // It fails only where it was never made.
        let _ = self.nft(&format!("delete table inet {}", self.table));
    }
}
