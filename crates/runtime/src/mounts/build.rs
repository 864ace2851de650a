//! Building the root of a sandbox and moving into it. Runs in the init, in its own mount namespace.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat, openat2, statat,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use super::plan::{FilePart, Part, RootPlan};
use super::sys::{PLAIN, READ_ONLY, attach, copy, make, restrict};
use super::trees;
use crate::protocol::{During, Refusal};

/// Where the half-built root is kept meanwhile: a folder that every Linux has, and that nothing is read from once the
/// new `/proc` is made. The mount namespace is ours alone, so nobody else sees it covered.
const STAGE: &str = "/proc";

/// What the small files of a root may take up together.
const ROOT_OPTIONS: [(&str, &str); 3] = [("size", "8m"), ("nr_inodes", "4096"), ("mode", "0755")];

/// The devices that programs expect; none of them leads to anything of the host.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What `/dev/shm` may hold.
const SHARED_MEMORY: &str = "67108864";

/// Files and folders of `/proc` that tell about the host, or once let programs do something to it.
const HIDDEN: [&str; 22] = [
    "acpi",
    "asound",
    "bus",
    "cmdline",
    "driver",
    "dynamic_debug",
    "fs",
    "interrupts",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "modules",
    "pressure",
    "sched_debug",
    "scsi",
    "softirqs",
    "sysrq-trigger",
    "timer_list",
];

/// A root under construction.
#[derive(Debug)]
struct Building {
    stage: OwnedFd,
    root: OwnedFd,
    layers: usize,
}

/// Builds the root and makes it the root of this process. `trees` are the plan's sources; none when they are still to
/// be taken, with the rights of this process.
pub(crate) fn enter(plan: &RootPlan, trees: Vec<OwnedFd>) -> Result<(), Refusal> {
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", propagation).during("part its mounts from those of the host")?;
    let mut trees = take_missing(plan, trees)?.into_iter();
    // The kernel lets a new /proc be made only while another is in sight, so it comes before the stage covers that.
    let proc = make("proc", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC).during("make /proc")?;
    let mut building = Building::start().during("make a root file system in memory")?;
    let mut sources: Vec<Option<OwnedFd>> = plan.sources.iter().map(|_| trees.next()).collect();
    building.devices()?;
    building.proc(&proc)?;
    for part in &plan.parts {
        let outcome = building.put(part, &mut sources);
        outcome.during(format!("put /{} in its place", part.at()))?;
    }
    building.finish().during("change to its own root")
}

