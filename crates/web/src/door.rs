//! One request, from arrival to reply.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use pilvi_core::Rates;
use pilvi_model::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::Instrument;

use crate::apps::Apps;
use crate::arrival::REQUEST_ID;
use crate::body::{BodyBounds, too_large};
use crate::dispatch::{one_spelling, service_for, without_port};
use crate::rates::Visit;
use crate::site::Unclaimed;
use crate::{Arrival, Hosts, Limits, Manners, Refusal, Service, Site, Sockets, Worded};

/// Connections that are told with patience, at the same time, that there is no room.
const REFUSALS_MAX: usize = 32;

/// The one entrance to all services.
///
/// Built once at start, then shared by every listener and by whoever calls a service in process.
pub struct Door {
    pub(crate) limits: Limits,
    hosts: Hosts,
    sites: HashMap<Service, Site>,
    /// The router in front of apps.
    pub(crate) apps: Option<Apps>,
    pub(crate) sockets: Option<Arc<dyn Sockets>>,
    /// How often one may ask.
    rates: Option<Rates>,
    /// One permit for each connection that may be open.
    connections: Arc<Semaphore>,
    /// One permit for each connection that is told with patience that there is no room.
    pub(crate) refusals: Arc<Semaphore>,
    /// The last connection that came found no room.
    pub(crate) is_full: AtomicBool,
}

/// The right to hold one connection open. It goes wherever the connection goes, and is dropped when that has been
/// closed.
#[derive(Debug)]
pub struct Permit {
    _one: OwnedSemaphorePermit,
}

impl Door {
    /// A door without services: every path is refused until [`Door::site`] adds some.
    pub fn new(hosts: Hosts, limits: Limits) -> Self {
        let connections_max = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let connections = Arc::new(Semaphore::new(connections_max));
        Self {
            limits,
            hosts,
            sites: HashMap::new(),
            apps: None,
            sockets: None,
            rates: None,
            connections,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            is_full: AtomicBool::new(false),
        }
    }

    /// The right to hold one connection more, if there is room for one.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let one = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(Permit { _one: one })
    }

    /// Adds a service.
    #[must_use]
    pub fn site(mut self, service: Service, site: Site) -> Self {
        self.sites.insert(service, site);
        self
    }

    /// Gives the hosts of apps to the router.
    #[must_use]
    pub fn apps(mut self, edge: pilvi_edge::Edge) -> Self {
        self.apps = Some(Apps::new(edge, &self.hosts));
        self
    }

    /// Says who takes the WebSockets. Without it an upgrade is refused.
    #[must_use]
    pub fn sockets(mut self, sockets: Arc<dyn Sockets>) -> Self {
        self.sockets = Some(sockets);
        self
    }

    /// Says how often one may ask. Without it as often as one likes.
    #[must_use]
    pub fn rates(mut self, rates: Rates) -> Self {
        self.rates = Some(rates);
        self
    }

    /// Answers a request. Requests over the network and in process take the same way through here.
    pub async fn call(&self, mut request: Request<Body>, arrival: Arrival) -> Response<Body> {
        if let Some(apps) = &self.apps
            && apps.own(&arrival.host)
        {
            return apps.answer(request, &arrival).await;
        }
        let started = Instant::now();
        respell(&mut request);
        let method = request.method().clone();
        let version = request.version();
        let path = request.uri().path();
        let service = service_for(&self.hosts, &arrival.host, &method, path, request.headers());
        let manners = self.manners(service);
        let asked = manners.cors().asked(&method, request.headers());
        let span = tracing::info_span!("request", id = %arrival.request_id, %method, path = %loggable(path));

        // A request that the head filter refused does not even get a preflight's answer.
        let refused = request.extensions_mut().remove::<Refusal>();
        let mut visit = Visit::begin(self.rates.as_ref(), service, &arrival, request.headers());
        let refused = refused.or_else(|| visit.as_mut()?.refused());
        let mut response = match (refused, asked.preflight()) {
            (Some(refusal), _) => refusal.into_response(),
            (None, Some(response)) => response,
            (None, None) => {
                request.extensions_mut().insert(arrival.clone());
                if let Some(visitor) = visit.as_ref().and_then(Visit::visitor) {
                    request.extensions_mut().insert(visitor);
                }
                self.route(service, request).instrument(span.clone()).await
            }
        };

        let _entered = span.enter();
        dress(&*manners, &mut response);
        if let Some(visit) = visit {
            visit.end(&mut response);
        }
        asked.sign(response.headers_mut());
        finish(&mut response, &method, version, &arrival);
        tracing::info!(
            target: "pilvi::request",
            status = response.status().as_u16(),
            duration_us = started.elapsed().as_micros() as u64,
            "answered"
        );
        response
    }

    /// Lets the service's router answer, within the service's bounds. A panic becomes a 500.
    async fn route(&self, service: Service, mut request: Request<Body>) -> Response {
        let Some(site) = self.sites.get(&service) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let bounds = BodyBounds {
            max_bytes: site.manners.body_max_bytes_at(request.uri().path()),
            timeout: self.limits.body_timeout,
        };
        // A body that is announced as too large is refused before a byte of it is read.
        if http_body::Body::size_hint(request.body()).lower() > bounds.max_bytes as u64 {
            return too_large(bounds.max_bytes).into_response();
        }
        request.extensions_mut().insert(bounds);
        let answer = Box::pin(site.router.clone().oneshot(request));
        match CatchPanic(answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => Refusal::from(Error::internal(panic_message(&*panic))).into_response(),
        }
    }

    /// Whether a request is for Pilvi itself, by a name of a service or by the address that was connected to.
    pub(crate) fn is_own(&self, arrival: &Arrival) -> bool {
        let named = self.hosts.owner(&arrival.host).is_some();
        named || without_port(&arrival.host) == arrival.local.ip().to_canonical().to_string()
    }

    pub(crate) fn manners(&self, service: Service) -> Arc<dyn Manners> {
        match self.sites.get(&service) {
            Some(site) => site.manners.clone(),
            None => Arc::new(Unclaimed),
        }
    }
}

