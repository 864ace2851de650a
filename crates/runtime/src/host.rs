//! The programs of the host that are called: `nft`, `pasta`, `unshare`, `mmdebstrap` and `tar`.

use std::process::{Command, Stdio};

/// Where the system keeps its programs. Not the `PATH` that the server was started with: as root we run none that
/// somebody else put in front, and a shell without the administrator's folders must not lack `nft`.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A call of a program of the system, which reads nothing.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", PATH).stdin(Stdio::null());
    command
}
