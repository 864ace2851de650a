//! One target for each parser of bytes from outside: what must hold whatever comes in.
//!
//! A target ([`Target`]) is a plain function over bytes that panics when a promise is broken, and a generator of
//! inputs that are almost right. [`driver`] feeds it: with what the generator makes, and with mutations of the files in
//! `corpus/` by the words in `dictionaries/`. Whatever has failed once stays in `regressions/` and is tried first.
//!
//! `cargo test -p pilvi-fuzz` runs every target for some seconds from a fixed seed. `cargo xtask fuzz` builds the same
//! driver with the compiler's coverage counters (see [`coverage`]), so that inputs which reach new code are kept and
//! mutated further. Both need nothing but stable Rust.
//!
//! Read a target first, such as [`heads`]: its module says what is promised.

pub mod access;
pub mod chunks;
pub mod content_range;
pub mod coverage;
pub mod deflate;
pub mod driver;
pub mod files;
pub mod frames;
pub mod handshake;
pub mod heads;
mod hyper_side;
mod memory;
pub mod multipart;
mod mutation;
pub mod pictures;
mod pieces;
pub mod procfile;
pub mod proxied;
pub mod query;
mod random;
pub mod search;
mod table;
pub mod tokens;
pub mod updates;
mod watch;

pub use random::Random;

/// A parser of bytes from outside, and what is known about its inputs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folders and its dictionary.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub check: fn(&[u8]),
    /// An input that is right, or almost.
    pub make: fn(&mut Random) -> Vec<u8>,
    /// How many inputs a short run tries: some seconds of them, unoptimised.
    pub short_runs: u64,
}

/// All targets.
pub const TARGETS: [Target; 15] = [
    Target {
        name: "access",
        check: access::check,
        make: access::make,
        short_runs: 40_000,
    },
    Target {
        name: "chunks",
        check: chunks::check,
        make: chunks::make,
        short_runs: 40_000,
    },
    Target {
        name: "content_range",
        check: content_range::check,
        make: content_range::make,
        short_runs: 200_000,
    },
    Target {
        name: "deflate",
        check: deflate::check,
        make: deflate::make,
        short_runs: 3_000,
    },
    Target {
        name: "frames",
        check: frames::check,
        make: frames::make,
        short_runs: 30_000,
    },
    Target {
        name: "handshake",
        check: handshake::check,
        make: handshake::make,
        short_runs: 30_000,
    },
    Target {
        name: "heads",
        check: heads::check,
        make: heads::make,
        short_runs: 30_000,
    },
    Target {
        name: "multipart",
        check: multipart::check,
        make: multipart::make,
        short_runs: 6_000,
    },
    Target {
        name: "pictures",
        check: pictures::check,
        make: pictures::make,
        short_runs: 3_000,
    },
    Target {
        name: "procfile",
        check: procfile::check,
        make: procfile::make,
        short_runs: 20_000,
    },
    Target {
        name: "proxied",
        check: proxied::check,
        make: proxied::make,
        short_runs: 30_000,
    },
    Target {
        name: "query",
        check: query::check,
        make: query::make,
        short_runs: 20_000,
    },
    Target {
        name: "search",
        check: search::check,
        make: search::make,
        short_runs: 12_000,
    },
    Target {
        name: "tokens",
        check: tokens::check,
        make: tokens::make,
        short_runs: 80_000,
    },
    Target {
        name: "updates",
        check: updates::check,
        make: updates::make,
        short_runs: 80_000,
    },
];

impl Target {
    /// The target of this name.
    pub fn find(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
