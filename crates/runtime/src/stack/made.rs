//! Stacks that are made: a Debian in a folder of its own, by `mmdebstrap`, from signed packages.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::UNIX_EPOCH;

use pilvi_base::Clock;
use rustix::fs::{FlockOperation, flock};

use super::root;
use crate::host;
use crate::spec::{Bind, StackRoot};

/// The name that stands for the host's own programs.
pub const HOST: &str = "host";

/// Names of the first MAR. Apps carry them still; they mean "the usual stack".
const OLD_NAMES: [&str; 2] = ["cedar", "cedar-14"];

/// What can be made without saying more than the name.
const RECIPES: [(&str, &str, &str); 2] = [
    (
        "debian-12",
        "bookworm",
        include_str!("../../stacks/debian-12.txt"),
    ),
    (
        "debian-13",
        "trixie",
        include_str!("../../stacks/debian-13.txt"),
    ),
];

/// Tells a finished stack from a folder that is something else, and what it was made of.
const ABOUT: &str = "about";

/// A stack that could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the name {0:?} of a stack must be 1 to 40 of a-z, 0-9, '-' and '.', beginning with a letter, and not {HOST:?}"
    )]
    Name(String),
    #[error("there is no stack {0:?} yet: make it with pilvi stack create {0}")]
    Unknown(String),
    #[error("the stack {0:?} is there already: remove it first, or give another name")]
    Exists(String),
    #[error(
        "{0:?} is no stack that Pilvi knows how to make (it knows {known}): say which Debian and which packages",
        known = recipe_names()
    )]
    NoRecipe(String),
    #[error("another stack is being made right now: wait until it is done")]
    Busy,
    #[error("mmdebstrap is missing: install the package mmdebstrap")]
    ToolMissing,
    #[error("mmdebstrap ended with {0}; its last lines say why")]
    Tool(std::process::ExitStatus),
    #[error("could not {step}")]
    Io {
        step: String,
        #[source]
        source: io::Error,
    },
}

/// What a stack is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The release of Debian: `bookworm`.
    pub suite: String,
    /// Packages on top of what every Debian has.
    pub packages: Vec<String>,
}

impl Order {
    /// The one that goes with a name.
    pub fn of(name: &str) -> Result<Self, Error> {
        let (_, suite, list) = RECIPES
            .into_iter()
            .find(|(known, _, _)| *known == name)
            .ok_or_else(|| Error::NoRecipe(name.into()))?;
        Ok(Self {
            suite: suite.into(),
            packages: packages(list),
        })
    }
}

/// A stack that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub name: String,
    pub suite: String,
    pub packages: usize,
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
}

/// The stacks of one data folder.
#[derive(Debug, Clone)]
pub struct Stacks {
    folder: PathBuf,
    shown: Vec<Bind>,
}

