//! The doors of the network: what stands between a socket and the services.
//!
//! A connection's bytes pass the head filter ([`head`]), hyper, then [`Door`], which finds the service a request
//! is for, lets its router answer, and sends the answer out in that service's own shape. A WebSocket upgrade
//! leaves before hyper and is handed over with its socket ([`Upgrade`]), and so is a request for a socket's event
//! stream ([`EventStreamRequest`]). Nothing here knows what a service does,
//! and nothing here may answer a request with an empty or unexplained error.
//!
//! Start reading at `door.rs`: one request, from arrival to reply.

mod apps;
mod arrival;
mod authorization;
mod body;
pub mod ca;
pub mod chunked;
pub mod circles;
mod conn;
mod cors;
mod dispatch;
mod door;
mod event_stream;
mod filter_io;
mod finish;
pub mod form;
pub mod head;
mod leftover;
mod limits;
mod params;
pub mod pieces;
mod rates;
mod refusal;
mod reply;
mod serve;
mod site;
mod stream;
pub mod upgrade;

pub use arrival::{Arrival, Scope};
pub use authorization::{Scheme, bearer, has_authorization};
pub use body::{Body, Inflow, RawBody};
pub use cors::Cors;
pub use dispatch::Hosts;
pub use door::{Door, Permit};
pub use event_stream::{EventStreamRequest, Outlet};
pub use finish::finish;
pub use limits::Limits;
pub use params::Params;
pub use rates::Visitor;
pub use refusal::Refusal;
pub use reply::{Reply, Worded};
pub use site::{Manners, Service, Site};
pub use stream::Stream;
pub use upgrade::{Socket, Sockets, Upgrade};
