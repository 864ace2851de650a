//! What every other crate stands on: the clock, secrets, tasks and telemetry.
//!
//! Nothing here knows what Pilvi does. Start with [`TaskGroup`]: whoever starts work waits for it.

pub mod clock;
pub mod secret;
pub mod tasks;
pub mod telemetry;

pub use clock::Clock;
pub use secret::{Keyring, Secret};
pub use tasks::TaskGroup;
