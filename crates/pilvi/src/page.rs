//! The todo page of `pilvi demo`: files without a build step, and one that says which instances to use.

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

/// Path, type and text of every file.
const FILES: [(&str, &str, &str); 6] = [
    ("/todo", HTML, include_str!("../page/index.html")),
    ("/todo/todo.css", CSS, include_str!("../page/todo.css")),
    ("/todo/todo.js", SCRIPT, include_str!("../page/todo.js")),
    ("/todo/list.js", SCRIPT, include_str!("../page/list.js")),
    (
        "/todo/connection.js",
        SCRIPT,
        include_str!("../page/connection.js"),
    ),
    (
        "/todo/messages.js",
        SCRIPT,
        include_str!("../page/messages.js"),
    ),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(crate) fn site(backend: &str, gateway: &str) -> Site {
    let config = json!({"backendId": backend, "gatewayId": gateway});
    let mut router = Router::new().route(
        "/todo/config.json",
        // A server that is started anew has other instances, so nobody may keep this.
        get(|| async move { ([(CACHE_CONTROL, "no-store")], Reply::ok(&config)) }),
    );
    for (path, kind, text) in FILES {
        router = router.route(path, get(move || async move { file(kind, text) }));
    }
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
