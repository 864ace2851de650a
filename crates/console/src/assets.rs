//! The style and the picture of the pages, under addresses that change with what they hold.

use std::sync::LazyLock;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use pilvi_base::secret::{hex, sha256};

use crate::Console;

const STYLE: &str = include_str!("../assets/console.css");
const ICON: &str = include_str!("../assets/icon.svg");

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| versioned("/console/console.css", STYLE));
static ICON_PATH: LazyLock<String> = LazyLock::new(|| versioned("/console/icon.svg", ICON));

pub(crate) fn style_path() -> &'static str {
    &STYLE_PATH
}

pub(crate) fn icon_path() -> &'static str {
    &ICON_PATH
}

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(
            "/console/console.css",
            get(|| async { file("text/css; charset=utf-8", STYLE) }),
        )
        .route(
            "/console/icon.svg",
            get(|| async { file("image/svg+xml", ICON) }),
        )
        .route(
            "/favicon.ico",
            get(|| async { file("image/svg+xml", ICON) }),
        )
}

fn versioned(path: &str, text: &str) -> String {
    format!("{path}?{}", hex(&sha256(text.as_bytes())[..6]))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "public, max-age=604800"),
    ];
    (headers, text)
}
