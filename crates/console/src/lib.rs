//! The browser's door: pages to sign up, sign in, and look after what is one's own.
//!
//! The pages are written on the server and need no script; the strictest policy that a page can have allows none. They
//! are a second door to the rules of [`pilvi_platform::Platform`] and decide nothing themselves. No path under `/v1`
//! reads their cookie.
//!
//! Start reading at `session.rs`: who is behind a request, and which forms are heard.

mod assets;
mod device;
mod form;
mod layout;
mod oidc;
mod page;
mod profile;
mod session;
mod sign_in;
mod sign_up;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use pilvi_platform::Platform;
use pilvi_web::{Arrival, Cors, Manners, Refusal, Site};
use serde_json::{Value, json};

use page::go;

/// The console. Cloning gives another handle.
#[derive(Clone)]
pub struct Console {
    pub(crate) platform: Platform,
}

impl Console {
    pub fn new(platform: Platform) -> Self {
        Self { platform }
    }

    /// What the door needs to know.
    pub fn site(&self) -> Site {
        Site {
            router: self.router(),
            manners: Arc::new(ConsoleManners),
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/", get(|| async { go("/console") }))
            .route("/console", get(profile::home))
            .merge(assets::routes())
            .merge(sign_in::routes())
            .merge(sign_up::routes())
            .merge(verify::routes())
            .merge(profile::routes())
            .merge(oidc::routes())
            .merge(device::routes())
            .fallback(|| async { page::not_found() })
            .method_not_allowed_fallback(|| async { page::wrong_method() })
            .layer(from_fn(only_in_private))
            .with_state(self.clone())
    }
}

/// Passwords cross no network in the clear: over plain HTTP the pages are for this machine alone.
async fn only_in_private(arrival: Arrival, request: Request, next: Next) -> Response {
    match arrival.secure || arrival.peer.ip().to_canonical().is_loopback() {
        true => next.run(request).await,
        false => page::insecure().into_response(),
    }
}

/// How the door refuses what never reaches a page, such as a body that is too large.
struct ConsoleManners;

impl Manners for ConsoleManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        (
            refusal.status,
            json!({"error": {"reason": refusal.reason, "message": refusal.message}}),
        )
    }

    fn cors(&self) -> Cors {
        Cors::None
    }

    /// The largest form holds an ssh key.
    fn body_max_bytes(&self) -> usize {
        64 << 10
    }
}
