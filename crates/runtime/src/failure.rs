//! What can go wrong with a sandbox, with the step at which it did.

use std::io;

/// A sandbox that could not be started, or could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not {step}")]
pub struct Failure {
    /// What was being done, as the end of a sentence: `mount /app`.
    pub step: String,
    #[source]
    pub source: io::Error,
}

impl Failure {
    pub(crate) fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            step: step.into(),
            source: source.into(),
        }
    }

    /// The whole story in one sentence, for a reader who has no list of sources.
    pub fn sentence(&self) -> String {
        format!("The sandbox could not {}: {}.", self.step, self.source)
    }
}
