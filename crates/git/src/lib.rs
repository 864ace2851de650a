//! Repositories, and the doors through which people push to them: SSH, and HTTP with a token.
//!
//! The system's `git` does the work on the objects; this crate decides who may reach it, runs it with nothing of the
//! machine's own configuration, and carries the bytes both ways. It knows no accounts and no apps: who somebody is and
//! what they may, it asks a [`Gatekeeper`]; what happens with a pushed commit, a [`Deployer`] decides, whose lines the
//! pusher reads while they are written and whose refusal rejects the push.
//!
//! Nothing in here may run a shell on a pusher's words, read the machine's git configuration, or hold a push in memory.
//!
//! Start reading at [`push`]: what is told of a push, and to whom. A push comes in through `ssh.rs` or `http.rs`,
//! becomes a git process in `conversation.rs`, whose hook (`hook.rs`) calls back to `receive.rs`.

mod app_name;
mod bundle;
mod command;
mod conversation;
mod gatekeeper;
mod git;
mod hook;
mod host_key;
mod http;
mod inflate;
mod leftovers;
mod public_key;
pub mod push;
mod receive;
mod repositories;
mod rules;
mod ssh;
mod turns;
mod wire;

pub use app_name::app_of_path;
pub use gatekeeper::{Access, Gatekeeper, Pusher};
pub use git::{Git, Limits, Settings};
pub use hook::{HOOK_WORD, take_over};
pub use host_key::HostKey;
pub use http::ReplyBody;
pub use public_key::PublicKey;
pub use push::{Deploy, Deployer, Output, Push, Quarantine, Rejected, Update};
pub use repositories::{Archive, Repositories};
pub use ssh::{SshLimits, SshServer};
