//! Furnished houses in `fixtures/`: an archive each, and beside it what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of the furnished houses.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The names of the furnished houses, oldest first.
///
/// # Panics
/// When there is none.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(fixtures()).expect("the folder of fixtures can be read");
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".tar.gz")?.to_owned())
        })
        .collect();
    assert!(!names.is_empty(), "there are no houses in e2e/fixtures");
    names.sort();
    names
}

/// Packs a data folder of a server that has stopped, and what was noted of it.
///
/// # Panics
/// When tar does not do it.
pub fn pack(name: &str, data: &Path, house: &Value) {
    let archive = fixtures().join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--gzip",
        "--sort=name",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
    ])
    // What a start makes anew, and what no start may find: another machine's sandboxes.
    .args([
        "--exclude=./buildpacks",
        "--exclude=./sandboxes",
        "--exclude=./trust",
        "--exclude=*.sock",
    ])
    .arg("--file")
    .arg(archive)
    .arg("--directory")
    .arg(data)
    .arg(".");
    assert!(
        tar.status().is_ok_and(|status| status.success()),
        "tar failed"
    );
    let text = serde_json::to_string_pretty(house).expect("it is JSON") + "\n";
    fs::write(fixtures().join(format!("{name}.json")), text).expect("a file can be written");
}

/// Unpacks a house into a folder, and says what was noted of it.
///
/// # Panics
/// When it is not whole.
pub fn unpack(name: &str, data: &Path) -> Value {
    let archive = fixtures().join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--gzip",
        "--no-same-owner",
        "--preserve-permissions",
        "--file",
    ])
    .arg(archive)
    .arg("--directory")
    .arg(data);
    assert!(
        tar.status().is_ok_and(|status| status.success()),
        "tar failed"
    );
    let text = fs::read_to_string(fixtures().join(format!("{name}.json")));
    let text = text.expect("beside each archive lies what is in it");
    serde_json::from_str(&text).expect("it is JSON")
}
