//! What was acknowledged stays, whatever happens to the process or the disk.
//!
//! `kill` ends the server at random moments under load and compares what is left with what the clients remember;
//! `disk` fills the disk and takes the right to write away. `ledger` is a client's memory, `files` looks into the
//! databases of a stopped server, `world` sets up what both need.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;
mod files;
mod kill;
mod ledger;
mod world;
