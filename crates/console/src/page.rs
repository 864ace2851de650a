//! What a page is on the wire, and the pages that stand for trouble.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use maud::{Markup, html};
use pilvi_model::{Error, Kind};
use pilvi_platform::SignInFailure;
use pilvi_web::{Refusal, Worded};

use crate::layout::{Frame, Tone, notice};

/// No script at all, styles and pictures of our own, forms to ourselves, and no frame around us.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// An answer to a browser.
#[derive(Debug)]
pub(crate) struct Page(Response);

impl Page {
    pub(crate) fn ok(markup: Markup) -> Self {
        Self::with_status(StatusCode::OK, markup)
    }

    pub(crate) fn with_status(status: StatusCode, markup: Markup) -> Self {
        let mut response = Response::new(axum::body::Body::from(markup.into_string()));
        *response.status_mut() = status;
        // The door leaves the words of an error page as they are.
        response.extensions_mut().insert(Worded);
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (OPENER_POLICY, "same-origin"),
            // Another site learns nothing of an address, which may hold a code. With `no-referrer` browsers would hide
            // from ourselves where a form comes from.
            (REFERRER_POLICY, "same-origin"),
            (CACHE_CONTROL, "no-store"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Self(response)
    }

    #[must_use]
    pub(crate) fn with_cookie(mut self, cookie: &str) -> Self {
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            self.0.headers_mut().append(SET_COOKIE, cookie);
        }
        self
    }
}

impl Page {
    /// Tells a program when to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Option<Duration>) -> Self {
        if let Some(after) = after {
            let seconds = HeaderValue::from(after.as_secs().max(1));
            self.0.headers_mut().insert(RETRY_AFTER, seconds);
        }
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        self.0
    }
}

/// Sends the browser to a path of ours, to look at it with GET.
pub(crate) fn go(path: &str) -> Page {
    let mut page = Page::with_status(StatusCode::SEE_OTHER, html! {});
    if let Ok(location) = HeaderValue::from_str(path) {
        page.0.headers_mut().insert(LOCATION, location);
    }
    page
}

/// Sends the browser on from a page of ours, so that it brings the cookie that it keeps from other sites.
pub(crate) fn onward(path: &str) -> Page {
    let frame = Frame::new("One moment").onward(path);
    Page::ok(frame.narrow(html! {
        p { "You are being sent on. If nothing happens, " a href=(path) { "continue here" } "." }
    }))
}

/// Where somebody signs in first, to come back to `next`.
pub(crate) fn to_sign_in(next: &str) -> Page {
    if next.is_empty() || next == "/console" {
        return go("/console/sign-in");
    }
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", next)
        .finish();
    go(&format!("/console/sign-in?{query}"))
}

/// Why a page is not the one that was asked for.
#[derive(Debug)]
pub(crate) struct Trouble(Box<Page>);

impl Trouble {
    pub(crate) fn page(page: Page) -> Self {
        Self(Box::new(page))
    }
}

impl Trouble {
    #[must_use]
    pub(crate) fn with_cookie(self, cookie: &str) -> Self {
        Self::page(self.0.with_cookie(cookie))
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let status = status_of(&error);
        log(&error);
        let title = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests",
            status if status.is_server_error() => "Something went wrong",
            _ => "This cannot be done",
        };
        Self::page(sorry(status, title, &sentence(&error)))
    }
}

impl From<SignInFailure> for Trouble {
    fn from(failure: SignInFailure) -> Self {
        match failure {
            SignInFailure::Other(error) => error.into(),
            failure => {
                let refusal = Refusal::from(failure);
                let words = capital(&refusal.message);
                let page = sorry(refusal.status, "This cannot be done", &words);
                Self::page(page.retry_after(refusal.retry_after))
            }
        }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let words = capital(&refusal.message);
        Self::page(sorry(refusal.status, "This cannot be done", &words))
    }
}

/// The status that goes with an error, by the mapping of all services.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    Refusal::from(Error::new(error.kind, "")).status
}

/// A fault of ours is logged here: the door, which logs those of the services, sees only a page.
pub(crate) fn log(error: &Error) {
    if error.kind != Kind::Internal {
        return;
    }
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let cause = causes.join(": ");
    tracing::error!(cause, "a page failed through a fault of ours");
}

/// An error's message as a sentence on a page.
pub(crate) fn sentence(error: &Error) -> String {
    capital(&error.message)
}

/// `text` with a capital letter at its beginning and a stop at its end.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{}{stop}", first.unwrap_or_default(), letters.as_str())
}

/// A page that says what went wrong.
pub(crate) fn sorry(status: StatusCode, title: &str, words: &str) -> Page {
    let frame = Frame::new(title);
    Page::with_status(
        status,
        frame.narrow(html! {
            h1 { (title) }
            (notice(Tone::Bad, words))
            p.quiet { a href="/console" { "Go to the start page" } }
        }),
    )
}

pub(crate) fn not_found() -> Page {
    sorry(
        StatusCode::NOT_FOUND,
        "Not found",
        "There is no page at this address.",
    )
}

pub(crate) fn wrong_method() -> Page {
    sorry(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not found",
        "This page cannot be used in this way.",
    )
}

pub(crate) fn insecure() -> Page {
    sorry(
        StatusCode::FORBIDDEN,
        "Use https",
        "Passwords and sign-ins do not cross a network in the clear. Open this page by its https address.",
    )
}

pub(crate) fn unheard_form() -> Page {
    sorry(
        StatusCode::FORBIDDEN,
        "The form was not accepted",
        "It did not come from a page that this browser was given, or that page was too old. Go back, load the page \
         anew and try again. If this happens again, allow cookies for this site; over plain http some browsers keep \
         none, so use the https address there.",
    )
}
