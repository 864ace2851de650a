//! How EDS refuses: `{"errors":[{"message","reason","property"?}]}` (`eds.md` §3), with CORS for everybody (§2.6).

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

use crate::files::Uploads;
use crate::transfers;

pub(crate) struct EdsManners {
    /// How large a file may be.
    pub(crate) file_bytes_max: u64,
}

/// JSON bodies may be this large; files have a limit of their own.
const BODY_MAX_BYTES: usize = 2 << 20;

const ALLOWED_HEADERS: &str = "Enginio-Backend-Id, Enginio-Backend-Secret, Enginio-Backend-Session, \
     Enginio-Backend-MasterKey, Authorization, Content-Type, Content-Range, Accept, X-Request-Id, X-Requested-With, \
     Idempotency-Key";

impl Manners for EdsManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        if refusal.fields.is_empty() {
            let reason = match refusal.status {
                StatusCode::UNAUTHORIZED => "Unauthorized",
                _ => refusal.reason,
            };
            return (
                refusal.status,
                json!({"errors": [{"message": refusal.message, "reason": reason}]}),
            );
        }
        let errors: Vec<Value> = refusal
            .fields
            .iter()
            .map(|field| json!({"message": field.message, "property": field.property, "reason": "ValidationFailed"}))
            .collect();
        (StatusCode::BAD_REQUEST, json!({ "errors": errors }))
    }

    fn cors(&self) -> Cors {
        Cors::Any {
            allow_headers: ALLOWED_HEADERS,
        }
    }

    fn body_max_bytes(&self) -> usize {
        BODY_MAX_BYTES
    }

    fn body_max_bytes_at(&self, path: &str) -> usize {
        if transfers::is_chunk(path) {
            return usize::try_from(transfers::IMPORT_BYTES_MAX).unwrap_or(usize::MAX);
        }
        let of_files = Uploads::body_bytes_max(self.file_bytes_max, path);
        of_files.unwrap_or(BODY_MAX_BYTES)
    }
}
