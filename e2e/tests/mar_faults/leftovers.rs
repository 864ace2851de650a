//! What should be gone: processes, control groups, network devices, firewall tables, half files, half releases.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pilvi_e2e::{skip, wait};
use rusqlite::{Connection, OpenFlags};

use crate::world::SOON;

/// Whether everything that a server makes can be seen here; says what is missing where it cannot.
#[track_caller]
pub(crate) fn can_be_seen() -> bool {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    let is_seen = listed.is_ok_and(|listed| listed.status.success());
    if !is_seen {
        skip::report(
            "looking for what is left takes root and nft: as root, run apt-get install nftables",
        );
    }
    is_seen
}

/// What one server leaves on the machine while it runs.
pub(crate) struct Traces {
    /// Of control groups.
    prefix: String,
    table: String,
    /// Of network devices.
    devices: String,
    /// Everything that it starts knows its data folder.
    data: PathBuf,
}

impl Traces {
    /// Of the server on this folder.
    #[track_caller]
    pub(crate) fn of(data: &Path) -> Self {
        let data = data.canonicalize().unwrap();
        let digest = sha256(data.to_str().unwrap());
        let prefix = format!("pilvi-{}", &digest[..8]);
        Self {
            table: format!("pilvi_{}", &digest[..8]),
            devices: device_prefix(&prefix),
            prefix,
            data,
        }
    }

    /// An app runs. What is not found now has another name, and would not be found where it is left either.
    #[track_caller]
    pub(crate) fn expect_some(&self) {
        assert!(!self.tables().is_empty(), "{}", self.table);
        assert!(!self.devices().is_empty(), "{}", self.devices);
        assert!(!self.sandboxes().is_empty(), "{}", self.prefix);
        assert!(!self.processes().is_empty(), "{}", self.data.display());
    }

