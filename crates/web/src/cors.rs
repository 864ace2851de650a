//! What browsers on other sites may do, in the two dialects the old services spoke.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use axum::body::Body;
use axum::response::Response;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");

/// A service's answer to browsers on other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Nothing is allowed and nothing is said.
    None,
    /// Any site may call; every reply says so (`eds.md` §2.6).
    Any { allow_headers: &'static str },
    /// The asking site is named back, and only when it asks (`mws.md` §8).
    Reflect,
}

/// What the door must know of a request to add the CORS headers to its reply.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    cors: Cors,
    origin: Option<HeaderValue>,
    preflight: bool,
    headers: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn asked(self, method: &Method, headers: &HeaderMap) -> Asked {
        let origin = headers.get(ORIGIN).cloned();
        let options = method == Method::OPTIONS;
        let preflight = match self {
            Self::None => false,
            Self::Any { .. } => options,
            Self::Reflect => {
                options && origin.is_some() && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            }
        };
        Asked {
            cors: self,
            origin,
            preflight,
            headers: headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
        }
    }
}

impl Asked {
    /// The answer to a preflight, which never reaches the service. [`Asked::sign`] completes it.
    pub(crate) fn preflight(&self) -> Option<Response> {
        if !self.preflight {
            return None;
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        match self.cors {
            Cors::None => {}
            Cors::Any { allow_headers } => {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static(allow_headers),
                );
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            Cors::Reflect => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                if let Some(asked) = &self.headers {
                    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                }
            }
        }
        Some(response)
    }

    /// Adds what every reply of the service carries.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        match (self.cors, &self.origin) {
            (Cors::None, _) | (Cors::Reflect, None) => {}
            (Cors::Any { .. }, _) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (Cors::Reflect, Some(origin)) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(
                    ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1728000"));
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(""));
                headers.append(VARY, HeaderValue::from_static("Origin"));
            }
        }
    }
}
