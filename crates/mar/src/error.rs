//! How MAR says no: as the platform does (`platform.md` §4), since the command line prints the body to a person.

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug)]
pub(crate) struct MarManners {
    /// The largest slug that may be uploaded.
    pub slug_bytes: u64,
}

/// All config vars of an app at their longest fit in.
const BODY_MAX_BYTES: usize = 1 << 20;

impl Manners for MarManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let reason = match refusal.status {
            StatusCode::UNAUTHORIZED => "AccessDenied",
            _ => refusal.reason,
        };
        if refusal.fields.is_empty() {
            let body = json!({"error": {"reason": reason, "message": refusal.message}});
            return (refusal.status, body);
        }
        let errors: Vec<Value> = refusal
            .fields
            .iter()
            .map(|field| {
                let message = format!("{} {}", field.property, field.message);
                json!({"reason": reason, "property": field.property, "message": message})
            })
            .collect();
        (refusal.status, json!({ "errors": errors }))
    }

    /// No published client calls apps from a page, and its tokens open everything.
    fn cors(&self) -> Cors {
        Cors::None
    }

    fn body_max_bytes(&self) -> usize {
        BODY_MAX_BYTES
    }

    fn body_max_bytes_at(&self, path: &str) -> usize {
        match path.split('/').nth(4) {
            Some("blobs") => usize::try_from(self.slug_bytes).unwrap_or(usize::MAX),
            _ => BODY_MAX_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::Error;

    use super::*;

    #[test]
    fn refusals_look_like_those_of_the_platform() {
        let manners = MarManners {
            slug_bytes: 5 << 20,
        };
        let (status, body) = manners.dress(&Error::unauthenticated("Access denied").into());
        assert_eq!(status, 401);
        assert_eq!(
            body,
            json!({"error": {"reason": "AccessDenied", "message": "Access denied"}})
        );
        let (status, body) = manners.dress(&Error::invalid("web", "must be a number").into());
        assert_eq!(status, 422);
        assert_eq!(
            body,
            json!({"errors": [
                {"reason": "ValidationFailed", "property": "web", "message": "web must be a number"}
            ]})
        );
    }

    #[test]
    fn only_slugs_may_be_large() {
        let manners = MarManners {
            slug_bytes: 5 << 20,
        };
        for (path, bytes) in [
            ("/v1/apps/mar-eu-1-twwto7g0/blobs/7", 5 << 20),
            ("/v1/apps/mar-eu-1-twwto7g0/slugs", 1 << 20),
            ("/v1/apps/blobs", 1 << 20),
            ("/v1/apps", 1 << 20),
        ] {
            assert_eq!(manners.body_max_bytes_at(path), bytes, "{path}");
        }
    }
}
