//! The WebSocket side of the load: frames, a swarm of sockets, and those who publish to it.

pub(crate) mod accept;
pub(crate) mod fan;
pub(crate) mod frames;
pub(crate) mod line;
pub(crate) mod publishers;
pub(crate) mod stamp;
pub(crate) mod swarm;
pub(crate) mod tls;
