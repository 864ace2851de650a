//! The nouns of apps: ids, sizes, process types, Procfiles, config vars, slug tags, domains, stacks (`mar.md`).

mod domain;
mod id;
mod process;
mod procfile;
mod size;
mod stack;
mod tag;
mod var;

pub use domain::Domain;
pub use id::AppId;
pub use process::{ProcessName, ProcessType, ProcessTypes};
pub use procfile::PROCFILE_MAX_BYTES;
pub use size::Size;
pub use stack::StackName;
pub use tag::SlugTag;
pub use var::{RESERVED_VARS, STACK_VAR, VarName, VarValue};
