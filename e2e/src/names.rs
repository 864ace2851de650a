//! Names below `localhost` for programs that do not know them: most ask the system, and Debian's system knows none.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::skip;

/// A table of names of a test's own, in place of the system's.
pub struct Names {
    table: NamedTempFile,
}

impl Names {
    /// A table with these names. Where a program cannot be given one, the running test is reported as skipped and there
    /// is none.
    #[track_caller]
    pub fn of(names: &[(&str, IpAddr)]) -> Option<Self> {
        let mut table = NamedTempFile::new().expect("a temporary file can be made");
        let lines = names
            .iter()
            .map(|(name, address)| format!("{address} {name}\n"));
        let text: String = std::iter::once("127.0.0.1 localhost\n".to_owned())
            .chain(lines)
            .collect();
        table
            .write_all(text.as_bytes())
            .expect("a temporary file can be written");
        let names = Self { table };
        let tried = names.command(Path::new("true")).output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(names);
        }
        skip::report("names of our own for a program take root, and unshare of util-linux");
        None
    }

    /// A program that sees these names. It is alone with them: the mount is gone when it ends.
    pub fn command(&self, program: &Path) -> Command {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(self.table.path())
            .arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_names_that_others_do_not() {
        let name = "mar-eu-1-twwto7g0.localhost";
        let Some(names) = Names::of(&[(name, IpAddr::from([127, 9, 8, 7]))]) else {
            return;
        };
        let inside = names
            .command(Path::new("getent"))
            .args(["hosts", name])
            .output();
        let inside = String::from_utf8(inside.expect("it starts").stdout).expect("it is text");
        assert!(inside.starts_with("127.9.8.7 "), "{inside}");
        let outside = Command::new("getent").args(["hosts", name]).output();
        let outside = String::from_utf8(outside.expect("it starts").stdout).expect("it is text");
        assert!(!outside.starts_with("127.9.8.7 "), "{outside}");
    }
}
