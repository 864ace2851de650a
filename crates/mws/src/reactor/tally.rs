//! What a reactor counts: at first for itself, and once in a turn for everybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::counters::Counters;
use crate::session::End;

/// What happened in one turn.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: usize,
    pub(crate) deliveries: usize,
    pub(crate) writes: usize,
    pub(crate) slow_readers: usize,
    pub(crate) violations: usize,
    pub(crate) silent: usize,
}

impl Tally {
    pub(crate) fn ended(&mut self, end: End) {
        match end {
            End::Silent => self.silent += 1,
            // Who broke the protocol and went on sending was counted when it was told.
            End::Broken => self.violations += 1,
            End::Closed | End::Expired | End::Lost => {}
        }
    }

    /// Adds it to what everybody sees.
    pub(crate) fn report(&mut self, counters: &Counters, gauges: &Gauges) {
        let Self {
            opened,
            deliveries,
            writes,
            slow_readers,
            violations,
            silent,
        } = std::mem::take(self);
        for (counter, by) in [
            (&counters.opened, opened),
            (&counters.deliveries, deliveries),
            (&counters.slow_readers, slow_readers),
            (&counters.violations, violations),
            (&counters.silent, silent),
        ] {
            if by > 0 {
                counter.add(by);
            }
        }
        gauges.turns.fetch_add(1, Ordering::Relaxed);
        gauges.writes.fetch_add(writes as u64, Ordering::Relaxed);
    }
}

/// How one reactor is doing.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Sockets on it and on their way to it.
    pub(crate) sockets: AtomicUsize,
    pub(crate) waiting_bytes: AtomicUsize,
    turns: AtomicU64,
    writes: AtomicU64,
}

/// How one reactor is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReactorCounts {
    /// Sockets that it holds, also those that are closing.
    pub sockets: u64,
    /// What waits for slow readers now. What several wait for is counted for each.
    pub waiting_bytes: u64,
    /// How often it looked for something to do.
    pub turns: u64,
    /// Its system calls that sent something. Deliveries divided by these say how much was joined.
    pub writes: u64,
}

impl Gauges {
    pub(crate) fn read(&self) -> ReactorCounts {
        ReactorCounts {
            sockets: self.sockets.load(Ordering::Relaxed) as u64,
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed) as u64,
            turns: self.turns.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}
