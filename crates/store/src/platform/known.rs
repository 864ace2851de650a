//! The holders of tokens that were looked up lately.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Holder;

/// Tokens that are remembered at the same time. When there are more, all are looked up again.
const KNOWN_MAX: usize = 16_384;
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Remembers who holds which token while nothing is written to the file that says it.
#[derive(Default)]
pub(crate) struct KnownHolders(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often the file had been changed when the holders were read.
    changes: u64,
    holders: HashMap<[u8; 32], (Instant, Holder)>,
}

impl KnownHolders {
    /// The holder, if it was read from the file as it still is.
    pub(super) fn recall(&self, digest: &[u8; 32], changes: u64) -> Option<Holder> {
        let known = self.lock();
        if known.changes != changes {
            return None;
        }
        let (read_at, holder) = known.holders.get(digest)?;
        (read_at.elapsed() < KNOWN_FOR).then(|| holder.clone())
    }

    /// `changes` is the file's count from before the holder was read.
    pub(super) fn remember(&self, digest: [u8; 32], changes: u64, holder: Holder) {
        let mut known = self.lock();
        if known.changes > changes {
            return;
        }
        if known.changes < changes || known.holders.len() >= KNOWN_MAX {
            known.holders.clear();
            known.changes = changes;
        }
        known.holders.insert(digest, (Instant::now(), holder));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KnownHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownHolders")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(id: &str) -> Holder {
        Holder::Instance(id.to_owned())
    }

    #[test]
    fn what_was_read_before_a_change_is_forgotten() {
        let known = KnownHolders::default();
        known.remember([1; 32], 7, holder("a"));
        assert_eq!(known.recall(&[1; 32], 7), Some(holder("a")));
        assert_eq!(known.recall(&[2; 32], 7), None);
        assert_eq!(known.recall(&[1; 32], 8), None);

        known.remember([2; 32], 8, holder("b"));
        // This reader was overtaken by the change.
        known.remember([1; 32], 7, holder("a"));
        assert_eq!(known.recall(&[1; 32], 8), None);
        assert_eq!(known.recall(&[2; 32], 8), Some(holder("b")));
    }

    #[test]
    fn there_are_not_more_than_fit() {
        let known = KnownHolders::default();
        for number in 0..=KNOWN_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            known.remember(digest, 1, holder("a"));
        }
        assert_eq!(known.lock().holders.len(), 1);
    }
}
