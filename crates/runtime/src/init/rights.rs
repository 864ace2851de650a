//! Giving up rights.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::spec::INSIDE_ID;

/// When memory runs out, the kernel takes sandboxes before the server; within one it takes the largest program, which
/// the init never is.
pub(super) const OOM_SCORE: &str = "500";

/// Ranks this process and what it starts. Must come while its files in `/proc` are its own still.
pub(super) fn go_first_for_memory() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", OOM_SCORE)
}

/// Becomes the one user of the sandbox; keeps the rights over its namespaces for now.
pub(super) fn become_inside_user(privileged: bool) -> io::Result<()> {
    if privileged {
        set_thread_groups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(INSIDE_ID), Gid::from_raw(INSIDE_ID));
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Lets nobody make user namespaces below ours, should a filter ever have a hole.
pub(super) fn forbid_user_namespaces() -> io::Result<()> {
    fs::write("/proc/sys/user/max_user_namespaces", "0")
}

/// Leaves the session keyring of the server for an empty one.
#[expect(unsafe_code, reason = "rustix has no keyrings")]
pub(super) fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let nameless = std::ptr::null::<libc::c_char>();
    // SAFETY: the call takes a number and no pointer.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nameless) };
    let error = io::Error::last_os_error();
    // A kernel without keyrings has none to leave.
    if result < 0 && error.raw_os_error() != Some(libc::ENOSYS) {
        Err(error)
    } else {
        Ok(())
    }
}

/// Drops every capability from every set, so that no program can have one again.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits)?;
    clear_ambient_capability_set()?;
    drop_bounding_set()?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, none)?;
    Ok(set_no_new_privs(true)?)
}

/// The kernel may know more capabilities than our libraries do; past the last one it says so.
#[expect(
    unsafe_code,
    reason = "rustix only drops the capabilities that it knows"
)]
fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: the call takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let error = io::Error::last_os_error();
            let is_past_the_last = error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
            return if is_past_the_last { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Closes the memory of this process to those with the same user: they cannot trace it, nor read its environment,
/// descriptors or executable.
pub(super) fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