impl Stacks {
    /// The stacks in `folder`, which need not be there yet.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            shown: Vec::new(),
        }
    }

    /// Shows these files of the host in every root file system, such as the certificates that apps are to trust.
    #[must_use]
    pub fn showing(mut self, files: impl IntoIterator<Item = Bind>) -> Self {
        self.shown.extend(files);
        self
    }

    /// The host's own programs as a stack.
    pub fn host(&self) -> Result<StackRoot, Error> {
        root::of(Path::new("/")).map_err(failed("look at the host's own programs"))
    }

    /// The name under which a release pins what an app asked for: names of old stand for the default, which is the
    /// newest of our own recipes that has been made, or the host where none has.
    pub fn resolve(&self, name: &str) -> String {
        if !OLD_NAMES.contains(&name) {
            return name.to_owned();
        }
        let made = self.list();
        RECIPES
            .iter()
            .rev()
            .find(|(known, _, _)| made.iter().any(|stack| stack.name == *known))
            .map_or(HOST, |(known, _, _)| known)
            .to_owned()
    }

    /// The root file system of a stack, [`HOST`] among them. Takes names of old too.
    pub fn root(&self, name: &str) -> Result<StackRoot, Error> {
        let mut root = self.bare_root(name)?;
        root.binds.extend(self.shown.iter().cloned());
        Ok(root)
    }

    fn bare_root(&self, name: &str) -> Result<StackRoot, Error> {
        let name = self.resolve(name);
        if name == HOST {
            return self.host();
        }
        let place = self.place(&name)?;
        if !place.join(ABOUT).is_file() {
            return Err(Error::Unknown(name));
        }
        root::of(&place.join("root")).map_err(failed(format!("look at the stack {name}")))
    }

    /// The stacks that are there, by name. The host is not among them.
    pub fn list(&self) -> Vec<Stack> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut stacks: Vec<Stack> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| self.about(&name))
            .collect();
        stacks.sort_by(|one, other| one.name.cmp(&other.name));
        stacks
    }

    /// Makes a stack; minutes pass. What `mmdebstrap` says goes to `progress` line by line. The stack is there with its
    /// name only when it is whole; a failure leaves nothing.
    pub fn create(
        &self,
        name: &str,
        order: &Order,
        progress: &mut dyn Write,
    ) -> Result<Stack, Error> {
        let place = self.place(name)?;
        if place.exists() {
            return Err(Error::Exists(name.into()));
        }
        fs::create_dir_all(&self.folder)
            .map_err(failed(format!("make {}", self.folder.display())))?;
        let _lock = self.lock()?;
        let new = self.folder.join(format!(".{name}.new"));
        // An earlier attempt may have been killed.
        remove_tree(&new)?;
        fs::create_dir(&new).map_err(failed(format!("make {}", new.display())))?;
        let outcome = fill(&new, order, progress).and_then(|()| {
            rustix::fs::sync();
            fs::rename(&new, &place).map_err(failed(format!("give the stack its name {name}")))
        });
        if let Err(error) = outcome {
            // The first error is the one to tell; the next attempt removes what is left.
            let _ = remove_tree(&new);
            return Err(error);
        }
        self.about(name).ok_or_else(|| Error::Unknown(name.into()))
    }

    /// Removes a stack. Whoever calls this has made sure that no release names it any more; sandboxes that still run on
    /// it keep what they have open and lose the rest.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let place = self.place(name)?;
        if self.about(name).is_none() {
            return Err(Error::Unknown(name.into()));
        }
        let _lock = self.lock()?;
        // At once for everybody who looks for it, whatever happens during the removal of many files.
        let old = self.folder.join(format!(".{name}.old"));
        remove_tree(&old)?;
        fs::rename(&place, &old).map_err(failed(format!("move the stack {name} away")))?;
        remove_tree(&old)
    }

    fn about(&self, name: &str) -> Option<Stack> {
        let text = fs::read_to_string(self.place(name).ok()?.join(ABOUT)).ok()?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        Some(Stack {
            name: name.to_owned(),
            suite: value("suite")?.to_owned(),
            packages: value("packages")?.split_whitespace().count(),
            made_at: value("made")?.parse().ok()?,
        })
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        let is_plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
        let is_good = (1..=40).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(is_plain)
            && name != HOST
            && !OLD_NAMES.contains(&name);
        if is_good {
            Ok(self.folder.join(name))
        } else {
            Err(Error::Name(name.into()))
        }
    }

    /// One at a time, also across processes; the lock ends with whoever holds it.
    fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join(".lock");
        let file = File::create(&path).map_err(failed(format!("open {}", path.display())))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Busy)?;
        Ok(file)
    }
}

/// Has the packages put into `new/root`, and writes down what they are.
fn fill(new: &Path, order: &Order, progress: &mut dyn Write) -> Result<(), Error> {
    let is_root = rustix::process::geteuid().is_root();
    let target = new.join("root");
    let mut tool = mmdebstrap(order, &target, is_root);
    if is_root {
        run(&mut tool, None, progress)?;
    } else {
        // Unpacked by us, every file is ours: it can be read and removed without any help.
        fs::create_dir(&target).map_err(failed(format!("make {}", target.display())))?;
        run(&mut tool, Some(unpacker(&target)), progress)?;
    }
    let made_at = seconds_now();
    let about = format!(
        "suite: {}\nmade: {made_at}\npackages: {}\n",
        order.suite,
        order.packages.join(" ")
    );
    let path = new.join(ABOUT);
    fs::write(&path, about).map_err(failed(format!("write {}", path.display())))
}

/// The call that makes the stack: into the folder as root, and as an archive on its output otherwise.
fn mmdebstrap(order: &Order, target: &Path, is_root: bool) -> Command {
    let mut tool = host::command("mmdebstrap");
    tool.args([
        "--variant=minbase",
        "--aptopt=APT::Install-Recommends \"false\"",
    ])
    .arg(format!("--include={}", order.packages.join(",")))
    // Nothing reads these in a sandbox.
    .args([
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ])
    .env("DEBIAN_FRONTEND", "noninteractive")
    .stdin(Stdio::null())
    .stderr(Stdio::piped());
    if is_root {
        tool.args(["--mode=root", "--format=directory", &order.suite])
            .arg(target)
            .stdout(Stdio::null());
    } else {
        tool.args(["--mode=unshare", "--format=tar", &order.suite, "-"])
            .stdout(Stdio::piped());
    }
    tool
}

