//! Apps that run: real programs, a real router and a real store, as plain processes and in sandboxes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deploys;
mod double;
mod exec;
mod faults;
mod scaling;
mod server;
mod world;
