//! When a process that ended by itself is started again.

use std::time::Duration;

/// How the waits between restarts grow.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The wait before the second restart; the first one comes at once.
    pub first: Duration,
    /// Each wait is twice the one before, up to this one.
    pub longest: Duration,
    /// A process that ran for so long has recovered: its next restart counts as the first.
    pub healthy: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            healthy: Duration::from_secs(60),
        }
    }
}

/// The restarts of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The process ended after it had run for so long. How long to wait before it is started again?
    pub(super) fn wait(&mut self, ran: Duration, pace: &Pace) -> Duration {
        if ran >= pace.healthy {
            self.failures = 0;
        }
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        match doublings {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                pace.first.saturating_mul(factor).min(pace.longest)
            }
        }
    }

    /// How often it has ended by itself since it was healthy.
    pub(super) fn failures(self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &mut Backoff, ran: &[u64]) -> Vec<u64> {
        let pace = Pace::default();
        ran.iter()
            .map(|seconds| backoff.wait(Duration::from_secs(*seconds), &pace).as_secs())
            .collect()
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_ones_wait_longer_and_longer() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failures(), 0);
        assert_eq!(
            waits(&mut backoff, &[0; 12]),
            [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
        );
        assert_eq!(backoff.failures(), 12);
        for _ in 0..100 {
            assert!(backoff.wait(Duration::ZERO, &Pace::default()) <= Duration::from_secs(300));
        }
    }

    #[test]
    fn a_process_that_was_healthy_begins_again() {
        let mut backoff = Backoff::default();
        assert_eq!(
            waits(&mut backoff, &[0, 0, 0, 59, 60, 0, 0]),
            [0, 1, 2, 4, 0, 1, 2]
        );
    }
}
