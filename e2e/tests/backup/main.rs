//! Backups: made while people write, restored as they were, and refused when they are not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disks;
mod files;
mod instances;
mod interrupted;
mod servers;
mod strangers;
mod world;
