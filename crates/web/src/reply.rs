//! What a handler answers: JSON with a status, and nothing else.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use pilvi_model::Error;
use serde::Serialize;

use crate::Refusal;

/// Marks an error, in its extensions, whose body is in the words of a protocol of its own. The door then leaves it as
/// it is.
#[derive(Clone, Copy, Debug)]
pub struct Worded;

/// A JSON answer. It always has a `Content-Type` and is never empty, because old clients fail on either
/// (`platform.md` §2).
#[derive(Debug)]
pub struct Reply(Result<Json, Refusal>);

#[derive(Debug)]
struct Json {
    status: StatusCode,
    text: String,
    /// One more header than all have.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// `value` as JSON. A value that cannot be written as JSON is a fault of ours and becomes a 500.
    pub fn json(status: StatusCode, value: &(impl Serialize + ?Sized)) -> Self {
        let text = serde_json::to_string(value);
        Self(
            text.map(|text| Json {
                status,
                text,
                header: None,
            })
            .map_err(|error| Error::internal(error).into()),
        )
    }

    /// 200 with `value`.
    pub fn ok(value: &(impl Serialize + ?Sized)) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 201 with `value`.
    pub fn created(value: &(impl Serialize + ?Sized)) -> Self {
        Self::json(StatusCode::CREATED, value)
    }

    /// JSON text that is already written.
    pub fn raw(status: StatusCode, text: String) -> Self {
        Self(Ok(Json {
            status,
            text,
            header: None,
        }))
    }

    /// The same with one more header. A value that no header can have is a fault of ours and becomes a 500.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(json) = &mut self.0 {
            match HeaderValue::from_str(value) {
                Ok(value) => json.header = Some((name, value)),
                Err(error) => self.0 = Err(Error::internal(error).into()),
            }
        }
        self
    }

    /// 200 with `{}`: done, and nothing to tell.
    pub fn empty() -> Self {
        Self::raw(StatusCode::OK, "{}".to_owned())
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let Json {
            status,
            text,
            header,
        } = match self.0 {
            Ok(json) => json,
            Err(refusal) => return refusal.into_response(),
        };
        let length = HeaderValue::from(text.len());
        let mut response = Response::new(axum::body::Body::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, length);
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        response
    }
}
