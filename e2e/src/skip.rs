//! Tests that cannot run here say so loudly; in CI they fail instead.

use std::io::Write;

/// Says that the running test is skipped and why. The caller then returns.
///
/// The line goes past the test runner's capture of output, and `cargo xtask test` counts it.
///
/// # Panics
/// In CI (`CI=true`), where everything a test needs must be there.
#[track_caller]
pub fn report(reason: &str) {
    assert!(!in_ci(), "a test may not be skipped in CI: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("\nskipped: {test}: {reason}\n");
    // If nobody can be told, the run still counts the test as passed, as without this module.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door; CI speaks through this variable"
)]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
