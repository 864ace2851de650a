//! Finds Chromium, which the scripts `node/page_*.cjs` drive.

use std::path::PathBuf;

use crate::{node, search_path, skip};

/// Debian's name first.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The browser, where it and what drives it are installed. Elsewhere the running test is reported as skipped.
#[track_caller]
pub fn find() -> Option<PathBuf> {
    if !node::is_ready() {
        return None;
    }
    let browser = NAMES.into_iter().find_map(search_path::find);
    if browser.is_none() {
        skip::report(
            "Chromium is not installed: as root, run apt-get install chromium fonts-dejavu-core",
        );
    }
    browser
}
