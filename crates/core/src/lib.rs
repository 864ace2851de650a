//! What the services share: who a token belongs to, which instances there are, how one comes and goes, and how Pilvi
//! calls out.
//!
//! Services never call one another. What one needs of another is a small type or trait in here, wired together by
//! the binary.

mod completion;
mod directory;
pub mod egress;
mod identity;
mod provisioner;

pub use completion::complete;
pub use directory::Directory;
pub use egress::Egress;
pub use identity::{Identity, Principal};
pub use provisioner::{Provisioner, Provisioning};
