//! Puts the project's `buildpacks/` into the binary: a list of their files for `src/pipeline/packs.rs`.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    // Asked when this runs: a target folder may outlive the clone in which this was compiled.
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../../buildpacks");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(&folder, "", &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let path = folder.join(file);
        writeln!(list, "    ({file:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&variable("OUT_DIR")).join("buildpacks.rs"), list)
}

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo speaks to build scripts through variables"
)]
fn variable(name: &str) -> String {
    std::env::var(name).expect("Cargo sets it for build scripts")
}

/// The files below `folder`, as paths with forward slashes that begin with `prefix`.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
