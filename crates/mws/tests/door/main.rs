//! The gateway behind a real door, on real sockets, with a data folder of its own.

#![expect(clippy::unwrap_used, reason = "what a test is not about must succeed")]

mod additions;
mod app_users;
mod apps;
mod events;
mod http_api;
mod sockets;
mod streams;
mod world;

#[path = "../../src/peer.rs"]
mod peer;
