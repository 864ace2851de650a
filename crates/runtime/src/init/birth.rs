//! The birth of a sandbox: a process in new namespaces, with one user.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::{Signal, pidfd_send_signal};

use super::rights::OOM_SCORE;
use crate::channel::Channel;
use crate::protocol::{Birth, During, Refusal};
use crate::spec::INSIDE_ID;

/// Everything but the cgroup namespace, which shows the cgroup that the process is in when it is made.
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The constant of `libc` has too small a type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// On which side of a birth one is.
pub(super) enum Side {
    Parent { pid: u32, handle: OwnedFd },
    Child { to_server: Channel },
}

/// Gives birth. Returns twice: in the helper, and in the child, which has every right over its namespaces and none
/// outside.
pub(super) fn bear(
    order: Birth,
    to_server: Channel,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Side, Refusal> {
    let Some((pid, handle)) = clone(cgroup).during("make its namespaces")? else {
        return Ok(Side::Child { to_server });
    };
    match rank(pid, order).and_then(|()| map_user(pid, order)) {
        Ok(()) => Ok(Side::Parent { pid, handle }),
        Err(error) => {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
            Err(Refusal::new("map its user to the host's", &error))
        }
    }
}

/// A fork into new namespaces. None in the child.
#[expect(unsafe_code, reason = "rustix has no clone3")]
fn clone(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<(u32, OwnedFd)>> {
    let mut handle: RawFd = -1;
    let mut flags =
        u64::from(NAMESPACES.unsigned_abs()) | u64::from(libc::CLONE_PIDFD.unsigned_abs());
    let mut wanted = libc::clone_args {
        flags: 0,
        pidfd: (&raw mut handle) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        wanted.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    wanted.flags = flags;
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of the memory and goes on with the same stack. The
    // helper has one thread, so no lock can be held by a thread that the child does not have.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const wanted,
            size_of::<libc::clone_args>(),
        )
    };
    match u32::try_from(pid) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) => Ok(None),
        // SAFETY: the kernel has put a new descriptor there, which nobody else knows.
        Ok(pid) => Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(handle) }))),
    }
}

/// Ranks the sandbox for when memory runs out. What root writes from outside is the lowest that anybody inside can
/// choose from then on; init, which has no right over the host, could write a rank but set no bound.
fn rank(pid: u32, order: Birth) -> io::Result<()> {
    if !order.privileged {
        return Ok(());
    }
    match fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE) {
        // A root without the right over resources, as in some containers, that is ranked higher itself.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        written => written,
    }
}

/// The one user of the sandbox stands for one user of the host; no other exists inside.
fn map_user(pid: u32, order: Birth) -> io::Result<()> {
    if !order.privileged {
        fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    fs::write(
        format!("/proc/{pid}/uid_map"),
        format!("{INSIDE_ID} {} 1", order.uid),
    )?;
    fs::write(
        format!("/proc/{pid}/gid_map"),
        format!("{INSIDE_ID} {} 1", order.gid),
    )
}
