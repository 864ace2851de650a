//! The account interface of the original, which its test tooling drives: sign in, make an app, describe its object
//! types, use it, delete it (`eds.md` §14.1, §14.2).
//!
//! An *app* there had *environments*, each with a data store of its own. Here an app is one backend, and its only
//! environment is that backend: both have its id. The tools send whatever headers their last call to a backend had;
//! nothing here looks at them. What clients call an account is a person here; the app is made in the first account of
//! theirs in which they may.

mod apps;
mod login;
mod routes;

pub(crate) use routes::routes;

use http::StatusCode;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Value, json};

/// These calls refuse as those of a backend do (`eds.md` §3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountManners;

impl Manners for AccountManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        if refusal.fields.is_empty() {
            let reason = match refusal.status {
                StatusCode::UNAUTHORIZED => "Unauthorized",
                _ => refusal.reason,
            };
            let error = json!({"message": refusal.message, "reason": reason});
            return (refusal.status, json!({ "errors": [error] }));
        }
        let errors: Vec<Value> = refusal
            .fields
            .iter()
            .map(|field| json!({"message": field.message, "property": field.property, "reason": "ValidationFailed"}))
            .collect();
        (StatusCode::BAD_REQUEST, json!({ "errors": errors }))
    }

    /// The tokens here open everything that a person has.
    fn cors(&self) -> Cors {
        Cors::None
    }

    fn body_max_bytes(&self) -> usize {
        64 << 10
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::Error;

    use super::*;

    #[test]
    fn refusals_have_the_shape_that_the_tools_know_from_backends() {
        let (status, body) = AccountManners.dress(&Error::unauthenticated("sign in").into());
        assert_eq!(status, 401);
        assert_eq!(
            body,
            json!({"errors": [{"message": "sign in", "reason": "Unauthorized"}]})
        );
        let (status, body) = AccountManners.dress(&Error::invalid("name", "is required").into());
        assert_eq!(status, 400);
        let expected =
            json!({"message": "is required", "property": "name", "reason": "ValidationFailed"});
        assert_eq!(body, json!({"errors": [expected]}));
    }
}
