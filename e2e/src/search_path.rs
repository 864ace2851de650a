//! Finds programs as a shell does.

use std::path::PathBuf;

/// Where `program` is, if it is on the search path.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door; the search path is part of that"
)]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
