//! Gets what the tests need besides Rust and Node: system tools by `apt-get`, the published clients by `npm`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell::{command, find, output, root, succeeds};

/// A program that the tests call, and the Debian packages that bring it.
struct Tool {
    program: &'static str,
    packages: &'static [&'static str],
}

const TOOLS: [Tool; 3] = [
    Tool {
        program: "cc",
        packages: &["gcc", "libc6-dev"],
    },
    Tool {
        program: "curl",
        packages: &["curl"],
    },
    Tool {
        program: "git",
        packages: &["git"],
    },
];

/// The oldest Node whose standard library has all that the test scripts use.
const NODE_MAJOR_MIN: u32 = 18;

/// Installs what is missing; returns a sentence for everything that is missing still.
pub(crate) fn run() -> Result<Vec<String>> {
    let mut missing = system_tools()?;
    missing.extend(node_clients()?);
    Ok(missing)
}

fn system_tools() -> Result<Vec<String>> {
    let absent = || TOOLS.iter().filter(|tool| find(tool.program).is_none());
    let packages: Vec<_> = absent().flat_map(|tool| tool.packages).copied().collect();
    if !packages.is_empty() && is_root()? && find("apt-get").is_some() {
        apt_get(&packages)?;
    }
    Ok(absent()
        .map(|tool| missing_tool(tool.program, tool.packages))
        .collect())
}

fn missing_tool(program: &str, packages: &[&str]) -> String {
    format!(
        "{program} is missing: as root, run apt-get install {}",
        packages.join(" ")
    )
}

fn is_root() -> Result<bool> {
    Ok(output(command("id").arg("-u"))?.trim() == "0")
}

fn apt_get(packages: &[&str]) -> Result<()> {
    // A stale package list is no reason to stop: the install says what it lacks.
    succeeds(command("apt-get").args(["update", "--quiet"]))?;
    let mut install = command("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    succeeds(&mut install)?;
    Ok(())
}

/// Puts the published clients beside the scripts that run them, in exactly the locked versions.
fn node_clients() -> Result<Vec<String>> {
    if let Some(problem) = node_problem()? {
        return Ok(vec![problem]);
    }
    let lock = fs::read_to_string(clients_folder().join("package-lock.json"))
        .context("could not read e2e/node/package-lock.json")?;
    let stamp = clients_folder().join("node_modules/.installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(Vec::new());
    }
    let mut npm = command("npm");
    npm.current_dir(clients_folder())
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    if !succeeds(&mut npm)? {
        return Ok(vec![
            "the Node clients could not be installed: run npm ci in e2e/node".into(),
        ]);
    }
    fs::write(&stamp, lock).with_context(|| format!("could not write {}", stamp.display()))?;
    Ok(Vec::new())
}

fn clients_folder() -> PathBuf {
    root().join("e2e/node")
}

fn node_problem() -> Result<Option<String>> {
    if find("node").is_none() || find("npm").is_none() {
        return Ok(Some(
            "node or npm is missing: install Node.js 18 or newer with npm".into(),
        ));
    }
    let version = output(command("node").arg("--version"))?;
    Ok(match node_major(&version) {
        Some(major) if major >= NODE_MAJOR_MIN => None,
        _ => Some(format!(
            "node is {}, but the tests need 18 or newer",
            version.trim()
        )),
    })
}

/// `18` out of `v18.19.0`.
fn node_major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_read_from_its_own_words() {
        assert_eq!(node_major("v18.19.0\n"), Some(18));
        assert_eq!(node_major("v20.20.2"), Some(20));
        assert_eq!(node_major("unknown"), None);
    }
}
