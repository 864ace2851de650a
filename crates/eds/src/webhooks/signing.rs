//! How a webhook signs what it sends: [`pilvi_core::signing`], with secrets that are its own.

use pilvi_model::{BackendId, WebhookId};

pub(crate) use pilvi_core::signing::{Fresh, OVERLAP_HOURS_MAX, Signing, overlap_hours, seconds};

/// For whom the secrets of a webhook are sealed.
pub(crate) fn context(backend: BackendId, webhook: WebhookId) -> String {
    format!("signing of webhook {webhook} of backend {backend}")
}
