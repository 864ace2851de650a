//! Everything that can be said about the source without running the product.

use anyhow::Result;

use crate::shell::{cargo, find, succeeds};
use crate::tally::{Outcome, Tally};
use crate::tidy;

type Check = fn() -> Result<Outcome>;

/// The checks in the order of their cost, each under the name that the report uses.
const CHECKS: [(&str, Check); 6] = [
    ("formatting", formatting),
    ("tidy", tidiness),
    ("lints", lints),
    ("documentation", documentation),
    ("dependencies", dependencies),
    ("advisories", advisories),
];

/// Runs every check, also after one has failed.
pub(crate) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        tally += report(name, &check()?);
    }
    Ok(tally)
}

/// Only the tidy check.
pub(crate) fn tidy_only() -> Result<Tally> {
    Ok(report("tidy", &tidiness()?))
}

fn report(name: &str, outcome: &Outcome) -> Tally {
    match outcome {
        Outcome::Passed => println!("{name}: ok"),
        Outcome::Failed => println!("{name}: FAILED"),
        Outcome::Skipped(why) => println!("{name}: SKIPPED, {why}"),
    }
    Tally::of(outcome)
}

fn passed_if(ok: bool) -> Outcome {
    if ok { Outcome::Passed } else { Outcome::Failed }
}

fn formatting() -> Result<Outcome> {
    succeeds(cargo().args(["fmt", "--all", "--check"])).map(passed_if)
}

fn tidiness() -> Result<Outcome> {
    let findings = tidy::findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(passed_if(findings.is_empty()))
}

fn lints() -> Result<Outcome> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    succeeds(cargo().args(arguments)).map(passed_if)
}

fn documentation() -> Result<Outcome> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings");
    succeeds(&mut doc).map(passed_if)
}

/// Licences, bans and sources. Without cargo-deny nothing of substance is lost: `tidy` reads the same rules from
/// `deny.toml`; cargo-deny adds the other platforms' dependencies and the texts of the licences.
fn dependencies() -> Result<Outcome> {
    match find("cargo-deny") {
        Some(_) => {
            succeeds(cargo().args(["deny", "check", "bans", "licenses", "sources"])).map(passed_if)
        }
        None => Ok(Outcome::Skipped(
            "cargo-deny is not installed; tidy has read deny.toml instead".into(),
        )),
    }
}

/// Known weaknesses in dependencies: needs cargo-deny and its database, which comes over the network.
fn advisories() -> Result<Outcome> {
    if find("cargo-deny").is_none() {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed, so no known weakness was looked up".into(),
        ));
    }
    if !succeeds(cargo().args(["deny", "fetch", "db"]))? {
        return Ok(Outcome::Skipped(
            "the advisory database could not be fetched".into(),
        ));
    }
    succeeds(cargo().args(["deny", "check", "advisories"])).map(passed_if)
}
