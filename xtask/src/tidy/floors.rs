//! The floor plan: dependencies between our crates point downwards, and only downwards.

use serde_json::Value;

use super::Finding;

/// Every crate of the product and the floor it stands on. A crate uses crates of lower floors only, which also keeps
/// the services apart.
const FLOORS: [(&str, u8); 18] = [
    ("pilvi-base", 0),
    ("pilvi-model", 0),
    ("pilvi-store", 1),
    ("pilvi-runtime", 1),
    ("pilvi-edge", 1),
    ("pilvi-git", 1),
    ("pilvi-blobs", 1),
    ("pilvi-core", 2),
    ("pilvi-backup", 2),
    ("pilvi-web", 3),
    ("pilvi-eds", 4),
    ("pilvi-mws", 4),
    ("pilvi-platform", 4),
    ("pilvi-mar", 4),
    ("pilvi-cli", 4),
    ("pilvi-console", 5),
    ("pilvi", 6),
    ("pilvi-fuzz", 6),
];

/// Crates around the house: they see the product only from outside, so they use none of its crates.
const OUTSIDE: [&str; 3] = ["pilvi-bench", "pilvi-e2e", "xtask"];

pub(super) fn findings(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ours: Vec<_> = packages
        .iter()
        .filter(|package| package["source"].is_null())
        .collect();
    let names: Vec<_> = ours
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let edges = ours.iter().flat_map(|package| {
        let user = package["name"].as_str().unwrap_or_default();
        let used = package["dependencies"].as_array().into_iter().flatten();
        used.filter_map(|used| used["name"].as_str())
            .map(move |used| (user, used))
    });
    let strangers = names
        .iter()
        .filter(|name| floor(name).is_none() && !OUTSIDE.contains(name));
    let unplaced = strangers.map(|name| {
        Finding::at(
            "xtask/src/tidy/floors.rs",
            format!("{name} has no floor; give it one in FLOORS"),
        )
    });
    unplaced
        .chain(
            edges
                .filter(|(_, used)| names.contains(used))
                .filter_map(|(user, used)| climb(user, used)),
        )
        .collect()
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, floor)| *floor)
}

/// What is wrong with `user` using `used`, both of them ours.
fn climb(user: &str, used: &str) -> Option<Finding> {
    let complaint = match (floor(user), floor(used)) {
        (Some(from), Some(to)) if to < from => return None,
        (Some(from), Some(to)) => {
            format!("{user} (floor {from}) uses {used} (floor {to}); only lower floors are allowed")
        }
        _ => format!("{user} uses {used}; what stands around the house uses nothing of it"),
    };
    Some(Finding::at("Cargo.toml", complaint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, uses: &[&str]) -> Value {
        let dependencies: Vec<_> = uses.iter().map(|name| json!({ "name": name })).collect();
        json!({ "name": name, "source": null, "dependencies": dependencies })
    }

    fn complaints(packages: &[Value]) -> Vec<String> {
        findings(&json!({ "packages": packages }))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn downwards_is_fine() {
        let packages = [
            package("pilvi-model", &["serde"]),
            package("pilvi-store", &["pilvi-model"]),
            package("pilvi-eds", &["pilvi-store", "pilvi-model"]),
        ];
        assert_eq!(complaints(&packages), Vec::<String>::new());
    }

    #[test]
    fn upwards_and_sideways_are_found() {
        let packages = [
            package("pilvi-eds", &["pilvi-mws"]),
            package("pilvi-mws", &[]),
            package("pilvi-store", &["pilvi-eds"]),
        ];
        assert_eq!(complaints(&packages).len(), 2);
    }

    #[test]
    fn the_tests_from_outside_use_nothing_of_the_house() {
        let packages = [
            package("pilvi-e2e", &["pilvi-model"]),
            package("pilvi-model", &[]),
        ];
        assert_eq!(complaints(&packages).len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_floor() {
        assert_eq!(complaints(&[package("pilvi-attic", &[])]).len(), 1);
    }
}
