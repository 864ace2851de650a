//! Rules about single files: size, width, loose ends, traces of a machine.

use super::{Finding, SourceFile, file_name};

const LINE_CHARS_MAX: usize = 120;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Marks of unfinished work; each must name the issue that finishes it. Spelled apart, or this file would find itself.
const LOOSE_ENDS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Folders that exist on one machine only.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/tmp/bash", "_jobs")];

/// What a lock file says where a package comes from when it names the registry's host.
const RESOLVED_HOST: &str = concat!("\"resolved\": \"ht", "tp");

/// Endings of files in which a loose end can hide.
const CODE_ENDINGS: [&str; 9] = [
    ".rs", ".toml", ".cjs", ".mjs", ".js", ".html", ".css", ".sh", "/run",
];

pub(super) fn findings(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.size_bytes > FILE_BYTES_MAX {
        findings.push(Finding::at(
            &*file.path,
            "is larger than 1 MiB; make it in the test that needs it",
        ));
    }
    for (index, line) in file.text.iter().flat_map(|text| text.lines().enumerate()) {
        let complaints = complaints(&file.path, line).into_iter().flatten();
        findings.extend(complaints.map(|complaint| Finding::at_line(&file.path, index, complaint)));
    }
    findings
}

fn complaints(path: &str, line: &str) -> [Option<String>; 4] {
    [
        too_long(path, line),
        loose_end(path, line),
        machine_path(line),
        registry_host(path, line),
    ]
}

fn too_long(path: &str, line: &str) -> Option<String> {
    let chars = line.chars().count();
    (path.ends_with(".rs") && chars > LINE_CHARS_MAX)
        .then(|| format!("is {chars} characters long; {LINE_CHARS_MAX} are allowed"))
}

fn loose_end(path: &str, line: &str) -> Option<String> {
    if !CODE_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
        return None;
    }
    let (mark, rest) = LOOSE_ENDS
        .iter()
        .find_map(|mark| line.split_once(mark).map(|(_, rest)| (mark, rest)))?;
    let names_an_issue = rest
        .strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    (!names_an_issue).then(|| format!("{mark} without an issue; write {mark}(#12) or finish it"))
}

fn machine_path(line: &str) -> Option<String> {
    let found = MACHINE_PATHS.iter().find(|path| {
        line.match_indices(*path).any(|(at, _)| {
            // Behind another name or a home, it is not the root's folder.
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-~}".contains(c))
        })
    })?;
    Some(format!("names {found}, a folder of one machine"))
}

fn registry_host(path: &str, line: &str) -> Option<String> {
    let is_lock = matches!(file_name(path), "package-lock.json" | "npm-shrinkwrap.json");
    (is_lock && line.contains(RESOLVED_HOST)).then(|| {
        "names a registry's host; install with omit-lockfile-registry-resolved=true".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_about(path: &str, text: &str) -> Vec<String> {
        let size_bytes = text.len() as u64;
        let file = SourceFile {
            path: path.into(),
            size_bytes,
            text: Some(text.into()),
        };
        findings(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_line_may_have_120_characters_and_no_more() {
        assert_eq!(
            complaints_about("a.rs", &"x".repeat(120)),
            Vec::<String>::new()
        );
        assert_eq!(
            complaints_about("a.rs", &"ä".repeat(120)),
            Vec::<String>::new()
        );
        assert_eq!(
            complaints_about("a.rs", &format!("\n{}", "x".repeat(121))).len(),
            1
        );
        assert_eq!(
            complaints_about("a.md", &"x".repeat(500)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_loose_end_must_name_its_issue() {
        let mark = LOOSE_ENDS[0];
        assert_eq!(
            complaints_about("a.rs", &format!("// {mark}: later")).len(),
            1
        );
        assert_eq!(
            complaints_about("a.rs", &format!("// {mark}(#x) later")).len(),
            1
        );
        assert_eq!(
            complaints_about("a.rs", &format!("// {mark}(#12) later")),
            Vec::<String>::new()
        );
        assert_eq!(complaints_about("data.txt", mark), Vec::<String>::new());
    }

    #[test]
    fn a_folder_of_one_machine_is_found_but_not_its_namesakes() {
        let path = MACHINE_PATHS[0];
        assert_eq!(
            complaints_about("a.md", &format!("see {path}main")).len(),
            1
        );
        assert_eq!(
            complaints_about("a.md", &format!("see home{path}main and ~{path}")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lock_file_names_no_host() {
        let line = format!("{RESOLVED_HOST}s://registry/x.tgz\"");
        assert_eq!(
            complaints_about("e2e/node/package-lock.json", &line).len(),
            1
        );
        assert_eq!(complaints_about("other.json", &line), Vec::<String>::new());
    }

    #[test]
    fn a_file_of_more_than_a_mebibyte_is_found_even_without_text() {
        let file = SourceFile {
            path: "big.bin".into(),
            size_bytes: FILE_BYTES_MAX + 1,
            text: None,
        };
        assert_eq!(findings(&file).len(), 1);
    }
}
