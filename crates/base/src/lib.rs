//! What every other crate stands on: the clock, secrets, tasks, turns and telemetry.
//!
//! Nothing here knows what Pilvi does. Start with [`TaskGroup`]: whoever starts work waits for it.

pub mod clock;
pub mod disk;
pub mod secret;
pub mod tasks;
pub mod telemetry;
pub mod turnstile;

pub use clock::Clock;
pub use secret::{Keyring, Secret};
pub use tasks::TaskGroup;
pub use turnstile::Turnstile;
