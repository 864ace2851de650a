//! Managed Application Runtime: apps that are pushed, built, run and reached.
//!
//! One [`Mar`] serves all apps. Start with `routes`: the table of what there is. `caller` decides who asks, a file for
//! each noun holds the rules. A push comes in through `git_doors` and becomes a slug in `pipeline`; `releases` makes a
//! numbered release of a slug, config vars and process types; `supervisor` runs it and tells the router; `journal`
//! keeps what the processes write.

mod apps;
mod archive;
mod caller;
mod certificates;
mod deploy;
mod domains;
mod env_vars;
mod error;
mod exec;
pub mod folders;
mod git_doors;
pub mod journal;
mod logs;
mod mar;
pub mod pipeline;
mod places;
pub mod portable;
mod processes;
mod provisioner;
mod releases;
mod routes;
mod settings;
mod slugs;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

pub use deploy::{Deploys, clear_interrupted_builds, clear_trees_of_another_boot};
pub use folders::Folders;
pub use git_doors::{Gate, git_site};
pub use mar::{Mar, Parts};
pub use processes::{Executed, ProcessState, ProcessStatus, Processes, Progress};
pub use releases::ReleasePlan;
pub use routes::{ROUTES, Route, Verb, Who};
pub use settings::{Addresses, Limits, Settings, SshAddress};