/// A path as the log may have it. A long segment may be a token, as the id of a socket is until somebody opens it.
fn loggable(path: &str) -> Cow<'_, str> {
    /// Longer than every id.
    const SEGMENT_MAX: usize = 40;
    if path.split('/').all(|segment| segment.len() <= SEGMENT_MAX) {
        return path.into();
    }
    let shown = path.split('/').map(|segment| match segment.len() {
        0..=SEGMENT_MAX => segment,
        _ => "…",
    });
    shown.collect::<Vec<_>>().join("/").into()
}

/// Brings the path into its one spelling and keeps the query.
fn respell(request: &mut Request<Body>) {
    let Some(path) = one_spelling(request.uri().path()) else {
        return;
    };
    let spelled = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = request.uri().clone().into_parts();
    if let Ok(target) = spelled.parse::<PathAndQuery>() {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

/// Puts a refusal into the service's words. An error without a JSON body comes from the router itself (no such
/// path, wrong method, unreadable path) and is dressed too.
fn dress(manners: &dyn Manners, response: &mut Response) {
    let refusal = match response.extensions_mut().remove::<Refusal>() {
        Some(refusal) => refusal,
        None if response.extensions_mut().remove::<Worded>().is_some() => return,
        None if is_bare_error(response) => bare_refusal(response.status()),
        None => return,
    };
    if refusal.status.is_server_error() {
        log_fault(&refusal);
    }
    let (status, body) = manners.dress(&refusal);
    *response.status_mut() = status;
    *response.body_mut() = Body::from(body.to_string());
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    refusal.add_headers(response);
}

fn is_bare_error(response: &Response) -> bool {
    let status = response.status();
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    (status.is_client_error() || status.is_server_error()) && !json
}

fn bare_refusal(status: StatusCode) -> Refusal {
    let message = match status {
        StatusCode::NOT_FOUND => "there is nothing at this path",
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method; see Allow",
        status if status.is_server_error() => {
            "something went wrong on the server; its log has the details"
        }
        _ => "the request cannot be understood",
    };
    Refusal::new(status, message)
}

/// The one place where a fault of ours is logged, with all that led to it.
fn log_fault(refusal: &Refusal) {
    let mut causes = Vec::new();
    let mut next = refusal.source().and_then(std::error::Error::source);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let cause = causes.join(": ");
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(cause, message = refusal.message, "not available");
    } else {
        tracing::error!(cause, "a request failed through a fault of ours");
    }
}

/// The headers that every reply has, whoever wrote it.
fn finish(response: &mut Response, method: &Method, version: Version, arrival: &Arrival) {
    let status = response.status();
    let length = http_body::Body::size_hint(response.body()).exact();
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(arrival.request_id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    if bodiless {
        headers.remove(CONTENT_LENGTH);
    } else if let Some(length) = length
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    // What is left of the body is not read, so the connection cannot be used again.
    let unread = matches!(
        status,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
    );
    if unread && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
}

/// A future whose panic is an outcome like another, so that one request cannot take its connection with it.
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future is dropped after a panic and never polled again, so nobody sees its broken state.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_token_is_not_logged() {
        let id = "532831a2698b3c6ae8091d6d";
        let token = "ab".repeat(32);
        let sockets = format!("/v1/gateways/{id}/sockets");
        assert_eq!(loggable(&sockets), sockets);
        assert_eq!(
            loggable(&format!("{sockets}/{token}")),
            format!("{sockets}/…")
        );
        let account = "/v1/accounts/6f0c3f0e-2d0a-4a5b-9a3e-0d8f7a1b2c3d/instances";
        assert_eq!(loggable(account), account);
        assert_eq!(loggable(&format!("/{token}/a//")), "/…/a//");
    }
}
