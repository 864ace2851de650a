//! The gateway behind a real door, on real sockets, with a data folder of its own.

#![expect(clippy::unwrap_used, reason = "what a test is not about must succeed")]

mod app_users;
mod http_api;
mod sockets;
mod world;

#[path = "../../src/peer.rs"]
mod peer;
