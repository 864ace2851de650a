//! Drives the real binary from outside: the tests in `tests/` stand where a client stands, and see bytes.
//!
//! This crate knows nothing of the house but its address. It uses none of its crates and none of the libraries that the
//! server itself is built with, so that a fault cannot hide on both sides of the wire. It panics where a test should
//! fail: with a sentence that says what was expected.
//!
//! Start with [`server::Server`]: it starts `pilvi`, waits until it answers, and stops it. [`http`] and [`socket`]
//! speak the protocols over plain TCP; [`node`] runs the published Node clients; [`receiver`] is a webhook target.

pub mod api;
pub mod app;
pub mod browser;
pub mod captures;
pub mod chance;
pub mod child;
pub mod cli;
pub mod collector;
pub mod echo;
pub mod house;
pub mod http;
pub mod line;
pub mod lost;
pub mod mount;
pub mod names;
pub mod node;
pub mod packages;
pub mod paste;
pub mod picture;
pub mod process;
pub mod python;
pub mod qt;
pub mod receiver;
pub mod search_path;
pub mod server;
pub mod shape;
pub mod single;
pub mod skip;
pub mod socket;
pub mod tunnel;
pub mod uploaded;
pub mod wait;
