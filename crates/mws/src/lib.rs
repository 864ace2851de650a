//! Managed WebSocket: servers post messages over HTTP, connected sockets receive them (`mws.md`).
//!
//! A client asks for an URI, opens a socket with it, and from then on listens. What it sends is read and dropped,
//! unless the gateway has an app that is told of it: `inbound` collects it, and `events` posts it and does what is
//! answered. Messages are neither stored nor repeated; who is not connected misses them.
//!
//! The parts, in the order of a message's way: `routes` and `wire` read the request, `gateway` decides
//! whether the caller may, `hub` hands it to the reactors that have sockets of the gateway, and `reactor` finds
//! the receivers in its `roster` and writes to them. `session` and `frame` hold the protocol without any I/O. One slow
//! or hostile socket costs the others nothing: every queue is bounded, and whose is full is dropped and counted.

mod broker;
mod circles;
mod counters;
mod deflate;
mod dress;
mod error;
mod events;
mod extension;
pub mod frame;
#[doc(hidden)]
pub mod fuzzed;
mod gateway;
mod history;
mod hub;
mod inbound;
mod limits;
mod message_id;
mod mws;
pub mod openapi;
mod opening;
#[cfg(test)]
mod peer;
pub mod portable;
mod presence;
mod provisioner;
mod reactor;
mod register;
mod reservation;
mod roster;
mod routes;
mod session;
mod settings;
mod single;
mod socket_id;
mod sse;
#[cfg(test)]
mod stage;
mod utf8;
mod wire;

pub use counters::Counts;
pub use limits::Limits;
pub use mws::Mws;
pub use reactor::tally::ReactorCounts;
pub use single::SingleGateway;
