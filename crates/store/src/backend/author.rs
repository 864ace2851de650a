//! Who writes, and in the name of which request.

use pilvi_model::{Asker, RequestId, Timestamp};

/// Whoever is behind a write. Rights are decided by it in the transaction that writes.
#[derive(Clone, Debug)]
pub struct Author {
    pub asker: Asker,
    pub request: RequestId,
    pub at: Timestamp,
}

impl Author {
    /// The id of the app's user behind the request, when there is one.
    pub(super) fn user(&self) -> Option<String> {
        self.asker.user().map(|id| id.to_string())
    }
}
