//! Counts what passed, failed and was skipped.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;

/// What a run of checks and tests came to. A check counts as one, like a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// What one check came to.
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Not run, and why.
    Skipped(String),
}

/// A test that finds a tool missing writes a line that starts so, and returns: the test runner itself knows no skips.
const SKIP_MARK: &str = "skipped: ";

impl Tally {
    pub(crate) fn failure() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self {
                passed: 1,
                ..Self::default()
            },
            Outcome::Failed => Self::failure(),
            Outcome::Skipped(_) => Self {
                skipped: 1,
                ..Self::default()
            },
        }
    }

    /// Sums the closing lines of every test binary in the output of `cargo test`.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        let mut sum = Self::default();
        let mut skips = 0;
        for line in output.lines() {
            if line.starts_with(SKIP_MARK) {
                skips += 1;
            } else if let Some(counts) = line.strip_prefix("test result: ") {
                sum += Self {
                    passed: count_before(counts, "passed"),
                    failed: count_before(counts, "failed"),
                    skipped: count_before(counts, "ignored"),
                };
            }
        }
        // The runner counted a test that skipped itself as passed.
        sum.passed = sum.passed.saturating_sub(skips);
        sum.skipped += skips;
        sum
    }

    pub(crate) fn exit_code(self) -> ExitCode {
        if self.failed == 0 && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The number in front of `word` in `ok. 5 passed; 0 failed; 1 ignored; …`.
fn count_before(counts: &str, word: &str) -> u64 {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    /// The closing line of a run, in the form that CI reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_several_binaries_are_summed() {
        let output = "test a ... ok\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        let expected = Tally {
            passed: 7,
            failed: 3,
            skipped: 1,
        };
        assert_eq!(Tally::of_cargo_test(output), expected);
    }

    #[test]
    fn a_test_that_skipped_itself_does_not_count_as_passed() {
        let output = "skipped: qtc: node is not installed\ntest result: ok. 2 passed; 0 failed; 0 ignored;\n";
        let expected = Tally {
            passed: 1,
            failed: 0,
            skipped: 1,
        };
        assert_eq!(Tally::of_cargo_test(output), expected);
    }

    #[test]
    fn the_closing_line_has_the_form_that_ci_reads() {
        let tally = Tally {
            passed: 3,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
