//! What the tests of this crate share.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A prefix that no other test and no other process has.
pub(crate) fn own_prefix() -> String {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    format!("pilvi-test-{}-{number}", std::process::id())
}

/// Whether the test may go on: most of what a sandbox is made of needs root.
pub(crate) fn is_root_or_skip(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip(&format!("{what} can only be tested as root"));
    }
    is_root
}

/// Says loudly that the running test is skipped, past the runner's capture of output; in CI it fails instead.
pub(crate) fn skip(reason: &str) {
    assert!(!in_ci(), "a test may not be skipped in CI: {reason}");
    let thread = std::thread::current();
    let line = format!(
        "\nskipped: {}: {reason}\n",
        thread.name().unwrap_or("a test")
    );
    // If nobody can be told, the run still counts the test as passed.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

#[expect(
    clippy::disallowed_methods,
    reason = "CI speaks to tests through this variable"
)]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Waits for a condition.
///
/// # Panics
/// When it does not come about in time.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
