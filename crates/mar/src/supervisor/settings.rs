//! How long things may take.

use std::time::Duration;

use super::backoff::Pace;

/// The times and bounds of the supervisor; a test makes them short.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The port that web processes are to listen on.
    pub port: u16,
    /// How long a web process may take until it accepts connections.
    pub boot_timeout: Duration,
    /// How long a process that was told to stop may take before it is killed.
    pub stop_grace: Duration,
    /// How long requests and sockets of a process that is being replaced may go on.
    pub drain_patience: Duration,
    /// The same when the whole server stops.
    pub shutdown_drain: Duration,
    pub shutdown_grace: Duration,
    /// When a process that ended by itself is started again.
    pub pace: Pace,
    /// How many processes start at a time after the server has started.
    pub starts_at_a_time: usize,
    /// How long one of them keeps others waiting.
    pub start_turn: Duration,
    /// How long a command in a running process may take, and how much it may say.
    pub exec_timeout: Duration,
    pub exec_output_max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 5000,
            boot_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            drain_patience: Duration::from_secs(30),
            shutdown_drain: Duration::from_secs(3),
            shutdown_grace: Duration::from_secs(8),
            pace: Pace::default(),
            starts_at_a_time: 4,
            start_turn: Duration::from_secs(10),
            exec_timeout: Duration::from_secs(50),
            exec_output_max_bytes: 1 << 20,
        }
    }
}
