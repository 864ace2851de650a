//! Managed WebSocket: servers post messages over HTTP, connected sockets receive them (`mws.md`).
//!
//! A client asks for an URI, opens a socket with it, and from then on only listens: what it sends is read and
//! dropped. Messages are neither stored nor repeated; who is not connected misses them.
//!
//! The parts, in the order of a message's way: `routes` and `wire` read the request, `gateway` decides
//! whether the caller may, `hub` hands it to the reactors that have sockets of the gateway, and `reactor` finds
//! the receivers in its `roster` and writes to them. `session` and `frame` hold the protocol without any I/O. One slow
//! or hostile socket costs the others nothing: every queue is bounded, and whose is full is dropped and counted.

mod circles;
mod counters;
mod error;
pub mod frame;
mod gateway;
mod hub;
mod limits;
mod mws;
mod opening;
#[cfg(test)]
mod peer;
mod provisioner;
mod reactor;
mod reservation;
mod roster;
mod routes;
mod session;
mod settings;
mod socket_id;
#[cfg(test)]
mod stage;
mod utf8;
mod wire;

pub use counters::Counts;
pub use limits::Limits;
pub use mws::Mws;
pub use reactor::tally::ReactorCounts;
