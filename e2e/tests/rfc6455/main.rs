//! What RFC 6455 and RFC 7692 demand of a server, frame by frame, over raw sockets.
//!
//! `push` is about gateways that drop what clients say. All others are about a gateway whose app sends everything back,
//! and stand for the sections of the Autobahn test suite, whose package no longer runs; the numbers in the names of
//! cases are its numbers. The cases are written down from the RFCs. Each is tried in the clear and over TLS, in one
//! piece and byte by byte (`bench`).

mod bench;
mod closes;
mod deflate;
mod fragments;
mod messages;
mod opcodes;
mod pings;
mod push;
mod reserved;
mod sizes;
mod utf8;
