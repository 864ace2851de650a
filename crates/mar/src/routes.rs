//! What MAR answers to: one table, from which the router and the test of who may do what are made. The handlers below
//! it are shape only: typed in, typed out, no rules.

mod apps;
mod slugs;

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use pilvi_web::{Refusal, Reply, finish};

use crate::Mar;

pub(crate) type Answer = Result<Reply, Refusal>;

/// One call: a verb on a path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub verb: Verb,
    /// As axum writes it.
    pub path: &'static str,
    pub who: Who,
    /// One line for people.
    pub summary: &'static str,
    handler: fn() -> MethodRouter<Mar>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every member of the app's account, and whoever else may use the app: see `caller.rs`.
    Viewer,
    /// The same without those members who may only look.
    Developer,
    /// Whoever has the address, which is signed, for one purpose and for a short time. The classic command line sends
    /// no token there.
    Signed,
}

const fn route(
    verb: Verb,
    path: &'static str,
    handler: fn() -> MethodRouter<Mar>,
    who: Who,
    summary: &'static str,
) -> Route {
    Route {
        verb,
        path,
        who,
        summary,
        handler,
    }
}

use Verb::{Delete, Get, Post, Put};
use Who::{Developer, Signed, Viewer};

/// All calls.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route(Get, "/v1/apps/{id}", || get(apps::show), Viewer, "Read the app"),
    route(Put, "/v1/apps/{id}", || put(apps::set_stack), Developer, "Choose the stack of the next build"),
    route(Get, "/v1/apps/{id}/status", || get(apps::status), Viewer, "Read the state of the app's processes"),
    route(Get, "/v1/apps/{id}/env_vars", || get(apps::list_vars), Developer, "Read the config vars"),
    route(Put, "/v1/apps/{id}/env_vars", || put(apps::change_vars), Developer, "Set and remove config vars"),
    route(Post, "/v1/apps/{id}/scale", || post(apps::scale), Developer, "Change how many processes run of each type"),
    route(Post, "/v1/apps/{id}/restart", || post(apps::restart), Developer, "Restart all processes"),
    route(Post, "/v1/apps/{id}/start", || post(apps::start), Developer, "Start a stopped app"),
    route(Post, "/v1/apps/{id}/stop", || post(apps::stop), Developer, "Stop all processes"),
    route(Get, "/v1/apps/{id}/logs", || get(apps::logs), Viewer, "Read or follow the log"),
    route(Post, "/v1/apps/{id}/exec", || post(apps::exec), Developer, "Run a command in a process"),
    route(Get, "/v1/apps/{id}/domains", || get(apps::list_domains), Viewer, "List the domains"),
    route(Post, "/v1/apps/{id}/domains", || post(apps::add_domain), Developer, "Add a domain"),
    route(Delete, "/v1/apps/{id}/domains/{name}", || delete(apps::remove_domain), Developer, "Remove a domain"),
    route(Post, "/v1/apps/{id}/ssl_certificate", || post(apps::set_certificate), Developer,
        "Set the certificate of the app's domains"),
    route(Delete, "/v1/apps/{id}/ssl_certificate", || delete(apps::remove_certificate), Developer,
        "Remove the certificate"),
    route(Delete, "/v1/apps/{id}/build_cache", || delete(apps::purge_cache), Developer,
        "Forget what builds kept for the next one"),
    route(Delete, "/v1/apps/{id}/repository", || delete(apps::reset_repository), Developer, "Empty the repository"),
    route(Get, "/v1/apps/{id}/slugs", || get(slugs::list), Viewer, "List the slugs, newest first"),
    route(Post, "/v1/apps/{id}/slugs", || post(slugs::announce), Developer, "Announce a slug and get its address"),
    route(Put, "/v1/apps/{id}/blobs/{number}", || put(slugs::receive), Signed, "Upload an announced slug"),
    route(Post, "/v1/apps/{id}/slugs/{tag}/deploy", || post(slugs::deploy), Developer, "Run a slug"),
    route(Delete, "/v1/apps/{id}/slugs/{tag}", || delete(slugs::remove), Developer, "Remove a slug that does not run"),
    route(Get, "/v1/apps/{id}/releases", || get(slugs::list_releases), Viewer, "List the releases, newest first"),
    route(Post, "/v1/apps/{id}/releases/{number}/rollback", || post(slugs::roll_back), Developer,
        "Run the slug of an earlier release again"),
];

/// The classic command line gives up when no answer arrives for 60 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(57);

/// The router of all calls.
pub(crate) fn table(mar: Mar) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.handler)();
        let handler: MethodRouter<Mar> = handler.layer(Extension(route.who));
        router.route(
            route.path,
            match route.who {
                Viewer | Developer => handler
                    .layer(from_fn_with_state(mar.parts().tasks.clone(), finish))
                    .layer(from_fn(answer_in_time)),
                // A slug takes as long as its bytes do, and ends with them.
                Signed => handler,
            },
        )
    });
    router.with_state(mar)
}

/// Answers for a handler that takes too long. What changes something goes on by itself (`pilvi_web::finish`).
async fn answer_in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        let message = "this takes longer than a request may; look at the app's status in a while";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    });
    // Config vars are secrets, and the rest changes from one moment to the next.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_call_is_answered_within_a_minute() {
        let router = Router::new().route("/", get(std::future::pending::<()>));
        let router: Router = router.layer(from_fn(answer_in_time));
        let asked_at = tokio::time::Instant::now();
        let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(asked_at.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn every_call_is_described_once() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with("/v1/apps/{id}"), "{route:?}");
            assert!(!route.summary.is_empty(), "{route:?}");
            let same = |other: &&Route| (other.verb, other.path) == (route.verb, route.path);
            assert_eq!(
                ROUTES.iter().position(|other| same(&other)),
                Some(place),
                "{route:?}"
            );
        }
    }

    #[test]
    fn viewers_read_and_no_secrets() {
        let for_viewers = ROUTES.iter().filter(|route| route.who == Who::Viewer);
        let paths: Vec<_> = for_viewers
            .map(|route| {
                assert_eq!(route.verb, Verb::Get, "{route:?}");
                route.path.trim_start_matches("/v1/apps/{id}")
            })
            .collect();
        let expected = ["", "/status", "/logs", "/domains", "/slugs", "/releases"];
        assert_eq!(paths, expected);
    }
}
