//! Managed WebSocket: servers post messages over HTTP, connected sockets receive them (`mws.md`).
//!
//! A client asks for an URI, opens a socket with it, and from then on only listens: what it sends is read and
//! dropped. Messages are neither stored nor repeated; who is not connected misses them.
//!
//! The parts, in the order of a message's way: `routes` and `wire` read the request, `gateway` decides
//! whether the caller may, `hub` and `roster` find the receivers and fill each one's `outbox`, and
//! `socket` moves it into the stream. `session` and `frame` hold the protocol without any I/O, so that
//! the way bytes move can change without them. One slow or hostile socket costs the others nothing: every
//! queue is bounded, and whose is full is dropped and counted.

mod counters;
mod error;
mod frame;
mod gateway;
mod hub;
mod limits;
mod mws;
mod opening;
mod outbox;
#[cfg(test)]
mod peer;
mod provisioner;
mod reservation;
mod roster;
mod routes;
mod session;
mod settings;
mod socket;
mod socket_id;
mod utf8;
mod wire;

pub use counters::Counts;
pub use limits::Limits;
pub use mws::Mws;
