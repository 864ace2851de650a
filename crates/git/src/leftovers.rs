//! What a server that was killed in the middle of a push leaves behind, cleared away at the next start.
//!
//! A push cut off at any point leaves the repository whole: its objects wait in a quarantine until it is accepted, and
//! a branch moves in one step. But the quarantine stays on disk, and so do lock files, on which the next push would
//! fail.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::MARK;
use crate::repositories::{DRAFT, REMOVED, REPOSITORY};

/// Clears away what is left in all repositories below `folder`. No git may work there, so one that an earlier server
/// started is ended first.
pub(crate) fn clear(folder: &Path) -> io::Result<()> {
    end_processes(folder)?;
    for app in folders_in(folder)? {
        for name in names_in(&app)? {
            if name.starts_with(DRAFT) || name.starts_with(REMOVED) {
                fs::remove_dir_all(app.join(name))?;
            }
        }
        let repository = app.join(REPOSITORY);
        if repository.is_dir() {
            clear_repository(&repository)?;
        }
    }
    Ok(())
}

fn clear_repository(repository: &Path) -> io::Result<()> {
    for name in names_in(repository)? {
        if name.ends_with(".lock") || name == "gc.pid" {
            fs::remove_file(repository.join(name))?;
        }
    }
    remove_locks(&repository.join("refs"))?;
    let objects = repository.join("objects");
    for name in names_in(&objects)? {
        let path = objects.join(&name);
        if name.starts_with("incoming-") || name.starts_with("tmp_objdir-") {
            fs::remove_dir_all(path)?;
        } else if path.is_dir() {
            remove_drafts(&path)?;
        }
    }
    Ok(())
}

fn remove_locks(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in names_in(&folder)? {
            let path = folder.join(&name);
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".lock") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// Objects and packs that git had begun to write.
fn remove_drafts(folder: &Path) -> io::Result<()> {
    for name in names_in(folder)? {
        let is_draft =
            name.starts_with("tmp_") || name.starts_with(".tmp-") || name.ends_with(".lock");
        let path = folder.join(&name);
        if is_draft && path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // Nothing of ours or git's has a name that is not UTF-8.
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

fn folders_in(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let names = names_in(folder)?.into_iter();
    Ok(names
        .map(|name| folder.join(name))
        .filter(|path| path.is_dir())
        .collect())
}

/// How long a process may take to be gone after it was killed, and how often that is looked for.
const ENDING: (Duration, u32) = (Duration::from_millis(10), 300);

/// Kills git processes that work below `folder` for a server that is gone. Its pipes are closed, so they were about to
/// end; only, cleaning up beneath one that still moves files would do harm.
fn end_processes(folder: &Path) -> io::Result<()> {
    let mut mark = format!("\0{MARK}=").into_bytes();
    mark.extend(folder.as_os_str().as_bytes());
    mark.push(b'/');
    let ours = processes_with(&mark)?;
    for &process in &ours {
        // It may have ended by itself.
        let _ = kill_process(process, Signal::KILL);
    }
    let (pause, trials) = ENDING;
    for _ in 0..trials {
        if !ours.iter().any(|process| bears(*process, &mark)) {
            return Ok(());
        }
        std::thread::sleep(pause);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "a git process of the server's earlier run does not end",
    ))
}

fn processes_with(mark: &[u8]) -> io::Result<Vec<Pid>> {
    let numbers = names_in(Path::new("/proc"))?;
    let processes = numbers
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter_map(Pid::from_raw);
    Ok(processes.filter(|process| bears(*process, mark)).collect())
}

/// Whether the process has the mark in its environment. One that has ended, or is somebody else's, has not.
fn bears(process: Pid, mark: &[u8]) -> bool {
    let path = format!("/proc/{}/environ", process.as_raw_nonzero());
    let Ok(environment) = fs::read(path) else {
        return false;
    };
    // Each variable has a zero before it but the first.
    environment.windows(mark.len()).any(|window| window == mark)
        || environment.starts_with(&mark[1..])
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn drafts_and_locks_go_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("a/repository.git");
        let gone = [
            "objects/incoming-1aB/pack/x.pack",
            "objects/incoming-1aB/00/11",
            "objects/pack/tmp_pack_1",
            "objects/11/tmp_obj_1",
            "refs/heads/feature/x.lock",
            "HEAD.lock",
            "packed-refs.lock",
            "gc.pid",
        ];
        let stays = [
            "objects/pack/pack-1.pack",
            "objects/11/22",
            "refs/heads/lock",
            "HEAD",
            "config",
        ];
        for name in gone.iter().chain(&stays) {
            touch(&repository.join(name));
        }
        touch(&folder.path().join("a/draft-1.git/HEAD"));
        touch(&folder.path().join("a/removed-1.git/HEAD"));
        touch(&folder.path().join("a/log/draft-1.git"));
        clear(folder.path()).unwrap();
        for name in gone {
            assert!(!repository.join(name).exists(), "{name}");
        }
        for name in stays {
            assert!(repository.join(name).exists(), "{name}");
        }
        assert!(!folder.path().join("a/draft-1.git").exists());
        assert!(!folder.path().join("a/removed-1.git").exists());
        assert!(folder.path().join("a/log/draft-1.git").exists());
        assert!(!repository.join("objects/incoming-1aB").exists());
    }

    #[test]
    fn processes_of_an_earlier_server_end_and_those_of_others_do_not() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sleeper = |folder: &Path| {
            Command::new("sleep")
                .arg("600")
                .env(
                    MARK,
                    folder.canonicalize().unwrap().join("a/repository.git"),
                )
                .process_group(0)
                .spawn()
                .unwrap()
        };
        let (mut first, mut second) = (sleeper(ours.path()), sleeper(others.path()));
        clear(&ours.path().canonicalize().unwrap()).unwrap();
        // A process that is still there would be waited for in vain for ten minutes.
        assert!(!first.wait().unwrap().success());
        assert!(second.try_wait().unwrap().is_none());
        second.kill().unwrap();
        second.wait().unwrap();
    }
}
