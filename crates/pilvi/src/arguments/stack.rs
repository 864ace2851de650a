//! What can be said to `pilvi stack`.

use clap::Subcommand;

/// What can be done with stacks.
#[derive(Debug, Subcommand)]
pub(crate) enum StackCommand {
    /// Make a stack from Debian's packages, which takes some minutes
    Create {
        /// Its name, such as debian-12
        name: String,
    },
    /// List the stacks
    List,
    /// Remove a stack that no release needs any more
    Remove { name: String },
}
