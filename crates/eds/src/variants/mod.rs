//! Variants: smaller images, made in the background of what was uploaded (`eds.md` §10.5).
//!
//! The store knows which are to be made; the [`Workshop`] makes them, a few at a time and never more at once than fit
//! into its memory. `picture` is what an image becomes, without any reading or writing around it.

pub mod picture;
mod queue;
mod resample;
mod workshop;

pub(crate) use queue::Wakes;
pub use workshop::{Workshop, Workspace};
