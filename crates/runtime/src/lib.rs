//! The sandbox that apps are built and run in.
//!
//! A sandbox is one program and its children in namespaces of their own, on a read-only root file system, without any
//! privilege and with a bound on everything. The crate knows nothing of apps, releases or HTTP: it is given paths,
//! arguments and file descriptors. It must never run anything of an app outside a sandbox, and never fork the process
//! that it is part of: sandboxes are born from a small helper process, the same executable started again.
//!
//! Start with [`Runtime`]; [`Spec`] says what can be asked for; `init` is what happens on the other side.

mod cgroup;
mod channel;
mod cleanup;
mod failure;
mod host;
mod init;
mod landlock;
mod launch;
mod layers;
mod leftovers;
mod mounts;
mod network;
mod protocol;
mod runtime;
mod sandbox;
mod seccomp;
mod spec;
pub mod stack;
#[cfg(test)]
mod testing;
mod wire;

pub use failure::Failure;
pub use init::take_over;
pub use layers::{Layer, LayerName, LayerState};
pub use leftovers::remove_tree;
pub use runtime::{Accepted, Runtime, Settings, survey};
pub use sandbox::{Execution, Sandbox};
pub use spec::{
    Bind, Door, Ending, Exec, Exit, File, From, GATEWAY, INSIDE_ID, Limits, Mount, NetworkSettings,
    Spec, StackRoot, Usage,
};
pub use stack::{Error as StackError, HOST, Order as StackOrder, Stack, Stacks};