fn unpacker(target: &Path) -> Command {
    let mut tar = host::command("tar");
    tar.args([
        "--extract",
        "--file=-",
        "--no-same-owner",
        "--exclude=./dev/*",
    ])
    .arg("--directory")
    .arg(target)
    .stdout(Stdio::null())
    .stderr(Stdio::null());
    tar
}

fn run(
    tool: &mut Command,
    unpacker: Option<Command>,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let child = tool.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::ToolMissing,
        _ => failed("start mmdebstrap")(error),
    })?;
    let mut tool = Running(child);
    let unpacking = match (unpacker, tool.0.stdout.take()) {
        (Some(mut tar), Some(archive)) => {
            let tar = tar.stdin(archive).spawn().map_err(failed("start tar"))?;
            Some(Running(tar))
        }
        _ => None,
    };
    if let Some(said) = tool.0.stderr.take() {
        for line in BufReader::new(said).lines() {
            let line = line.map_err(failed("read what mmdebstrap says"))?;
            writeln!(progress, "{line}").map_err(failed("tell the progress"))?;
        }
    }
    let status = tool.0.wait().map_err(failed("wait for mmdebstrap"))?;
    if !status.success() {
        return Err(Error::Tool(status));
    }
    if let Some(mut tar) = unpacking {
        let status = tar.0.wait().map_err(failed("wait for tar"))?;
        if !status.success() {
            return Err(failed("unpack the archive of mmdebstrap")(
                io::Error::other(status.to_string()),
            ));
        }
    }
    Ok(())
}

/// A program that does not outlive whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or nobody wants what it makes any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn seconds_now() -> u64 {
    let since = Clock::system().now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// One package a line; `#` begins a remark.
fn packages(list: &str) -> Vec<String> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

fn recipe_names() -> String {
    RECIPES.map(|(name, _, _)| name).join(" and ")
}

fn remove_tree(folder: &Path) -> Result<(), Error> {
    crate::leftovers::remove_tree(folder).map_err(failed(format!("remove {}", folder.display())))
}

