//! Real sandboxes, as root: what runs in them, what they keep in, and what is left of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod costs;
mod dial;
mod doors;
mod ends;
mod escape;
mod exec;
mod mounts;
mod program;
mod rootless;
mod world;
