//! Every target for some seconds, from a fixed seed, and everything that has failed once.
//!
//! `PILVI_FUZZ_SEED` and `PILVI_FUZZ_RUNS` ask for another seed and for more inputs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a failing test shows its seed")]

use std::time::Duration;

use pilvi_fuzz::driver::{self, Failure, Plan};
use pilvi_fuzz::{TARGETS, Target, files};

/// A short run is bounded by its inputs, so that it is the same everywhere. This ends it on a very slow machine.
const TIME_MAX: Duration = Duration::from_secs(120);

#[test]
fn access_lists_keep_their_promises() {
    run("access");
}

#[test]
fn chunks_keep_their_promises() {
    run("chunks");
}

#[test]
fn content_ranges_keep_their_promises() {
    run("content_range");
}

#[test]
fn compressed_messages_keep_their_promises() {
    run("deflate");
}

#[test]
fn handshakes_keep_their_promises() {
    run("handshake");
}

#[test]
fn frames_keep_their_promises() {
    run("frames");
}

#[test]
fn heads_keep_their_promises() {
    run("heads");
}

#[test]
fn multipart_bodies_keep_their_promises() {
    run("multipart");
}

#[test]
fn pictures_keep_their_promises() {
    run("pictures");
}

#[test]
fn procfiles_keep_their_promises() {
    run("procfile");
}

#[test]
fn what_the_router_passes_on_keeps_its_promises() {
    run("proxied");
}

#[test]
fn queries_keep_their_promises() {
    run("query");
}

#[test]
fn searches_keep_their_promises() {
    run("search");
}

#[test]
fn token_requests_keep_their_promises() {
    run("tokens");
}

#[test]
fn updates_keep_their_promises() {
    run("updates");
}

#[test]
fn what_has_failed_once_fails_no_more() {
    for target in &TARGETS {
        for input in files::regressions(target).unwrap() {
            driver::check(target, &input).unwrap_or_else(|failure| explain(target, &failure));
        }
    }
}

fn run(name: &str) {
    let target = Target::find(name).unwrap();
    let plan = Plan {
        seed: number("PILVI_FUZZ_SEED").unwrap_or(20_131_001),
        runs: number("PILVI_FUZZ_RUNS").unwrap_or(target.short_runs),
        time: TIME_MAX,
    };
    println!(
        "{name}: PILVI_FUZZ_SEED={} PILVI_FUZZ_RUNS={}",
        plan.seed, plan.runs
    );
    let report = driver::run(&target, plan)
        .unwrap()
        .unwrap_or_else(|failure| explain(&target, &failure));
    println!("{report:?}");
}

fn explain(target: &Target, failure: &Failure) -> ! {
    panic!(
        "{}: {}\ninput: b\"{}\"\nkeep these bytes as a file in fuzz/regressions/{}",
        target.name,
        failure.message,
        failure.input.escape_ascii(),
        target.name
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is a door: whoever runs it may ask for more"
)]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}
