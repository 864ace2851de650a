//! Taking folders of the host out of its tree, as mounts of their own that can be handed over.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::CWD;

use super::plan::Source;
use super::sys::{PLAIN, READ_ONLY, copy, restrict};

/// A copy of the mount that shows the source, restricted as the source asks. Needs rights over the mount namespace that
/// this process lives in: root, or the init of a sandbox before it gives them up.
pub(crate) fn take(source: &Source) -> io::Result<OwnedFd> {
    let tree = copy(CWD, &source.path)?;
    let attributes = if source.writable { PLAIN } else { READ_ONLY };
    restrict(&tree, attributes, true)?;
    Ok(tree)
}
