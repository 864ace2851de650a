//! The router between real sockets: raw bytes in, raw bytes out, and apps that behave in every way they can.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apps;
mod bodies;
mod errors;
mod forwarding;
mod heads;
mod http2;
mod load;
mod routes;
mod sockets;
mod world;
