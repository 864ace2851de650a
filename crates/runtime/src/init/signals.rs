//! Signals in the helper, in an init, and in a program that is about to start.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// Lets the kernel reap the children of the helper: the server watches them by their handles.
#[expect(unsafe_code, reason = "rustix has no signal dispositions")]
pub(super) fn reap_by_itself() {
    // SAFETY: no handler is set, so nothing of ours runs at a signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Blocks every signal in an init and gives the ends of children as something to read.
#[expect(unsafe_code, reason = "rustix has no signal masks and no signalfd")]
pub(super) fn as_file() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled before it is read, and lives through the calls. No handler is set. The descriptor is
    // new, so nobody else owns it.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigfillset(set.as_mut_ptr());
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            set.as_ptr(),
            std::ptr::null_mut(),
        ))?;
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        let file = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(file)?;
        Ok(OwnedFd::from_raw_fd(file))
    }
}

/// Gives a program the signals as it expects them: none blocked, none ignored.
#[expect(
    unsafe_code,
    reason = "rustix has no signal masks and no signal dispositions"
)]
pub(super) fn as_usual() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled before it is read, and no handler is set.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            // Those that cannot be changed say so; that is fine.
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::sigemptyset(set.as_mut_ptr());
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            set.as_ptr(),
            std::ptr::null_mut(),
        ))
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
