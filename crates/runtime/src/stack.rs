//! Root file systems for sandboxes: the host's own programs, or a Debian that was made for the purpose.
//!
//! The host's `/usr` serves the demo and development: it is there at once, but changes when the host is upgraded. A
//! made stack stays as it is until it is removed, so a release that names it runs on what it was built on. Either way
//! a sandbox sees the programs read-only, an `/etc` of chosen files without a secret, and nothing of `/usr/local`,
//! where the host's own administrator keeps things.

mod etc;
mod made;
mod root;

pub(crate) use self::etc::hosts;
pub use self::made::{Error, HOST, Order, Stack, Stacks};
