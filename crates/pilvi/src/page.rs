//! The todo page of `pilvi demo`: three files without a build step, and one that says which instances to use.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use pilvi_web::{Cors, Manners, Refusal, Reply, Site};
use serde_json::{Value, json};

/// Scripts and styles of our own only, and connections to nobody but this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn site(backend: &str, gateway: &str) -> Site {
    let config = json!({"backendId": backend, "gatewayId": gateway});
    let router = Router::new()
        .route(
            "/todo",
            get(|| async {
                file(
                    "text/html; charset=utf-8",
                    include_str!("../page/index.html"),
                )
            }),
        )
        .route(
            "/todo/todo.css",
            get(|| async { file("text/css; charset=utf-8", include_str!("../page/todo.css")) }),
        )
        .route(
            "/todo/todo.js",
            get(|| async {
                file(
                    "text/javascript; charset=utf-8",
                    include_str!("../page/todo.js"),
                )
            }),
        )
        .route(
            "/todo/config.json",
            get(|| async move { Reply::ok(&config) }),
        );
    Site {
        router,
        manners: Arc::new(PageManners),
    }
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

struct PageManners;

impl Manners for PageManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        (
            refusal.status,
            json!({"error": {"reason": refusal.reason, "message": refusal.message}}),
        )
    }

    fn cors(&self) -> Cors {
        Cors::None
    }
}
