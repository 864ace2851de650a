//! Builds our Qt 5 programs with `qmake` and `make`: the example, as its README says, and the one in `qt/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::child::Client;
use crate::{search_path, skip};

/// Debian's, which may stand for Qt 5 or Qt 6; and the names that other systems give to Qt 5's.
const NAMES: [&str; 3] = ["qmake", "qmake-qt5", "qmake5"];

/// What they need beside Qt's core; a header of each says whether its package is there.
const HEADERS: [&str; 2] = ["QtNetwork/QNetworkAccessManager", "QtWebSockets/QWebSocket"];

/// How long a build may take while others compile beside it.
const BUILT_WITHIN: Duration = Duration::from_secs(300);

/// Builds `examples/todo-public` below `folder`, once for all tests of a process, and returns the program.
/// A folder that has seen a build makes the next one quick. Where Qt is missing, the running test is reported as
/// skipped and there is none.
///
/// # Panics
/// When the build fails, with all it said.
#[track_caller]
pub fn todo_public(folder: &Path) -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    built(&PROGRAM, "../examples/todo-public", folder)
}

/// Builds `qt/enginio-habits` in the same way.
///
/// # Panics
/// When the build fails, with all it said.
#[track_caller]
pub fn enginio_habits(folder: &Path) -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    built(&PROGRAM, "qt/enginio-habits", folder)
}

#[track_caller]
fn built(program: &OnceLock<Option<PathBuf>>, project: &str, folder: &Path) -> Option<PathBuf> {
    let program = program.get_or_init(|| Some(build(&qmake()?, project, folder)));
    if program.is_none() {
        skip::report(
            "Qt 5 is not installed: as root, run apt-get install g++ make qt5-qmake qtbase5-dev libqt5websockets5-dev",
        );
    }
    program.clone()
}

/// A program is called as its folder is.
#[track_caller]
fn build(qmake: &Path, project: &str, folder: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join(project);
    let name = project.file_name().expect("a project has a name");
    let folder = folder.join(name);
    fs::create_dir_all(&folder).expect("the target folder is ours");
    step("qmake", selected(qmake).arg(&project).current_dir(&folder));
    step("make", Command::new("make").current_dir(&folder));
    folder.join(name)
}

#[track_caller]
fn step(name: &str, command: &mut Command) {
    let ended = Client::start(name, command).ended(BUILT_WITHIN);
    assert!(ended.status.success(), "{name} failed\n{}", ended.report());
}

/// Qt 5's `qmake`, if everything that the example needs is there.
fn qmake() -> Option<PathBuf> {
    let is_there = |program| search_path::find(program).is_some();
    if !is_there("make") || !is_there("g++") {
        return None;
    }
    let found = NAMES.into_iter().filter_map(search_path::find);
    found.into_iter().find(|qmake| is_whole_qt_5(qmake))
}

fn is_whole_qt_5(qmake: &Path) -> bool {
    let query = |what| {
        let output = selected(qmake).args(["-query", what]).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let Some(headers) = query("QT_INSTALL_HEADERS") else {
        return false;
    };
    query("QT_VERSION").is_some_and(|version| version.starts_with("5."))
        && HEADERS
            .iter()
            .all(|header| Path::new(&headers).join(header).is_file())
}

/// Where `qmake` stands for several Qts (Debian's `qtchooser`), this names the one.
fn selected(qmake: &Path) -> Command {
    let mut command = Command::new(qmake);
    command.env("QT_SELECT", "5");
    command
}
