//! Where the bytes of files are kept: through a kill in the middle of an upload, against a quota, and in a bucket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod killed;
mod quota;
mod world;
