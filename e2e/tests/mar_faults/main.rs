//! Apps while everything goes wrong: the server is killed in the middle of a push, the disk is full, builds and apps
//! misbehave. What ran before goes on, the developer is told why, and nothing is left behind.
//!
//! `world` is a server with an app that runs; `sources` are its files; `leftovers` looks for what should be gone. The
//! other files are the faults.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apps;
mod builds;
mod disk;
mod killed;
mod leftovers;
mod redeploys;
mod sources;
mod stalled;
mod stopped;
mod world;
