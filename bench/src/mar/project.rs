//! What is pushed: copies of the examples, and the tools that build them when somebody does it by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::install;
use crate::machine;
use crate::server::Ready;
use crate::world::World;

/// What every example says in its page, and where a change shows.
const GREETING: &str = "<h1>Hello, ";
/// Where the tools of the stack are; the sandbox has the same.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// What is in an example's folder and not in its repository.
const LEFT_OUT: [&str; 3] = ["node_modules", "build", ".git"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Procfile,
    Static,
    Node,
    Python,
    Qt,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Procfile,
    Kind::Static,
    Kind::Node,
    Kind::Python,
    Kind::Qt,
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Procfile => "Procfile",
            Self::Static => "static site",
            Self::Node => "Node.js",
            Self::Python => "Python",
            Self::Qt => "Qt, qmake",
        }
    }

    /// The folder below `examples`, and the file that greets.
    fn example(self) -> (&'static str, &'static str) {
        match self {
            Self::Procfile => ("hello-procfile", "hello.pl"),
            Self::Static => ("hello-static", "index.html"),
            Self::Node => ("hello-node", "server.js"),
            Self::Python => ("hello-python", "app.py"),
            Self::Qt => ("hello-qt-qmake", "server.cpp"),
        }
    }

    /// Whether the stack has what builds it.
    pub(super) fn prepare(self) -> Result<()> {
        install::debian("/usr/bin/git", "git")?;
        match self {
            Self::Procfile | Self::Static => install::debian("/usr/bin/perl", "perl-base"),
            Self::Node => install::debian("/usr/bin/npm", "npm"),
            Self::Python => install::debian("/usr/bin/pip3", "python3-pip"),
            Self::Qt => install::debian("/usr/lib/qt5/bin/qmake", "qtbase5-dev"),
        }
        .map(drop)
    }

    /// What somebody would type, with the settings that the buildpack has; `None` where nothing is built.
    fn tool(self) -> Option<&'static str> {
        match self {
            Self::Procfile | Self::Static => None,
            Self::Node => Some(
                "npm --no-audit --no-fund --no-update-notifier --no-progress ci --prefer-offline --omit=dev",
            ),
            Self::Python => Some(
                "[ -d .venv ] || python3 -m venv --without-pip .venv && python3 -m pip --python .venv/bin/python \
                 install --disable-pip-version-check --no-input --progress-bar off -r requirements.txt",
            ),
            Self::Qt => Some("/usr/lib/qt5/bin/qmake && make -j $(nproc)"),
        }
    }

    /// What somebody would type to start it; `None` where the buildpack brings the program.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Procfile => Some("perl hello.pl"),
            Self::Static => None,
            Self::Node => Some("npm start"),
            Self::Python => Some(".venv/bin/gunicorn app:app --bind 127.0.0.1:$PORT --workers 2"),
            Self::Qt => Some("./hello"),
        }
    }
}

/// A repository with a copy of an example.
pub(super) struct Project {
    kind: Kind,
    folder: PathBuf,
    /// How often its greeting was changed.
    changes: u32,
}

impl Project {
    pub(super) fn copy(kind: Kind, folder: &Path) -> Result<Self> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        copy(&examples.join(kind.example().0), folder)?;
        let project = Self {
            kind,
            folder: folder.to_owned(),
            changes: 0,
        };
        install::run(project.git().args(["init", "--quiet"]))?;
        project.commit()?;
        Ok(project)
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// What the page says at the present commit and at no other.
    pub(super) fn greeting(&self) -> String {
        match self.changes {
            0 => GREETING.to_owned(),
            changes => format!("<h1>({changes}) Hello, "),
        }
    }

    /// Changes one line and commits it.
    pub(super) fn change(&mut self) -> Result<()> {
        let file = self.folder.join(self.kind.example().1);
        let old = self.greeting();
        self.changes += 1;
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(&old), "{} says no {old}", file.display());
        fs::write(&file, text.replace(&old, &self.greeting()))?;
        self.commit()
    }

    fn commit(&self) -> Result<()> {
        install::run(self.git().args(["add", "--all"]))?;
        install::run(
            self.git()
                .args(["commit", "--quiet", "--message", "As it is now"]),
        )
    }

    /// Git in this repository, without anybody's own settings, and without questions.
    pub(super) fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.folder)
            .args(["-c", "user.name=Anna", "-c", "user.email=anna@example.org"])
            .env("HOME", &self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        git
    }

    /// Runs the build tool in the folder, with what it has kept in `kept`, on the core that servers have. How long it
    /// took; nothing where there is no tool.
    pub(super) fn build_by_hand(&self, world: &World, kept: &Path) -> Result<Option<Duration>> {
        let Some(line) = self.kind.tool() else {
            return Ok(None);
        };
        let mut tool = Command::new("/bin/sh");
        tool.args(["-euc", line])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", kept)
            .env("NODE_ENV", "production")
            .env("npm_config_cache", kept.join("npm"))
            .env("PIP_CACHE_DIR", kept.join("pip"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        machine::pin(world.cores.server)?;
        let start = Instant::now();
        let output = tool.output();
        let took = start.elapsed();
        machine::pin(world.cores.load)?;
        let output = output.with_context(|| format!("could not run {line}"))?;
        if !output.status.success() {
            bail!(
                "{line} failed: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(Some(took))
    }

    /// Starts what was built by hand. How long it took to its first answer.
    pub(super) fn start_by_hand(&self, world: &World) -> Result<Option<Duration>> {
        let Some(line) = self.kind.program() else {
            return Ok(None);
        };
        let app = world.start("by-hand", &Ready::Answers("/"), |address| {
            let mut app = Command::new("/bin/sh");
            app.args(["-euc", &format!("exec {line}")])
                .current_dir(&self.folder)
                .env_clear()
                .env("PATH", PATH)
                .env("HOME", world.folder())
                .env("PORT", address.port().to_string());
            app
        })?;
        Ok(Some(app.started_within))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{} is missing", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to.join(&name))?,
            false => fs::copy(entry.path(), to.join(&name)).map(drop)?,
        }
    }
    Ok(())
}