    /// Control groups of sandboxes, and their common folders.
    fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut look = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((folder, depth)) = look.pop() {
            for folder in folders_in(&folder) {
                if folder.to_string_lossy().contains(&self.prefix) {
                    found.push(folder.clone());
                }
                if depth < 4 {
                    look.push((folder, depth + 1));
                }
            }
        }
        found
    }

    /// Control groups of sandboxes alone.
    fn sandboxes(&self) -> Vec<PathBuf> {
        let mut groups = self.groups();
        groups.retain(|group| !group.ends_with(&self.prefix));
        groups
    }

    fn devices(&self) -> Vec<String> {
        let mut names = names_in(Path::new("/sys/class/net"));
        names.retain(|name| name.starts_with(&self.devices));
        names
    }

    fn tables(&self) -> Vec<String> {
        let listed = Command::new("nft")
            .args(["list", "tables"])
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ours = listed.lines().filter(|line| line.ends_with(&self.table));
        ours.map(str::to_owned).collect()
    }

    /// In its control groups, or knowing its data folder by an argument or a variable.
    fn processes(&self) -> Vec<String> {
        let data = self.data.to_str().unwrap();
        let is_ours = |process: &Path| {
            let has = |file: &str, text: &str| {
                let content = fs::read(process.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(text)
            };
            has("cgroup", &self.prefix) || has("cmdline", data) || has("environ", data)
        };
        let numbers = names_in(Path::new("/proc")).into_iter();
        let processes = numbers
            .filter(|name| name.parse::<u32>().is_ok() && *name != std::process::id().to_string())
            .map(|name| Path::new("/proc").join(name))
            .filter(|process| is_ours(process));
        let describe = |process: PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            format!("{} {line}", process.display())
        };
        processes.map(describe).collect()
    }

    /// The numbers of processes whose environment or command line has this text.
    pub(crate) fn processes_with(text: &str) -> Vec<String> {
        let mut numbers = names_in(Path::new("/proc"));
        numbers.retain(|number| {
            let process = Path::new("/proc").join(number);
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            number.parse::<u32>().is_ok() && String::from_utf8_lossy(&environment).contains(text)
        });
        numbers
    }

    /// The server was killed: what ran for it ends by itself.
    #[track_caller]
    pub(crate) fn expect_no_processes(&self) {
        let gone = wait::found(SOON, || self.processes().is_empty().then_some(()));
        assert!(gone.is_some(), "{:#?}", self.processes());
    }

    /// One process of the app runs, nothing is being built or received, and every file has its place.
    #[track_caller]
    pub(crate) fn expect_tidy(&self, app: &Path) {
        let web = |groups: &[PathBuf]| {
            let is_web = |group: &PathBuf| group.to_string_lossy().contains("web.1");
            groups.iter().all(is_web)
        };
        let tidy = || {
            let (groups, devices) = (self.sandboxes(), self.devices());
            let mut names: Vec<_> = groups
                .iter()
                .filter_map(|group| group.file_name())
                .collect();
            names.sort();
            names.dedup();
            (names.len() == 1 && devices.len() == 1 && web(&groups)).then_some(())
        };
        assert!(
            wait::found(SOON, tidy).is_some(),
            "one web process was to be left: {:#?} {:?}",
            self.sandboxes(),
            self.devices()
        );
        let builds = app.join("builds");
        let built = wait::found(SOON, || names_in(&builds).is_empty().then_some(()));
        assert!(built.is_some(), "{:?}", names_in(&builds));
        expect_whole_repository(&app.join("repository.git"));
    }

    /// The server has stopped: nothing at all is left of it on the machine.
    #[track_caller]
    pub(crate) fn expect_none(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
        assert_eq!(self.groups(), Vec::<PathBuf>::new());
        assert_eq!(self.devices(), Vec::<String>::new());
        assert_eq!(self.tables(), Vec::<String>::new());
    }

    /// No release is half made, and the files of slugs are exactly those of the slugs that can be deployed.
    #[track_caller]
    pub(crate) fn expect_settled(&self, data: &Path, app: &Path) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(data.join("pilvi.db"), flags).unwrap();
        let texts = |sql: &str| -> Vec<String> {
            let mut statement = database.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let pending = texts("SELECT number || ' ' || state FROM releases WHERE state = 'pending'");
        assert_eq!(pending, Vec::<String>::new());
        let half = texts("SELECT id || ' ' || state FROM slugs WHERE state <> 'ready'");
        assert_eq!(half, Vec::<String>::new());
        let mut expected = texts("SELECT id || '.tgz' FROM slugs");
        let (mut tarballs, trees): (Vec<_>, Vec<_>) =
            (names_in(&app.join("slugs")).into_iter()).partition(|name| name.ends_with(".tgz"));
        expected.sort();
        tarballs.sort();
        assert_eq!(tarballs, expected);
        for tree in trees {
            assert!(
                expected.contains(&format!("{tree}.tgz")),
                "{tree} is nobody's"
            );
        }
        for tarball in tarballs {
            let tested = Command::new("gzip")
                .arg("--test")
                .arg(app.join("slugs").join(&tarball))
                .status();
            assert!(tested.unwrap().success(), "{tarball} is not whole");
        }
    }
}

/// No quarantine, no lock, no half object; and git finds nothing wrong.
#[track_caller]
fn expect_whole_repository(repository: &Path) {
    let mut look = vec![repository.to_owned()];
    while let Some(folder) = look.pop() {
        for name in names_in(&folder) {
            let left = name.ends_with(".lock")
                || ["incoming-", "tmp_"]
                    .iter()
                    .any(|draft| name.starts_with(draft));
            assert!(!left, "{name} was left in {}", folder.display());
        }
        look.extend(folders_in(&folder));
    }
    let checked = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "fsck",
            "--strict",
            "--no-dangling",
        ])
        .env("GIT_DIR", repository)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

/// None in a folder that is not there.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.flatten().map(name).collect()
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn sha256(text: &str) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The first characters of the names of devices, which have room for few: a digest by FNV-1a of the longer prefix.
fn device_prefix(prefix: &str) -> String {
    let mut hash = prefix
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut name = String::from("pilvi");
    for _ in 0..4 {
        name.extend(char::from_digit(u32::try_from(hash % 36).unwrap(), 36));
        hash /= 36;
    }
    name + "-"
}
