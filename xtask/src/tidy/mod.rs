//! What no compiler looks at: floors, licences, dead files, long lines, loose ends.
//!
//! Each rule is a function from plain data to findings, so that it is tested on small examples; this file gathers the
//! data. The whole of it is also a test, so that `cargo test` alone shows an untidy house.

mod dead_files;
mod dependencies;
mod floors;
mod text;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::{cargo, command, output, root};

/// Something to put right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the root of the clone, with the line where there is one.
    place: String,
    complaint: String,
}

impl Finding {
    fn at(place: impl Into<String>, complaint: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            complaint: complaint.into(),
        }
    }

    fn at_line(file: &str, line_index: usize, complaint: impl Into<String>) -> Self {
        Self::at(format!("{file}:{}", line_index + 1), complaint)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.complaint)
    }
}

/// A file of the repository. Its text is absent when it is not UTF-8 or holds NUL bytes.
struct SourceFile {
    path: String,
    size_bytes: u64,
    text: Option<String>,
}

/// Everything that is untidy.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let files = repository_files()?;
    let metadata = metadata()?;
    let rules = fs::read_to_string(root().join("deny.toml")).context("could not read deny.toml")?;

    let mut findings = Vec::new();
    for file in &files {
        findings.extend(text::findings(file));
    }
    findings.extend(dead_files::findings(&files));
    findings.extend(floors::findings(&metadata));
    findings.extend(dependencies::findings(&metadata, &rules));
    Ok(findings)
}

/// Every file that is in git or would be added to it.
fn repository_files() -> Result<Vec<SourceFile>> {
    let listing = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let names =
        output(command("git").args(listing)).context("tidy asks git for the list of files")?;
    let mut paths: Vec<_> = names.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    // A file that was deleted but not yet staged is still listed.
    let present = paths.into_iter().filter(|path| root().join(path).is_file());
    present.map(read).collect()
}

fn read(path: &str) -> Result<SourceFile> {
    let bytes = fs::read(root().join(path)).with_context(|| format!("could not read {path}"))?;
    let size_bytes = bytes.len() as u64;
    let text = String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'));
    Ok(SourceFile {
        path: path.to_owned(),
        size_bytes,
        text,
    })
}

/// What cargo knows about our crates and all they use on this platform.
fn metadata() -> Result<Value> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
    ];
    let text = output(cargo().args(arguments).arg(host()?))?;
    serde_json::from_str(&text).context("cargo metadata printed something that is not JSON")
}

fn host() -> Result<String> {
    let version = output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The file name without its folders.
fn file_name(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let findings = super::findings().unwrap();
        let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(list.is_empty(), "put these right:\n{}", list.join("\n"));
    }
}
