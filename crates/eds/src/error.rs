//! How EDS refuses: `{"errors":[{"message","reason","property"?}]}` (`eds.md` §3), with CORS for everybody (§2.6).

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

pub(crate) struct EdsManners;

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
}
