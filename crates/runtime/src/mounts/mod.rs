//! The file system of a sandbox.
//!
//! The server makes a [`plan::RootPlan`] of it, in plain data; the init [builds](build) it, with a mount namespace of
//! its own and with rights over nothing else. Folders below the data folder can be seen by root only: a server that
//! runs as root [takes them out](trees) beforehand and hands them over as detached mounts.

pub(crate) mod build;
pub(crate) mod plan;
mod sys;
pub(crate) mod trees;