fn failed(step: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let step = step.into();
    move |source| Error::Io { step, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::skip;

    /// As `create` leaves it, without the minutes that it takes.
    fn put(stacks: &Stacks, name: &str) {
        let place = stacks.folder.join(name);
        fs::create_dir_all(place.join("root/usr/bin")).unwrap();
        fs::write(
            place.join(ABOUT),
            "suite: bookworm\nmade: 1700000000\npackages: bash git\n",
        )
        .unwrap();
    }

    fn stacks() -> (tempfile::TempDir, Stacks) {
        let folder = tempfile::tempdir().unwrap();
        let stacks = Stacks::open(folder.path().join("stacks"));
        (folder, stacks)
    }

    #[test]
    fn a_made_stack_is_listed_shown_and_removed() {
        let (_folder, stacks) = stacks();
        assert_eq!(stacks.list(), []);
        put(&stacks, "debian-12");
        fs::create_dir(stacks.folder.join(".debian-13.new")).unwrap();
        let list = stacks.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].suite.as_str(), list[0].packages), ("bookworm", 2));
        let root = stacks.root("debian-12").unwrap();
        assert!(root.binds[0].source.ends_with("debian-12/root/usr"));
        stacks.remove("debian-12").unwrap();
        assert_eq!(stacks.list(), []);
        assert!(matches!(stacks.root("debian-12"), Err(Error::Unknown(_))));
        assert!(matches!(stacks.remove("debian-12"), Err(Error::Unknown(_))));
    }

    #[test]
    fn names_of_old_stand_for_the_newest_that_is_there() {
        let (_folder, stacks) = stacks();
        assert_eq!(stacks.resolve("cedar-14"), HOST);
        put(&stacks, "debian-12");
        put(&stacks, "my-own");
        assert_eq!(stacks.resolve("cedar-14"), "debian-12");
        put(&stacks, "debian-13");
        assert_eq!(stacks.resolve("cedar"), "debian-13");
        assert_eq!(stacks.resolve("debian-12"), "debian-12");
        assert_eq!(stacks.resolve(HOST), HOST);
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let (_folder, stacks) = stacks();
        for name in ["", "..", ".x", "a/b", "A", "host", "cedar-14", "9", "a\n"] {
            let outcome = stacks.place(name);
            assert!(
                matches!(outcome, Err(Error::Name(_))),
                "{name:?}: {outcome:?}"
            );
        }
        assert!(stacks.place("debian-12.1").is_ok());
    }

    #[test]
    fn the_host_is_a_stack_without_secrets_that_can_run_programs() {
        let (_folder, stacks) = stacks();
        let root = stacks.root("cedar-14").unwrap();
        assert_eq!(root.masks, ["/usr/local"]);
        let shown: Vec<&str> = root.binds.iter().map(|bind| bind.at.as_str()).collect();
        assert!(
            shown.contains(&"/usr") && shown.contains(&"/etc/ld.so.cache"),
            "{shown:?}"
        );
        for bind in &root.binds {
            assert!(bind.source.exists(), "{bind:?}");
            for secret in ["shadow", "ssh", "private", "machine-id", "sudoers"] {
                assert!(!bind.at.contains(secret), "{bind:?}");
            }
        }
    }

    #[test]
    fn every_recipe_has_what_the_buildpacks_call() {
        for (name, _, _) in RECIPES {
            let order = Order::of(name).unwrap();
            for needed in [
                "bash",
                "git",
                "build-essential",
                "nodejs",
                "python3-venv",
                "qtbase5-dev",
            ] {
                assert!(
                    order.packages.iter().any(|package| package == needed),
                    "{name}: {needed}"
                );
            }
        }
        let error = Order::of("plan-9").unwrap_err().to_string();
        assert!(error.contains("debian-12 and debian-13"), "{error}");
    }

    #[test]
    fn an_attempt_that_fails_is_told_line_by_line_and_leaves_nothing() {
        let (_folder, stacks) = stacks();
        fs::create_dir_all(&stacks.folder).unwrap();
        let mut tool = Command::new("sh");
        tool.args(["-c", "echo one >&2; echo two >&2; exit 3"])
            .stderr(Stdio::piped());
        let mut progress = Vec::new();
        let error = run(&mut tool, None, &mut progress).unwrap_err();
        assert!(matches!(error, Error::Tool(status) if status.code() == Some(3)));
        assert_eq!(progress, b"one\ntwo\n");
        let mut missing = Command::new("pilvi-no-such-program");
        assert!(matches!(
            run(&mut missing, None, &mut progress),
            Err(Error::ToolMissing)
        ));
    }

    /// Takes a minute and the package servers, so it belongs to a full run only.
    #[test]
    fn a_small_stack_is_made_whole() {
        if !is_full_run() {
            return;
        }
        if host::command("mmdebstrap")
            .arg("--version")
            .output()
            .is_err()
        {
            return skip("mmdebstrap is missing: install the package mmdebstrap");
        }
        let (_folder, stacks) = stacks();
        let order = Order {
            suite: "bookworm".into(),
            packages: vec!["ca-certificates".into()],
        };
        let mut progress = Vec::new();
        let stack = stacks.create("small", &order, &mut progress).unwrap();
        assert_eq!((stack.suite.as_str(), stack.packages), ("bookworm", 1));
        assert!(String::from_utf8(progress).unwrap().contains("success"));
        let root = stacks.root("small").unwrap();
        let shown: Vec<&str> = root.binds.iter().map(|bind| bind.at.as_str()).collect();
        assert!(
            shown.contains(&"/usr") && shown.contains(&"/etc/ssl/certs"),
            "{shown:?}"
        );
        assert!(root.binds[0].source.join("bin/bash").is_file());
        stacks.remove("small").unwrap();
        assert_eq!(folders(&stacks), 0);
    }

    fn folders(stacks: &Stacks) -> usize {
        let entries = fs::read_dir(&stacks.folder).unwrap().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a full run says by this variable that it is one"
    )]
    fn is_full_run() -> bool {
        std::env::var("PILVI_MAKE_STACK").is_ok()
    }

    #[test]
    fn two_stacks_are_not_made_at_once() {
        let (_folder, stacks) = stacks();
        fs::create_dir_all(&stacks.folder).unwrap();
        let lock = stacks.lock().unwrap();
        let order = Order {
            suite: "bookworm".into(),
            packages: Vec::new(),
        };
        let outcome = stacks.create("other", &order, &mut Vec::new());
        assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
        drop(lock);
        put(&stacks, "other");
        let outcome = stacks.create("other", &order, &mut Vec::new());
        assert!(matches!(outcome, Err(Error::Exists(_))), "{outcome:?}");
    }
}
