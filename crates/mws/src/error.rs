//! How the gateway says no (`mws.md` §7), and what browsers may do (§8).

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

pub(crate) struct MwsManners {
    pub(crate) body_bytes_max: usize,
}

impl Manners for MwsManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        if !refusal.fields.is_empty() {
            return (refusal.status, faults(refusal));
        }
        let (status, reason) = match refusal.status {
            _ if refusal.malformed_json => (StatusCode::UNPROCESSABLE_ENTITY, "InvalidJson"),
            StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, "AccessDenied"),
            status => (status, refusal.reason),
        };
        let error = json!({"error": {"reason": reason, "message": refusal.message}});
        (status, error)
    }

    fn cors(&self) -> Cors {
        Cors::Reflect
    }

    fn body_max_bytes(&self) -> usize {
        self.body_bytes_max
    }
}

fn faults(refusal: &Refusal) -> Value {
    let faults = refusal.fields.iter().map(|field| {
        json!({
            "reason": refusal.reason,
            "property": field.property,
            "message": field.message,
        })
    });
    json!({"errors": faults.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use pilvi_model::Error;

    use super::*;

    fn dress(refusal: impl Into<Refusal>) -> (u16, Value) {
        let manners = MwsManners { body_bytes_max: 1 };
        let (status, body) = manners.dress(&refusal.into());
        (status.as_u16(), body)
    }

    #[test]
    fn the_table_of_errors() {
        let single = |reason, message| json!({"error": {"reason": reason, "message": message}});
        assert_eq!(
            dress(Error::unauthenticated("Access denied")),
            (401, single("AccessDenied", "Access denied"))
        );
        assert_eq!(
            dress(Error::forbidden("Access denied")),
            (403, single("Forbidden", "Access denied"))
        );
        assert_eq!(
            dress(Error::not_found("gone")),
            (404, single("NotFound", "gone"))
        );
        assert_eq!(
            dress(Refusal::malformed_json("Invalid json")),
            (422, single("InvalidJson", "Invalid json"))
        );
        let fault = json!({
            "reason": "ValidationFailed",
            "property": "data",
            "message": "Data can't be nil",
        });
        assert_eq!(
            dress(Error::invalid("data", "Data can't be nil")),
            (422, json!({"errors": [fault]}))
        );
    }
}
