//! A source file that no `mod` line names is never compiled, and rots.

use std::collections::HashSet;

use super::{Finding, SourceFile};

/// Files that cargo finds by itself, or whose folder is what a `mod` line names.
const ROOTS: [&str; 4] = ["lib.rs", "main.rs", "mod.rs", "build.rs"];

/// Folders in which every file is a target of its own.
const TARGETS: [&str; 4] = ["/tests", "/benches", "/examples", "/src/bin"];

pub(super) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let sources = || files.iter().filter(|file| file.path.ends_with(".rs"));
    let named: HashSet<_> = sources()
        .flat_map(|file| {
            file.text
                .iter()
                .flat_map(|text| text.lines().filter_map(named_module))
        })
        .collect();
    sources()
        .filter(|file| module_of(&file.path).is_some_and(|module| !named.contains(module)))
        .map(|file| Finding::at(&*file.path, "no mod line names this file"))
        .collect()
}

/// `users` out of `pub(crate) mod users;`, or out of `#[path = "users.rs"]`.
fn named_module(line: &str) -> Option<&str> {
    let line = line.trim();
    if let Some(path) = line.strip_prefix("#[path = \"") {
        return path.strip_suffix(".rs\"]");
    }
    let (visibility, rest) = line.split_once("mod ")?;
    let is_declaration = visibility.is_empty() || visibility.starts_with("pub");
    is_declaration.then(|| rest.strip_suffix(';')).flatten()
}

/// The module that this file would be, unless cargo finds the file by itself.
fn module_of(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    let in_source = folder.split('/').any(|part| part == "src");
    let is_target = TARGETS.iter().any(|target| folder.ends_with(target))
        && (!in_source || folder.ends_with("/src/bin"));
    if ROOTS.contains(&name) || is_target {
        return None;
    }
    name.strip_suffix(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            size_bytes: 0,
            text: Some(text.into()),
        }
    }

    #[test]
    fn a_file_that_no_mod_line_names_is_dead() {
        let files = [
            source(
                "a/src/lib.rs",
                "mod used;\npub(crate) mod shown;\n#[path = \"by_path.rs\"]\nmod tests;\n",
            ),
            source("a/src/used.rs", ""),
            source("a/src/shown.rs", ""),
            source("a/src/by_path.rs", ""),
            source("a/src/forgotten.rs", ""),
            source("a/src/tests/forgotten_too.rs", ""),
            source("a/tests/alone.rs", ""),
        ];
        let found: Vec<_> = findings(&files)
            .into_iter()
            .map(|finding| finding.place)
            .collect();
        assert_eq!(
            found,
            ["a/src/forgotten.rs", "a/src/tests/forgotten_too.rs"]
        );
    }
}
