//! What the gateway counts for its operator.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opened: Counter,
    pub(crate) refused: Counter,
    pub(crate) messages: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) slow_readers: Counter,
    pub(crate) silent: Counter,
    pub(crate) violations: Counter,
    pub(crate) events: Counter,
    pub(crate) event_failures: Counter,
    pub(crate) events_lost: Counter,
    pub(crate) event_closes: Counter,
    pub(crate) event_stalls: Counter,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets that are connected now.
    pub sockets: u64,
    /// Sockets that redeemed their reservation.
    pub opened: u64,
    /// Upgrades with a bad, used or expired token, or beyond the bound of sockets.
    pub refused: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Messages queued for a socket, counted once per socket.
    pub deliveries: u64,
    /// Sockets dropped because too much waited for them.
    pub slow_readers: u64,
    /// Sockets dropped because they answered no ping.
    pub silent: u64,
    /// Sockets dropped because they broke the protocol.
    pub violations: u64,
    /// Events that an app has answered.
    pub events: u64,
    /// Attempts to tell an event that failed.
    pub event_failures: u64,
    /// Events that were given up.
    pub events_lost: u64,
    /// Sockets ended because what they said could not be told or was not answered as it should be.
    pub event_closes: u64,
    /// How often a socket was not read for a while because what it said found no room.
    pub event_stalls: u64,
    /// What histories keep now, in bytes.
    pub history_bytes: u64,
}

impl Counters {
    pub(crate) fn read(&self, sockets: usize) -> Counts {
        Counts {
            sockets: sockets as u64,
            opened: self.opened.get(),
            refused: self.refused.get(),
            messages: self.messages.get(),
            deliveries: self.deliveries.get(),
            slow_readers: self.slow_readers.get(),
            silent: self.silent.get(),
            violations: self.violations.get(),
            events: self.events.get(),
            event_failures: self.event_failures.get(),
            events_lost: self.events_lost.get(),
            event_closes: self.event_closes.get(),
            event_stalls: self.event_stalls.get(),
            history_bytes: 0,
        }
    }
}
