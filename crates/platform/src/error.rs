//! How the platform says no (`platform.md` §4).

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

/// The reply envelope of the platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlatformManners;

impl Manners for PlatformManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let reason = match refusal.status {
            StatusCode::UNAUTHORIZED => "AccessDenied",
            _ => refusal.reason,
        };
        let body = if refusal.fields.is_empty() {
            json!({"error": {"reason": reason, "message": refusal.message}})
        } else {
            let errors: Vec<Value> = refusal
                .fields
                .iter()
                .map(|field| {
                    // The command line prints this body to a person, so the sentence names its subject.
                    let message = format!("{} {}", field.property, field.message);
                    json!({"reason": reason, "property": field.property, "message": message})
                })
                .collect();
            json!({"errors": errors})
        };
        (refusal.status, body)
    }

    /// No published client calls the platform from a page, and its tokens open everything.
    fn cors(&self) -> Cors {
        Cors::None
    }

    /// The largest request is an instance with all its tags.
    fn body_max_bytes(&self) -> usize {
        64 << 10
    }

    /// An archive may be as large as what it is of; how large is bounded where it is taken in.
    fn body_max_bytes_at(&self, path: &str) -> usize {
        match crate::backups::is_restore(path) {
            true => usize::MAX,
            false => self.body_max_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::{Error, FieldError};

    use super::*;

    #[test]
    fn one_failure_and_broken_fields_have_their_own_shapes() {
        let (status, body) = PlatformManners.dress(&Error::unauthenticated("Access denied").into());
        assert_eq!(status, 401);
        assert_eq!(
            body,
            json!({"error": {"reason": "AccessDenied", "message": "Access denied"}})
        );

        let fields = ["name", "tags"].map(|property| FieldError {
            property: property.to_owned(),
            message: "is wrong".to_owned(),
        });
        let (status, body) = PlatformManners.dress(&Error::invalid_fields(fields.into()).into());
        assert_eq!(status, 422);
        assert_eq!(
            body,
            json!({"errors": [
                {"reason": "ValidationFailed", "property": "name", "message": "name is wrong"},
                {"reason": "ValidationFailed", "property": "tags", "message": "tags is wrong"},
            ]})
        );
    }
}
