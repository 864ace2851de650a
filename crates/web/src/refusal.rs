//! A request that is not carried out: the one mapping from a kind of error to a status.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use pilvi_model::{Error, FieldError, Kind};

/// Why a request is not carried out.
///
/// A handler returns it as its error. As a response it is only a mark: the door finds it and lets the service's
/// [`crate::Manners`] put it into words, so that every refusal of one service looks alike.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    /// One word for programs, such as `NotFound`.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// The fields that break a rule; empty when no field is to blame.
    pub fields: Vec<FieldError>,
    /// When the same request may be worth another try.
    pub retry_after: Option<Duration>,
    /// The body was not JSON. The reason is `BadRequest` like that of other unreadable requests; some services
    /// have a word of their own for it.
    pub malformed_json: bool,
    /// What happened, for the log alone.
    source: Option<Arc<Error>>,
}

impl Refusal {
    /// A refusal by the door itself, with the usual reason for `status`.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: usual_reason(status),
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
            malformed_json: false,
            source: None,
        }
    }

    /// The body, or a parameter that holds JSON, is not JSON.
    pub fn malformed_json(message: impl Into<String>) -> Self {
        Self {
            malformed_json: true,
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// Gives a refusal another reason than the usual one of its status.
    #[must_use]
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// What the log should say about a fault of ours.
    pub(crate) fn source(&self) -> Option<&Error> {
        self.source.as_deref()
    }

    /// The headers that go with this refusal whatever its shape.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs().max(1);
            response
                .headers_mut()
                .insert(RETRY_AFTER, http::HeaderValue::from(seconds));
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, reason) = match error.kind {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "BadRequest"),
            Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "ValidationFailed"),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            Kind::Conflict => (StatusCode::CONFLICT, "Conflict"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Kind::OverLimit => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        };
        let retry_after = matches!(error.kind, Kind::OverLimit | Kind::Unavailable)
            .then_some(Duration::from_secs(1));
        let has_cause = error.kind == Kind::Internal || std::error::Error::source(&error).is_some();
        Self {
            status,
            reason,
            message: error.message.clone(),
            fields: error.fields.clone(),
            retry_after,
            malformed_json: false,
            source: has_cause.then(|| Arc::new(error)),
        }
    }
}

impl IntoResponse for Refusal {
    /// A bare status with this refusal in its extensions; the door replaces it with the dressed one.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The reason that goes with a status unless the one who refuses has a better word.
fn usual_reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 426 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 => "Timeout",
        409 => "Conflict",
        413 => "TooLarge",
        414 => "TargetTooLong",
        422 => "ValidationFailed",
        429 => "TooManyRequests",
        431 => "HeadTooLarge",
        501 => "NotImplemented",
        503 => "Unavailable",
        505 => "VersionNotSupported",
        code if code < 500 => "BadRequest",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_status() {
        let table = [
            (Kind::BadRequest, 400),
            (Kind::Invalid, 422),
            (Kind::Unauthenticated, 401),
            (Kind::Forbidden, 403),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::TooLarge, 413),
            (Kind::OverLimit, 429),
            (Kind::Unavailable, 503),
            (Kind::Internal, 500),
        ];
        for (kind, status) in table {
            let refusal = Refusal::from(Error::new(kind, "why"));
            assert_eq!(refusal.status, status, "{kind:?}");
            assert_eq!(refusal.message, "why");
            assert_eq!(refusal.retry_after.is_some(), [429, 503].contains(&status));
        }
    }

    #[test]
    fn the_cause_of_a_fault_of_ours_is_for_the_log_alone() {
        let refusal = Refusal::from(Error::internal("the disk is full"));
        assert!(!refusal.message.contains("disk"));
        let source = refusal.source().expect("the cause is kept");
        assert_eq!(
            std::error::Error::source(source).unwrap().to_string(),
            "the disk is full"
        );
    }
}
