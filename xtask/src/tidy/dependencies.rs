//! The rules of `deny.toml` that need no database: licences, bans, sources.
//!
//! cargo-deny checks the same and more, but is not part of a Rust installation; a house whose rules hold only on some
//! machines has none.

use serde_json::Value;

use super::Finding;

/// How cargo spells the one registry that crates come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn findings(metadata: &Value, deny_toml: &str) -> Vec<Finding> {
    let rules = Rules::read(deny_toml);
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| complaint(package, &rules))
        .map(|complaint| Finding::at("Cargo.lock", complaint))
        .collect()
}

fn complaint(package: &Value, rules: &Rules) -> Option<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let license = package["license"].as_str().unwrap_or_default();
    if package["source"] != REGISTRY {
        return Some(format!(
            "{name} comes from {}, not from crates.io",
            package["source"]
        ));
    }
    if rules.banned.iter().any(|banned| banned == name) {
        return Some(format!("{name} is banned in deny.toml"));
    }
    (!is_allowed(license, &rules.licences))
        .then(|| format!("{name} has the licence {license:?}, which deny.toml does not allow"))
}

#[derive(Default)]
struct Rules {
    licences: Vec<String>,
    banned: Vec<String>,
}

impl Rules {
    /// Reads the two lists out of `deny.toml`. It is our own file, one entry a line, so a scan of its lines is enough.
    fn read(deny_toml: &str) -> Self {
        let mut rules = Self::default();
        let (mut table, mut list) = ("", "");
        for line in deny_toml.lines().map(str::trim) {
            if line.starts_with('[') {
                table = line;
            } else if let Some((key, "[")) = line.split_once(" = ") {
                list = key;
            } else if line == "]" {
                list = "";
            } else {
                match (table, list) {
                    ("[licenses]", "allow") => rules.licences.extend(first_quoted(line)),
                    ("[bans]", "deny") => rules.banned.extend(first_quoted(line)),
                    _ => {}
                }
            }
        }
        rules
    }
}

fn first_quoted(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('"')?;
    let (word, _) = rest.split_once('"')?;
    Some(word.to_owned())
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is how old crates spell `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let met = any_of(words, allowed);
            words.next_if_eq(&")").is_some() && met
        }
        Some(name) => {
            // A licence with an exception is another licence than the plain one.
            let exception = words.next_if_eq(&"WITH").and_then(|_| words.next());
            let full = exception.map_or_else(
                || name.to_owned(),
                |exception| format!("{name} WITH {exception}"),
            );
            allowed.contains(&full)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: &str = "[licenses]\nallow = [\n  \"MIT\",\n  \"ISC\",\n]\n[bans]\nwildcards = \"deny\"\n\
        deny = [\n  { crate = \"openssl\", reason = \"no\" },\n]\n";

    #[test]
    fn an_expression_is_met_like_it_reads() {
        let allowed = Rules::read(RULES).licences;
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(GPL-3.0 OR MIT) AND ISC",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT WITH X",
            "MIT MIT",
            "(MIT",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    fn package(name: &str, license: &str, source: &str) -> Value {
        json!({"name": name, "license": license, "source": source})
    }

    #[test]
    fn licences_bans_and_sources_are_checked() {
        let metadata = json!({"packages": [
            package("fine", "MIT", REGISTRY),
            package("openssl", "MIT", REGISTRY),
            package("viral", "GPL-3.0", REGISTRY),
            package("elsewhere", "MIT", "git+https://example.org/x"),
            {"name": "ours", "license": null, "source": null},
        ]});
        let found = findings(&metadata, RULES);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
