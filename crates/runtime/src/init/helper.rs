//! The helper: waits for the server's word and gives birth.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{chdir, setsid};
use rustix::thread::set_name;

use super::birth::{self, Side};
use super::{serve, signals};
use crate::channel::{Channel, Message};
use crate::protocol::{Birth, Born, Refusal, encode_born};
use crate::seccomp::Filters;
use crate::wire::garbled;

/// Serves births until the server is gone.
pub(super) fn run() -> io::Result<()> {
    let channel = settle()?;
    // Compiled once, and shared by all that are born.
    let filters = Filters::compile()?;
    while let Some(message) = channel.receive()? {
        match bear(message) {
            Ok(Side::Parent { pid, handle }) => {
                channel.send(&encode_born(&Ok(pid)), &[handle.as_fd()])?;
            }
            Ok(Side::Child { to_server }) => {
                drop(channel);
                serve::run(&to_server, &filters);
            }
            Err(refusal) => channel.send(&encode_born(&Born::Err(refusal)), &[])?,
        }
    }
    Ok(())
}

/// Lets go of everything that came from the server but the channel, which is the standard input.
fn settle() -> io::Result<Channel> {
    let _ = set_name(c"pilvi-sandboxes");
    // An interrupt at the terminal is for the server, which then ends its sandboxes in order.
    let _ = setsid();
    signals::reap_by_itself();
    let channel = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    close_others(channel.as_fd())?;
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    chdir("/")?;
    Ok(Channel::from_fd(channel))
}

#[expect(unsafe_code, reason = "rustix has no close_range")]
fn close_others(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, keep - 1), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: at this point nothing in this process owns a descriptor but the standard ones and the one that stays.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn bear(message: Message) -> Result<Side, Refusal> {
    let wrong = |error: io::Error| Refusal::new("understand the server", &error);
    let order = Birth::decode(&message.bytes).map_err(wrong)?;
    let mut files = message.files.into_iter();
    let to_server = files.next().ok_or_else(|| wrong(garbled()))?;
    let cgroup: Option<OwnedFd> = files.next().filter(|_| order.into_cgroup);
    birth::bear(
        order,
        Channel::from_fd(to_server),
        cgroup.as_ref().map(AsFd::as_fd),
    )
}
