//! Builds our Qt 5 programs with `qmake` and `make`: the examples, as their READMEs say, and those in `qt/`.

use std::ffi::OsString;
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

/// Builds `examples/webchannel/publisher` in the same way, which needs Qt's WebChannel module as well.
///
/// # Panics
/// When the build fails, with all it said.
#[track_caller]
pub fn thermostat(folder: &Path) -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !qmake().is_some_and(|qmake| has_headers(&qmake, &["QtWebChannel/QWebChannel"])) {
        skip::report(
            "Qt 5's WebChannel module is not installed: as root, run apt-get install libqt5webchannel5-dev",
        );
        return None;
    }
    built(&PROGRAM, "../examples/webchannel/publisher", folder)
}

/// Whether apps can be built with Qt 5 and with Qt 6. Where one is missing, the running test is reported as skipped.
#[track_caller]
pub fn has_both() -> bool {
    let has_6 = search_path::find("qmake6").is_some_and(|qmake| has_headers(&qmake, &HEADERS));
    let has_both = has_6 && qmake().is_some();
    if !has_both {
        skip::report(
            "Qt 5 and Qt 6 are needed: as root, run apt-get install g++ make qt5-qmake qtbase5-dev \
             libqt5websockets5-dev qt6-base-dev qt6-websockets-dev",
        );
    }
    has_both
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

/// Builds `qt/enginio-files` in the same way.
///
/// # Panics
/// When the build fails, with all it said.
#[track_caller]
pub fn enginio_files(folder: &Path) -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    built(&PROGRAM, "qt/enginio-files", folder)
}

/// One of the two Qts.
#[derive(Clone, Copy, Debug)]
pub enum Major {
    Five,
    Six,
}

/// Builds `qt/web-sockets` in the same way, with either Qt.
///
/// # Panics
/// When the build fails, with all it said.
#[track_caller]
pub fn web_sockets(major: Major, folder: &Path) -> Option<PathBuf> {
    static WITH_5: OnceLock<Option<PathBuf>> = OnceLock::new();
    static WITH_6: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !has_both() {
        return None;
    }
    let build = |qmake: Option<PathBuf>, name| {
        let folder = folder.join(name);
        Some(build(&qmake?, "qt/web-sockets", &folder))
    };
    let program = match major {
        Major::Five => WITH_5.get_or_init(|| build(qmake(), "qt5")),
        Major::Six => WITH_6.get_or_init(|| build(search_path::find("qmake6"), "qt6")),
    };
    program.clone()
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

/// A program is called as its project is.
#[track_caller]
fn build(qmake: &Path, project: &str, folder: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join(project);
    let name = name_of(&project);
    let folder = folder.join(&name);
    fs::create_dir_all(&folder).expect("the target folder is ours");
    step("qmake", selected(qmake).arg(&project).current_dir(&folder));
    step("make", Command::new("make").current_dir(&folder));
    folder.join(name)
}

/// `thermostat` of a folder with a `thermostat.pro`.
#[track_caller]
fn name_of(project: &Path) -> OsString {
    let entries = fs::read_dir(project).expect("a project is a folder");
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut projects = files.filter(|file| file.extension().is_some_and(|ending| ending == "pro"));
    let file = projects.next().expect("a project has a .pro file");
    file.file_stem().expect("a file has a name").to_owned()
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
    let version = query(qmake, "QT_VERSION");
    version.is_some_and(|version| version.starts_with("5.")) && has_headers(qmake, &HEADERS)
}

fn has_headers(qmake: &Path, headers: &[&str]) -> bool {
    let folder = query(qmake, "QT_INSTALL_HEADERS");
    folder.is_some_and(|folder| {
        let is_there = |header: &&str| Path::new(&folder).join(header).is_file();
        headers.iter().all(is_there)
    })
}

/// What `qmake` says of itself.
fn query(qmake: &Path, what: &str) -> Option<String> {
    let output = selected(qmake).args(["-query", what]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Where `qmake` stands for several Qts (Debian's `qtchooser`), this names the one.
fn selected(qmake: &Path) -> Command {
    let mut command = Command::new(qmake);
    command.env("QT_SELECT", "5");
    command
}
