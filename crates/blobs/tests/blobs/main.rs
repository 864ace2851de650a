//! Blobs in both places where they can be, and what happens when a place fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod faults;
mod places;
