//! What the tests run as the helper of their runtime, and as the hook of their repositories.

use std::process::ExitCode;

fn main() -> ExitCode {
    pilvi_runtime::take_over()
        .or_else(pilvi_git::take_over)
        .unwrap_or(ExitCode::FAILURE)
}
