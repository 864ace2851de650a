//! `Idempotency-Key`: a create that a client sends again, because it lost the reply, is carried out once.

use axum::extract::FromRequestParts;
use http::request::Parts;
use pilvi_model::{Error, ObjectType};
use pilvi_store::backend::OnceKey;
use pilvi_web::Refusal;
use serde_json::Value;

use crate::Eds;
use crate::caller::Caller;

/// The header's name, as requests spell it in lower case.
pub(crate) const HEADER: &str = "idempotency-key";
pub(crate) const LENGTH_MAX: usize = 255;

/// The key that a client chose, if it chose one.
#[derive(Clone, Debug)]
pub(crate) struct OnceHeader(Option<String>);

impl OnceHeader {
    /// The key of this request by this caller. `body` is compared as JSON, so blanks do not matter.
    pub(crate) fn key(
        &self,
        caller: &Caller,
        object_type: &ObjectType,
        body: &Value,
    ) -> Option<OnceKey> {
        let key = self.0.as_ref()?;
        let request = format!("{object_type}\n{body}");
        Some(OnceKey::new(&caller.asker, key, request.as_bytes()))
    }
}

impl FromRequestParts<Eds> for OnceHeader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Eds) -> Result<Self, Refusal> {
        let Some(value) = parts.headers.get(HEADER) else {
            return Ok(Self(None));
        };
        let key = value.to_str().map(str::trim).unwrap_or_default();
        if key.is_empty() || key.len() > LENGTH_MAX {
            return Err(Error::bad_request(format!(
                "Idempotency-Key must be 1 to {LENGTH_MAX} printable ASCII characters, such as a random UUID"
            ))
            .into());
        }
        Ok(Self(Some(key.to_owned())))
    }
}