fn take_missing(plan: &RootPlan, trees: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Refusal> {
    if !trees.is_empty() {
        return Ok(trees);
    }
    let taken = plan.sources.iter().map(|source| {
        let step = || format!("take {} from the host", source.path);
        trees::take(source).during_with(step)
    });
    taken.collect()
}

impl Building {
    fn start() -> io::Result<Self> {
        let stage = make("tmpfs", &[("size", "1m"), ("mode", "0755")], PLAIN)?;
        attach(&stage, CWD, STAGE)?;
        mkdirat(&stage, "root", MODE_FOLDER)?;
        mkdirat(&stage, "empty", MODE_FOLDER)?;
        let root = make("tmpfs", &ROOT_OPTIONS, PLAIN)?;
        attach(&root, stage.as_fd(), "root")?;
        Ok(Self {
            stage,
            root,
            layers: 0,
        })
    }

    fn put(&mut self, part: &Part, sources: &mut [Option<OwnedFd>]) -> io::Result<()> {
        let mut source = |place: usize| {
            sources
                .get_mut(place)
                .and_then(Option::take)
                .ok_or(Errno::INVAL)
        };
        match part {
            Part::Tree { at, source: place } => self.attach(&source(*place)?, at),
            Part::Layered {
                at,
                source: place,
                upper_bytes,
            } => {
                let layered = self.layered(&source(*place)?, *upper_bytes)?;
                self.attach(&layered, at)
            }
            Part::Memory { at, bytes, mode } => self.attach(&memory(*bytes, *mode)?, at),
            Part::Mask { at } => self.attach(&self.nothing()?, at),
            Part::Link { at, to } => {
                let (folder, name) = self.parent(at)?;
                Ok(symlinkat(to.as_str(), folder, name)?)
            }
            Part::File(file) => self.write(file),
        }
    }

    /// Puts a mount at a place that is made when it is missing.
    fn attach(&self, mount: &OwnedFd, at: &str) -> io::Result<()> {
        let (folder, name) = self.parent(at)?;
        let made = if is_folder(mount.as_fd())? {
            mkdirat(&folder, name, MODE_FOLDER)
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&folder, name, flags, MODE_FILE).map(drop)
        };
        match made {
            // Within a folder of the host, which is read-only, the place must be there already.
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => attach(mount, folder.as_fd(), name),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder that `at` lies in, made when it is missing, and the last step of the path.
    fn parent<'a>(&self, at: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (folder, name) = at.rsplit_once('/').unwrap_or((".", at));
        Ok((self.folder(folder)?, name))
    }

    /// Links on the way are read as the sandbox reads them: they do not lead out of its root.
    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let open = || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        match open() {
            Ok(folder) => Ok(folder),
            Err(Errno::NOENT) => {
                let (above, name) = self.parent(path)?;
                mkdirat(above, name, MODE_FOLDER)?;
                Ok(open()?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, file: &FilePart) -> io::Result<()> {
        let (folder, name) = self.parent(&file.at)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut open = std::fs::File::from(openat(folder, name, flags, MODE_FILE)?);
        open.write_all(&file.content)?;
        Ok(fchmod(&open, Mode::from_raw_mode(file.mode))?)
    }

    /// A folder of the host below and memory above. Both layers are mounted on the stage, which goes away later: the
    /// overlay keeps them.
    fn layered(&mut self, lower: &OwnedFd, upper_bytes: u64) -> io::Result<OwnedFd> {
        let (below, above) = (
            format!("lower{}", self.layers),
            format!("upper{}", self.layers),
        );
        self.layers += 1;
        mkdirat(&self.stage, &below, MODE_FOLDER)?;
        mkdirat(&self.stage, &above, MODE_FOLDER)?;
        attach(lower, self.stage.as_fd(), &below)?;
        let upper = memory(upper_bytes, 0o755)?;
        attach(&upper, self.stage.as_fd(), &above)?;
        mkdirat(&upper, "changes", MODE_FOLDER)?;
        mkdirat(&upper, "work", MODE_FOLDER)?;
        let lowerdir = format!("{STAGE}/{below}");
        let upperdir = format!("{STAGE}/{above}/changes");
        let workdir = format!("{STAGE}/{above}/work");
        let options = [
            ("source", "pilvi"),
            ("lowerdir", lowerdir.as_str()),
            ("upperdir", &upperdir),
            ("workdir", &workdir),
            // The marks of an overlay without rights over the host.
            ("userxattr", ""),
        ];
        make("overlay", &options, PLAIN)
    }

    /// An empty folder that nobody can write to.
    fn nothing(&self) -> io::Result<OwnedFd> {
        let empty = copy(&self.stage, "empty")?;
        restrict(&empty, READ_ONLY, false)?;
        Ok(empty)
    }

    fn devices(&self) -> Result<(), Refusal> {
        for name in DEVICES {
            let outcome = match copy(CWD, &format!("/dev/{name}")) {
                Ok(device) => self.device(&device, name),
                // Some hosts have no terminal; then a program that asks for one is told the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name == "tty" => Ok(()),
                Err(error) => Err(error),
            };
            outcome.during(format!("show it /dev/{name}"))?;
        }
        let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
        let terminals =
            make("devpts", &options, NO_PROGRAMS).and_then(|mount| self.attach(&mount, "dev/pts"));
        terminals.during("make /dev/pts")?;
        let shared = [
            ("size", SHARED_MEMORY),
            ("mode", "1777"),
            ("nr_inodes", "8192"),
        ];
        let shared = make("tmpfs", &shared, PLAIN).and_then(|mount| self.attach(&mount, "dev/shm"));
        shared.during("make /dev/shm")?;
        let links = [
            ("pts/ptmx", "dev/ptmx"),
            ("/proc/self/fd", "dev/fd"),
            ("/proc/self/fd/0", "dev/stdin"),
            ("/proc/self/fd/1", "dev/stdout"),
            ("/proc/self/fd/2", "dev/stderr"),
        ];
        for (to, at) in links {
            symlinkat(to, &self.root, at).during_with(|| format!("make /{at}"))?;
        }
        Ok(())
    }

    fn device(&self, device: &OwnedFd, name: &str) -> io::Result<()> {
        // Not NODEV, which would make it useless. A device on a read-only mount can still be written to.
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | NO_PROGRAMS_ON_DEVICE;
        restrict(device, attributes, false)?;
        self.attach(device, &format!("dev/{name}"))
    }

    /// Shows `/proc`, without what tells about the host.
    fn proc(&self, proc: &OwnedFd) -> Result<(), Refusal> {
        self.attach(proc, "proc").during("mount /proc")?;
        for name in HIDDEN {
            let hidden = match statat(proc, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => self.hide(proc.as_fd(), name, FileType::from_raw_mode(found.st_mode)),
                Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            };
            hidden.during_with(|| format!("hide /proc/{name}"))?;
        }
        let settings = copy(proc, "sys").and_then(|settings| {
            restrict(
                &settings,
                READ_ONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC,
                true,
            )?;
            attach(&settings, proc.as_fd(), "sys")
        });
        settings.during("make /proc/sys read-only")
    }

    fn hide(&self, proc: BorrowedFd<'_>, name: &str, kind: FileType) -> io::Result<()> {
        let cover = match kind {
            FileType::Directory => self.nothing()?,
            FileType::RegularFile => copy(&self.root, "dev/null")?,
            _ => return Ok(()),
        };
        attach(&cover, proc, name)
    }

    /// Makes the root read-only and moves into it. What was the root before goes out of sight with all its mounts.
    fn finish(self) -> io::Result<()> {
        restrict(&self.root, READ_ONLY, false)?;
        fchdir(&self.root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(chdir("/")?)
    }
}

const MODE_FOLDER: Mode = Mode::from_raw_mode(0o755);
const MODE_FILE: Mode = Mode::from_raw_mode(0o644);
const NO_PROGRAMS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
const NO_PROGRAMS_ON_DEVICE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

fn memory(bytes: u64, mode: u32) -> io::Result<OwnedFd> {
    let size = bytes.to_string();
    let mode = format!("{mode:o}");
    // Empty files cost the kernel memory too.
    let inodes = (bytes / 4096).clamp(1024, 1 << 20).to_string();
    let options = [
        ("size", size.as_str()),
        ("mode", &mode),
        ("nr_inodes", &inodes),
    ];
    make("tmpfs", &options, PLAIN)
}

fn is_folder(mount: BorrowedFd<'_>) -> io::Result<bool> {
    let found = statat(mount, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}
