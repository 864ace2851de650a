//! What the server gets ready before a birth: the plan in a memory file, the streams, and the host's folders.

use std::fs::File as SystemFile;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Gid, MemfdFlags, Mode, OFlags, Uid, fchown, fstat, memfd_create, open};

use super::told;
use crate::Failure;
use crate::mounts::plan::{RootPlan, Source};
use crate::mounts::trees;
use crate::protocol::{Bounds, Plan, Program};
use crate::spec::{Door, File, Limits, Spec};

/// Everything that an init is given.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) limits: Limits,
    pub(super) wants_network: bool,
    pub(super) plan: OwnedFd,
    pub(super) streams: [OwnedFd; 3],
    /// The folders to mount; none when the init is to take them itself.
    pub(super) trees: Vec<OwnedFd>,
}

/// What the machine and the server add to a spec.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) doors: Vec<Door>,
    /// Files about the network.
    pub(super) files: Vec<File>,
    /// Rules for the network namespace.
    pub(super) fence: Vec<u8>,
    pub(super) privileged: bool,
    /// Whether a cgroup bounds the memory of the sandbox as a whole.
    pub(super) is_memory_limited: bool,
}

pub(super) fn prepare(spec: Spec, around: Surroundings) -> Result<Prepared, Failure> {
    let Surroundings { privileged, .. } = around;
    let told = told::files(&spec.hostname, &around.doors, &spec.limits);
    let files = [told, around.files].concat();
    let root = RootPlan::of(&spec, &files).map_err(|error| Failure::new("be planned", error))?;
    let trees = if privileged { take(&root)? } else { Vec::new() };
    let streams = streams(spec.stdin, spec.stdout, spec.stderr);
    let streams = streams.map_err(|error| Failure::new("be given its standard streams", error))?;
    if privileged {
        own(&streams, spec.uid)
            .map_err(|error| Failure::new("be given its standard streams", error))?;
    }
    let plan = Plan {
        hostname: spec.hostname,
        root,
        doors: around.doors.iter().map(|door| door.port).collect(),
        fence: around.fence,
        bounds: bounds(&spec.limits, around.is_memory_limited),
        program: Program {
            argv: spec.argv,
            env: spec.env,
            cwd: spec.cwd,
        },
        privileged,
    };
    let plan =
        memory_file(&plan.encode()).map_err(|error| Failure::new("be told its plan", error))?;
    Ok(Prepared {
        name: spec.name,
        uid: spec.uid,
        limits: spec.limits,
        wants_network: spec.network,
        plan,
        streams,
        trees,
    })
}

/// A file in memory with these bytes, read from its beginning by whom it is given to.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("pilvi", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        // Kernels before 6.3 do not know the second flag.
        .or_else(|_| memfd_create("pilvi", MemfdFlags::CLOEXEC))?;
    let mut file = SystemFile::from(file);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// The three streams of a program, with nothing to read when there is no input.
pub(crate) fn streams(
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<[OwnedFd; 3]> {
    let stdin = match stdin {
        Some(stdin) => stdin,
        None => open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?,
    };
    Ok([stdin, stdout, stderr])
}

/// Gives pipes to the user of the sandbox, so that programs can open `/dev/stdout` by its name.
pub(crate) fn own(streams: &[OwnedFd; 3], uid: u32) -> io::Result<()> {
    for stream in streams {
        let found = fstat(stream)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Fifo {
            fchown(
                stream.as_fd(),
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(uid)),
            )?;
        }
    }
    Ok(())
}

fn bounds(limits: &Limits, is_memory_limited: bool) -> Bounds {
    Bounds {
        files: limits.files,
        file_bytes: limits.file_bytes,
        pids: limits.pids.into(),
        // Programs reserve more than they use: stacks of threads above all.
        data_bytes: (!is_memory_limited).then(|| limits.memory_bytes.saturating_mul(2)),
    }
}

fn take(root: &RootPlan) -> Result<Vec<OwnedFd>, Failure> {
    let take = |source: &Source| {
        let step = |error| Failure::new(format!("take {} from the host", source.path), error);
        trees::take(source).map_err(step)
    };
    root.sources.iter().map(take).collect()
}
